"""Conditions on jobs that several queries share."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ...model.job import Job

Test = Callable[[Job], bool]


def one_of(names: Iterable[str] | None, value: Callable[[Job], str | None]) -> list[Test]:
    """A test that a job's value is among the given ones; no test without values."""
    if not names:
        return []
    wanted = frozenset(names)
    return [lambda job: value(job) in wanted]


def any_case(names: Iterable[str] | None, value: Callable[[Job], str | None]) -> list[Test]:
    """A case-insensitive test that a job's value is among the given ones; no test for None."""
    if names is None:
        return []
    wanted = frozenset(name.casefold() for name in names)
    return [lambda job: (value(job) or "").casefold() in wanted]


def in_partition(names: Iterable[str] | None) -> list[Test]:
    """A test that a job names one of the given partitions; no test without partitions."""
    if not names:
        return []
    wanted = frozenset(names)
    return [lambda job: not wanted.isdisjoint(job.partition.split(","))]
