"""Backfill: planned start of a blocked job, and earlier starts behind it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...model.allocation import NodeShare
from ...model.cluster import PartitionConfig
from ...model.job import Job
from ...model.spec import INFINITE
from ...model.states import JobFlag
from ..jobs.job_table import JobTable
from ..jobs.plan import Start
from ..rules.demand import Demand
from ..rules.job_placement import Place
from ..rules.node_use import NodeUse

if TYPE_CHECKING:
    from .scheduler import Scheduler

_YEAR_S = 365 * 86400.0


@dataclass
class Blocked:
    """The first job of a partition with too few free nodes.

    It has the job's demand, and the nodes at its planned start.
    """

    demand: Demand
    start: float
    nodes: list[NodeUse]


@dataclass(frozen=True)
class End:
    """Resources that a running or planned job frees at a time."""

    time: float
    job_id: int
    partition: str
    held: Sequence[NodeShare]


def ends_of(
    job_table: JobTable, now: float, names: Collection[str], planned: Sequence[tuple[Start, list[NodeShare]]]
) -> list[End]:
    """Ends of the jobs on any of these nodes, earliest first."""
    found = []
    for job_id in job_table.active:
        job = job_table.jobs[job_id]
        held = job_table.virtual.real_shares_of(job)
        if any(share.name in names for share in held):
            ends = now if JobFlag.COMPLETING in job.flags else end_of(job.start_time or now, job.time_limit_min, now)
            found.append(End(ends, job_id, job.partition, held))
    for start, held in planned:
        if any(share.name in names for share in held):
            found.append(End(end_of(now, start.time_limit_min, now), start.job_id, start.partition, held))
    found.sort(key=lambda end: end.time)
    return found


def end_of(since: float, limit_min: int | None, now: float) -> float:
    return now + _YEAR_S if limit_min is None or limit_min == INFINITE else max(now, since + limit_min * 60.0)


def earliest(
    job_table: JobTable,
    demand: Demand,
    nodes: Sequence[NodeUse],
    now: float,
    consume_memory: bool,
    place: Place,
    planned: Sequence[tuple[Start, list[NodeShare]]] = (),
) -> tuple[float, list[NodeShare], list[NodeUse]] | None:
    """Return a demand's earliest start: time, shares, and nodes then.

    ``place``: scheduler.place_later, also for a start now, because warm nodes may have to power down and up first.
    None: no running job explains the wait (a node is down).
    """
    future = {use.config.name: use.copy() for use in nodes}
    for end in (End(now, 0, "", ()), *ends_of(job_table, now, future.keys(), planned)):
        for share in end.held:
            if share.name in future:
                future[share.name].release(end.job_id, share, end.partition)
        shares = place(demand, list(future.values()), consume_memory)
        if shares is not None:
            return end.time, shares, list(future.values())
    return None


def nodes_after_start(
    job: Job, shares: Sequence[NodeShare], now: float, first: Blocked, partition: str, scheduler: Scheduler
) -> list[NodeUse] | None:
    """Return the blocked job's nodes if this job starts now. None: the blocked job's plan would fail."""
    limit = job.time_limit_min
    if limit is not None and limit != INFINITE and now + limit * 60 <= first.start:
        return first.nodes
    future = {use.config.name: use.copy() for use in first.nodes}
    for share in shares:
        if share.name in future:
            future[share.name].allocate(job.job_id, share, scheduler.demand(job.spec).exclusive, partition)
    left = list(future.values())
    return left if scheduler.place_later(first.demand, left, scheduler.consume_memory) is not None else None


def shortened(job: Job, now: float, until: float) -> int | None:
    """Limit in minutes with which a --time-min job ends in time.

    None: the minimum is too long. Source: backfill.c, which lowers the limit of such a job as far as --time-min to
    start it earlier.
    """
    least = job.spec.time_min_min
    room = int(until - now) // 60
    return room if least and room >= least else None


def shown_start(start: float, now: float) -> float | None:
    """Return a planned start for users. None: only a job without a time limit delays it."""
    return start if start < now + _YEAR_S - 86400 else None


def predict_start(
    scheduler: Scheduler, job_like: Job, partition: PartitionConfig, clock: Callable[[], float]
) -> tuple[float, list[NodeShare]] | None:
    """Predict a job's start and nodes (--test-only).

    The start is now if the job fits, else at the end of enough running jobs.
    """
    fit, job_table, now = scheduler.fit(job_like.spec), scheduler.job_table, clock()
    demand = fit.demand.limited_to(partition)
    nodes = scheduler.uses(partition.name)
    start, shares = now, scheduler.place(demand, nodes, scheduler.consume_memory)
    if shares is None:
        found = earliest(job_table, demand, nodes, now, scheduler.consume_memory, scheduler.place_later)
        if found is None:
            return None
        start, shares, _ = found
    ready = scheduler.ready_in([share.name for share in shares], partition.name)
    return start + ready, job_table.virtual.placed(fit, shares)
