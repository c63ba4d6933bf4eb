"""--array: `1-5,7,9-11:2%3` <-> indices and the limit of running elements.

Source: slurm src/common/slurm_protocol_defs.c slurm_parse_array_tok, xlate_array_task_str.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Optional, Union

from slurmsky.language._grammar import Grammar, number
from slurmsky.language.syntax_errors import ArraySpecError as ArraySpecError


@dataclass(frozen=True)
class ArraySpec:
    """Indices of a job array, and the limit of running elements.

    `ranges` is the unique shortest way to write the indices from left to right, so that 100,000 elements take no more
    memory than one, and equal arrays are equal records.

    >>> spec = ArraySpec.of([9, 7, 1, 2, 3, 11], max_running=2)
    >>> str(spec), len(spec), 7 in spec, list(spec)
    ('1-3,7-11:2%2', 6, True, [1, 2, 3, 7, 9, 11])
    """

    ranges: tuple[range, ...]  # ascending, never empty, never overlapping
    max_running: Optional[int] = None  # the %N part; None: no limit

    def __post_init__(self) -> None:
        if not self.ranges or not all(self.ranges) or self.ranges[0][0] < 0:
            raise ValueError("an array has at least one index, and none below 0")
        if any(one[-1] >= other[0] for one, other in zip(self.ranges, self.ranges[1:])):
            raise ValueError("ranges of an array ascend")
        if self.max_running is not None and self.max_running <= 0:
            raise ValueError("max_running is positive")

    @classmethod
    def of(cls, indices: Iterable[int], max_running: Optional[int] = None) -> ArraySpec:
        """Build the spec of indices in any order."""
        return cls(tuple(_progressions(sorted(set(indices)))), max_running)

    @property
    def indices(self) -> tuple[int, ...]:
        """All indices, in ascending order."""
        return tuple(self)

    def __len__(self) -> int:
        return sum(map(len, self.ranges))

    def __iter__(self) -> Iterator[int]:
        for part in self.ranges:
            yield from part

    def __contains__(self, index: object) -> bool:
        return any(index in part for part in self.ranges)

    def __str__(self) -> str:
        limit = "" if self.max_running is None else f"%{self.max_running}"
        return ",".join(map(_range_text, self.ranges)) + limit


def _range_text(part: range) -> str:
    if len(part) == 1:
        return str(part[0])
    return f"{part[0]}-{part[-1]}" + (f":{part.step}" if part.step > 1 else "")


def _progressions(indices: list[int]) -> Iterator[range]:
    """Split ascending indices into ranges, greedily from the left.

    Fewer than three indices with one step stay single.
    """
    at, end = 0, len(indices)
    while at < end:
        stop, step = at + 1, 1
        if stop < end:
            step = indices[stop] - indices[at]
            while stop < end and indices[stop] - indices[stop - 1] == step:
                stop += 1
        if stop - at < 3 and step > 1:
            stop, step = at + 1, 1
        yield range(indices[at], indices[stop - 1] + 1, step)
        at = stop


_Item = tuple[int, int, int]  # first, last, step as written


class _Build:
    def step(self, step: Optional[str]) -> int:
        return number(step or "0")

    def range(self, last: Optional[str], step: Optional[int]) -> tuple[int, int]:
        return number(last or "0"), 1 if step is None else step

    def item(self, first: Optional[str], span: Optional[tuple[int, int]], limit: str = "") -> _Item:
        low = number(first or "0")
        return (low, *(span or (low, 1)))

    def no_first(self, span: Union[tuple[int, int], str, None] = None, limit: str = "") -> _Item:
        return (0, *(span if isinstance(span, tuple) else (0, 1)))

    def start(self, *items: _Item) -> tuple[_Item, ...]:
        return items


_GRAMMAR: Grammar[tuple[_Item, ...]] = Grammar("arrayspec", _Build(), ArraySpecError)


@lru_cache(maxsize=256)  # client, controller and translator parse equal texts
def parse(text: str, max_size: int = 1001) -> Optional[ArraySpec]:
    """Parse --array; None for an empty text, which makes no array.

    `max_size` is MaxArraySize: one more than the largest index allowed. Duplicates are merged, the order does not
    matter, and a limit that is not a positive number is ignored. Raises ArraySpecError, for which sbatch prints `Batch
    job submission failed: Invalid job array specification`.

    >>> str(parse("5,1-3%2")), parse("")
    ('1-3,5%2', None)
    """
    if not text:
        return None
    # a text of commas only has no item; slurmctld creates an array without elements, which we refuse
    items = _GRAMMAR.parse(text)
    if not items:
        return None
    for first, last, step in items:
        if not 0 <= first <= last < max_size or not 0 < step < max_size:
            raise ArraySpecError(text)
    return ArraySpec(tuple(_union(items)), _limit(text))


def _limit(text: str) -> Optional[int]:
    """Parse the limit after the first % as strtol does."""
    _, _, after = text.partition("%")
    after = after.lstrip(" \t\r\n\f\v").removeprefix("+")
    digits = after[: len(after) - len(after.lstrip("0123456789"))]
    return number(digits) or None


def _union(items: tuple[_Item, ...]) -> Iterator[range]:
    """Canonical ranges of the union of all items.

    Items of the same step and offset are joined as intervals first: the rest then takes at most a few times the
    largest index, however many items a text has.
    """
    classes: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for first, last, step in sorted(set(items)):
        last -= (last - first) % step
        step = step if last > first else 1
        spans = classes.setdefault((step, first % step), [])
        if spans and first <= spans[-1][1] + step:
            spans[-1] = (spans[-1][0], max(last, spans[-1][1]))
        else:
            spans.append((first, last))
    ranges = [range(first, last + 1, step) for (step, _), spans in classes.items() for first, last in spans]
    if len(ranges) == 1 and (ranges[0].step == 1 or len(ranges[0]) > 2):
        yield ranges[0]
        return
    present = bytearray(max(part[-1] for part in ranges) + 1)
    for part in ranges:
        present[part.start : part[-1] + 1 : part.step] = b"\1" * len(part)
    yield from _progressions([index for index, there in enumerate(present) if there])


def format_indices(indices: Iterable[int], max_running: Optional[int] = None, bitstr_len: int = 64) -> str:
    """Indices as squeue and scontrol print them: `0-20:4`.

    Ranges are cut to `bitstr_len` - 1 characters. `bitstr_len` is SLURM_BITSTR_LEN: 0 for no cut, negative for the
    default, 4096 at most.

    Source: slurm_protocol_defs.c xlate_array_task_str, bitstring.c bit_fmt.

    >>> format_indices(range(0, 21, 4)), format_indices(range(0, 17, 4)), format_indices([1, 2, 5], 3)
    ('0-20:4', '0,4,8,12,16', '1-2,5%3')
    """
    spec = indices if isinstance(indices, ArraySpec) else None
    if spec is None and isinstance(indices, range) and indices.step > 0 and len(indices) > 2:
        spec = ArraySpec((indices,))
    ranges = list(spec.ranges if spec else _progressions(sorted(set(indices))))
    limit = f"%{max_running}" if max_running else ""
    if len(ranges) == 1:
        only = ranges[0]
        if only.step > 1 and len(only) > 5 and only[-1] - only[0] > 10:
            return _range_text(only) + limit
    size = 64 if bitstr_len < 0 else min(bitstr_len, 4096)
    text, enough = "", size or float("inf")
    for first, last in _runs(ranges):
        text += ("," if text else "") + _run_text(first, last)
        if len(text) > enough:
            break
    if size and len(text) > size - 3:
        text = text[: max(size - 4, 0)] + "..."
    return text + limit


def list_indices(spec: ArraySpec) -> str:
    """Indices as squeue --only-job-state prints them: without steps, limit and cut.

    Source: squeue.c, which fills array_task_str by bit_fmt_full.

    >>> list_indices(ArraySpec((range(0, 21, 4), range(30, 33))))
    '0,4,8,12,16,20,30-32'
    """
    return ",".join(_run_text(first, last) for first, last in _runs(spec.ranges))


def _run_text(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def _runs(ranges: Sequence[range]) -> Iterator[tuple[int, int]]:
    """Runs of consecutive numbers, across ranges."""
    first = last = -2
    for part in ranges:
        spans = [(part[0], part[-1])] if part.step == 1 else ((i, i) for i in part)
        for low, high in spans:
            if low == last + 1:
                last = high
                continue
            if first >= 0:
                yield first, last
            first, last = low, high
    if first >= 0:
        yield first, last
