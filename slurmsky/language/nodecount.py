"""--nodes: `2-8`, `1k`, `1,2,4`, `2-8:2` <-> node counts.

Source: slurm src/common/proc_args.c verify_node_count, str_to_nodes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional, Union

from slurmsky.language._grammar import Fault, Grammar, number
from slurmsky.language.syntax_errors import NodeCountError as NodeCountError

_INT_MAX = 2**31 - 1
_MAX_JOB_SIZE = 16384  # slurm.h MAX_JOB_SIZE_BITMAP: the limit of lists and steps


@dataclass(frozen=True)
class NodeCount:
    """Minimum and maximum of nodes.

    `max` 0: no maximum; `sizes`: only these counts.

    >>> str(parse("1k")), str(parse("2-8")), str(parse("2-8:3")), parse("2-8:3").max
    ('1024', '2-8', '2,5,8', 8)
    """

    min: int
    max: int
    sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.min < 0 or (self.max and self.max < self.min):
            raise ValueError(f"no node count: {self!r}")

    def __str__(self) -> str:
        if self.sizes:
            return ",".join(map(str, self.sizes))
        return str(self.min) if self.min == self.max else f"{self.min}-{self.max}"


_Part = tuple[Optional[str], Optional[str]]


class _Build:
    def exact(self, count: str) -> _Part:
        return count, count

    def between(self, low: Optional[str], dash: str, high: Optional[str]) -> _Part:
        return low, high

    def start(self, *children: Union[_Part, str, None]) -> NodeCount:
        parts = [child for child in children if isinstance(child, tuple)]
        step = children[-1] if isinstance(children[-1], str) else None
        if step is None and len(parts) == 1:
            return _single(*parts[0])
        stride = 1 if step is None else _listed(step)
        if stride < 1 or (step is not None and len(parts) > 1):
            raise Fault(0)
        allowed = bytearray(_MAX_JOB_SIZE)
        for low, high in parts:
            first, last = _listed(low), _listed(high)
            allowed[first : last + 1 : stride] = b"\1" * len(range(first, last + 1, stride))
        sizes = tuple(count for count, yes in enumerate(allowed) if yes)
        if not sizes:
            raise Fault(0)
        return NodeCount(sizes[0], sizes[-1], sizes)


def _single(low: Optional[str], high: Optional[str]) -> NodeCount:
    least = _count(low) if low else 1
    most = _count(high) if high else -1
    if low is high and least < 0:
        raise Fault(0)  # a single number that is too large
    least = 1 if least < 0 else least
    if most and most < least:
        raise Fault(0, f"Maximum node count {most} is less than minimum node count {least}")
    return NodeCount(least, most)


def _count(text: str) -> int:
    """Parse a count with its suffixes; -1 beyond C's int."""
    text = text.strip().lower()
    value = number(text.rstrip("km"))
    value *= 1024 if "k" in text else 1
    value *= 1024 * 1024 if "m" in text else 1
    return value if value <= _INT_MAX else -1


def _listed(text: object) -> int:
    if not isinstance(text, str) or not re.fullmatch(r"\s*\+?[0-9]+", text) or number(text) >= _MAX_JOB_SIZE:
        raise Fault(0, f'"{text or ""}" is not a valid node count')
    return number(text)


_GRAMMAR: Grammar[NodeCount] = Grammar("nodecount", _Build(), NodeCountError)


def parse(text: str) -> NodeCount:
    """Parse --nodes. One number is both minimum and maximum. Raises NodeCountError with the line that Slurm prints."""
    try:
        return _GRAMMAR.parse(text)
    except NodeCountError as exc:
        message = exc.message or f'"{_culprit(text)}" is not a valid node count'
        raise NodeCountError(text, exc.pos, message) from None


def _culprit(text: str) -> str:
    """Invalid item of a list or side of a range. Slurm names this part of the text."""
    if "," in text or ":" in text:
        items = [item for item in re.split("[,:-]", text) if item]
        return next((item for item in items if not item.isdecimal()), text)
    low, dash, high = text.partition("-")
    if not dash:
        return text
    return high if re.fullmatch(r"(\s*\+?[0-9]+[kK]?[mM]?)?\s*", low) else low
