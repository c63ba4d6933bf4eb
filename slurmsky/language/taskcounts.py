"""SLURM_TASKS_PER_NODE, SLURM_JOB_CPUS_PER_NODE: `2(x3),1` <-> a number for each node.

Source: slurm src/common/env.c uint32_compressed_to_str.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Optional

from slurmsky.language._grammar import Fault, Grammar, number
from slurmsky.language.syntax_errors import TaskCountError as TaskCountError

_MAX_NODES = 1 << 20


class _Build:
    def count(self, value: str, times: Optional[str]) -> tuple[int, int]:
        nodes = number(times) if times else 1
        if not 0 < nodes <= _MAX_NODES:
            raise Fault(value.start_pos)  # type: ignore[attr-defined]  # a lark Token
        return number(value), nodes

    def counts(self, *counts: tuple[int, int]) -> tuple[int, ...]:
        if sum(nodes for _, nodes in counts) > _MAX_NODES:
            raise Fault(0)
        return tuple(value for value, nodes in counts for _ in range(nodes))


_GRAMMAR: Grammar[tuple[int, ...]] = Grammar("numbers", _Build(), TaskCountError, start="counts")


def parse(text: str) -> tuple[int, ...]:
    """A number for each node.  Raises TaskCountError.

    >>> parse("2(x3),1")
    (2, 2, 2, 1)
    """
    return _GRAMMAR.parse(text)


def format(counts: Iterable[int]) -> str:
    """The inverse of ``parse``; equal neighbours are joined.

    >>> format([2, 2, 2, 1])
    '2(x3),1'
    """
    runs = ((value, sum(1 for _ in run)) for value, run in groupby(counts))
    return ",".join(str(value) if times == 1 else f"{value}(x{times})" for value, times in runs)
