"""Conditions on jobs that several queries share."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ...model.job import Job

Test = Callable[[Job], bool]


def one_of(names: Iterable[str] | None, value: Callable[[Job], str | None]) -> list[Test]:
    """Test that a value is among ``names``; none without names."""
    if not names:
        return []
    wanted = frozenset(names)
    return [lambda job: value(job) in wanted]


def any_case(names: Iterable[str] | None, value: Callable[[Job], str | None]) -> list[Test]:
    """Case-insensitive test that a value is among ``names``. None means no test."""
    if names is None:
        return []
    wanted = frozenset(name.casefold() for name in names)
    return [lambda job: (value(job) or "").casefold() in wanted]


def in_partition(names: Iterable[str] | None) -> list[Test]:
    """Test that a job names one of the partitions. No partitions means no test."""
    if not names:
        return []
    wanted = frozenset(names)
    return [lambda job: not wanted.isdisjoint(job.partition.split(","))]
