"""Lists of small numbers: `0-3,5` <-> the CPUs, devices or tasks that they name.

Source: slurm src/common/bitstring.c bit_unfmt, bit_fmt; the kernel's cpulist format.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Optional

from slurmsky.language._grammar import Fault, Grammar, number
from slurmsky.language.syntax_errors import CpuListError as CpuListError

_MAX = 1 << 20  # numbers in one list, and the largest number


class _Build:
    def span(self, first: str, last: Optional[str], step: Optional[str]) -> range:
        low, high, stride = number(first), number(last or first), number(step or "1")
        if high < low or high >= _MAX or not stride:
            raise Fault(first.start_pos)  # type: ignore[attr-defined]  # a lark Token
        return range(low, high + 1, stride)

    def list(self, *spans: range) -> tuple[int, ...]:
        if sum(map(len, spans)) > _MAX:
            raise Fault(0)
        return tuple(number for span in spans for number in span)


_GRAMMAR: Grammar[tuple[int, ...]] = Grammar("numbers", _Build(), CpuListError, start="list")


def parse(text: str) -> tuple[int, ...]:
    """The numbers in the order written.  Raises CpuListError.

    >>> parse("0-3,5,8-12:2")
    (0, 1, 2, 3, 5, 8, 10, 12)
    """
    return _GRAMMAR.parse(text)


def format(numbers: Iterable[int]) -> str:
    """The list as ascending ranges without duplicates.

    >>> format([5, 0, 1, 2, 3])
    '0-3,5'
    """
    spans: list[list[int]] = []
    for value in sorted(set(numbers)):
        if spans and value == spans[-1][1] + 1:
            spans[-1][1] = value
        else:
            spans.append([value, value])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in spans)
