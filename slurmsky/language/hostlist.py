"""Node lists: `n[1-3,7],m01` <-> names.

Source: slurm src/common/hostlist.c; the expected values of all tests were recorded from `scontrol show hostnames` and
`scontrol show hostlist`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cmp_to_key
from itertools import product
from typing import Union

from slurmsky.language._grammar import Fault, Grammar, number
from slurmsky.language.syntax_errors import HostlistError as HostlistError

MAX_RANGE = 65536  # hostlist.h: the largest number of names in one range
# The sizes of groups multiply, without a limit in Slurm; a list of more names than this is refused here.
MAX_NAMES = 16 * MAX_RANGE
_MAX_TEXT = 64 * MAX_NAMES  # characters in all names together

_Span = tuple[int, int, int]  # low, high, width of the zero padding
_Host = tuple[Union[str, tuple[_Span, ...]], ...]  # text and groups alternate


class _Build:
    def span(self, token: str) -> _Span:
        low, _, high = token.partition("-")
        first, last = number(low), number(high or low)  # `1-` counts as `1`
        pos: int = token.start_pos  # type: ignore[attr-defined]  # a lark Token
        if first > last:
            raise _bad_range(pos, token)
        if last - first + 1 > MAX_RANGE:
            raise _bad_range(pos, token, "Too many hosts in range")
        return first, last, len(low)

    def junk(self, token: str) -> _Span:
        raise _bad_range(token.start_pos, token)  # type: ignore[attr-defined]

    def nothing(self) -> _Span:
        raise _bad_range(0, "")

    def group(self, *spans: _Span) -> tuple[_Span, ...]:
        return spans

    def host(self, *parts: Union[str, tuple[_Span, ...]]) -> _Host:
        return parts

    def start(self, *hosts: _Host) -> list[str]:
        # Counted before expansion: a short text can expand to more names than fit in memory.
        sizes = [_size(host) for host in hosts]
        if sum(count for count, _ in sizes) > MAX_NAMES or sum(count * width for count, width in sizes) > _MAX_TEXT:
            raise Fault(0, detail="Too many hosts")
        return [name for host in hosts for name in _names(host)]


def _size(host: _Host) -> tuple[int, int]:
    """Number of names, and the largest length of a name."""
    count, length = 1, 0
    for part in host:
        if isinstance(part, str):
            length += len(part)
        else:
            count *= sum(high - low + 1 for low, high, _ in part)
            length += max(max(width, len(str(high))) for _, high, width in part)
    return count, length


def _names(host: _Host) -> Iterator[str]:
    """Names of one element, in Slurm's order of groups.

    The last group varies fastest, then the first one, then the second one.
    """
    values = [
        [str(part)]
        if isinstance(part, str)
        else [f"{i:0{width}d}" for low, high, width in part for i in range(low, high + 1)]
        for part in host
    ]
    last = max((at for at, part in enumerate(host) if not isinstance(part, str)), default=0)
    *before, tail = (*values[:last], ["".join(end) for end in product(*values[last:])])
    for choice in product(*reversed(before)):
        head = "".join(reversed(choice))
        for end in tail:
            yield head + end


def _bad_range(pos: int, text: str, what: str = "Invalid range") -> Fault:
    colon = ":" if what == "Invalid range" else ""
    return Fault(pos, detail=f"_parse_single_range: {what}{colon} `{text}'")


_GRAMMAR: Grammar[list[str]] = Grammar("hostlist", _Build(), HostlistError, remember=64)


def expand(text: str) -> list[str]:
    """Expand a node list to names, in order, with duplicates.

    Names are separated by commas or blanks; zero padding is kept. Raises HostlistError whose str() is `Invalid
    hostlist: TEXT` and whose `detail` is the line that Slurm logs first.

    >>> expand("n[08-10],m1")
    ['n08', 'n09', 'n10', 'm1']
    >>> expand("r[1-2]n[1-2]")
    ['r1n1', 'r1n2', 'r2n1', 'r2n2']
    """
    if "[" not in text:
        # A list without groups needs no grammar: it has only separators and names.
        return [name for name in _SEPARATORS.split(text) if name]
    return list(_GRAMMAR.parse(text))


_DIGITS = "0123456789"
_SEPARATORS = re.compile("[, \t\r\n\f\v]+")
_Run = tuple[str, int, int, int]  # prefix, low, high, digits as written; high < low: a name with no number


def _runs(names: Iterable[str]) -> Iterator[_Run]:
    """Join names to runs of consecutive numbers after one prefix. Only the right-most number of a name counts."""
    prefix, low, high, width = "", 0, -1, 0
    started = False
    for name in names:
        digits = len(name) - len(name.rstrip(_DIGITS))
        # 19 digits and more exceed Slurm's 64-bit number (it prints them all as 2^64-1): they are part of the name
        if not 0 < digits < 19:
            head, value, size = name, -1, 0
        else:
            head, value, size = name[:-digits], int(name[-digits:]), digits
        # 9 and 10 follow each other, 09 and 10 too, 09 and 010 do not: hostlist.c _width_equiv
        alike = size == width or len(str(value)) == size > width
        if started and size and head == prefix and value == high + 1 and high >= low and alike:
            high = value
            continue
        if started:
            yield prefix, low, high, width
        started = True
        prefix, low, high, width = head, value, value, size
        if not size:
            low, high = 0, -1
    if started:
        yield prefix, low, high, width


def _written(runs: Iterable[_Run]) -> str:
    parts: list[str] = []
    spans: list[str] = []
    current = ""

    def flush() -> None:
        if len(spans) == 1 and "-" not in spans[0]:
            parts.append(current + spans[0])
        elif spans:
            parts.append(f"{current}[{','.join(spans)}]")
        spans.clear()

    for prefix, low, high, width in runs:
        if high < low:
            flush()
            parts.append(prefix)
            continue
        if prefix != current:
            flush()
            current = prefix
        first = f"{low:0{width}d}"
        spans.append(first if low == high else f"{first}-{high:0{width}d}")
    flush()
    return ",".join(parts)


def compress(names: Iterable[str]) -> str:
    """Shortest node list of `names` in this order.

    >>> compress(["n3", "n1", "n2"]), compress(["n001", "n002", "n3"])
    ('n[3,1-2]', 'n[001-002,3]')
    """
    return _written(_runs(names))


def compress_sorted(names: Iterable[str]) -> str:
    """Node list of `names` in Slurm's order.

    The order is prefix, digits written, number; duplicates stay.

    >>> compress_sorted(["n2", "n2", "n1", "a"])
    'a,n[1-2,2]'
    """
    runs = sorted((run for name in names for run in _runs([name])), key=_BY_RUN)
    # Slurm sorts and then joins neighbours once: n[1-2,2], not n[1,2,2].
    return _written(_runs(p if high < low else f"{p}{low:0{width}d}" for p, low, high, width in runs))


def _compare(one: _Run, other: _Run) -> int:
    """Compare two runs as hostlist.c hostrange_cmp.

    The order is prefix, bare names first, digits written unless they are equal, number.
    """
    if one[0] != other[0]:
        return _compare_prefixes(one[0], other[0])
    if (one[2] < one[1]) or (other[2] < other[1]):
        return (one[2] >= one[1]) - (other[2] >= other[1])
    (a, width_a), (b, width_b) = one[1::2], other[1::2]
    alike = _padding(a, width_a) == _padding(a, width_b) or _padding(b, width_b) == _padding(b, width_a)
    return a - b if alike else width_a - width_b


def _compare_prefixes(one: str, other: str) -> int:
    """Compare two different prefixes as strnatcmp.c.

    Numbers are compared by value, numbers with a leading zero digit by digit.
    """
    start = next((at for at, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))
    while start and one[start - 1] in _DIGITS:
        start -= 1
    mine, its = (text[start : len(text) - len(text[start:].lstrip(_DIGITS))] for text in (one, other))
    if mine and its and mine != its:
        by_value = "0" not in (mine[0], its[0])
        return -1 if (by_value * len(mine), mine) < (by_value * len(its), its) else 1
    return -1 if one < other else 1


def _padding(value: int, width: int) -> int:
    return max(0, width - len(str(value)))


_BY_RUN = cmp_to_key(_compare)
