"""Expected starts of waiting jobs, for squeue and scontrol show job.

The scheduling pass plans the first blocked job of each partition. The forecast adds the jobs behind it in their order.
Each starts when enough running and expected jobs have ended, and no job starts before the previous one, so a job may
start earlier than shown. Source: backfill.c, which plans as many jobs as bf_max_job_test.
"""

from __future__ import annotations

from bisect import insort
from collections import defaultdict

from ...model.job import Job
from ...model.states import JobState
from .backfill import End, end_of, ends_of, shown_start
from .scheduler import Scheduler

#: jobs and array elements of a partition in the forecast; bf_max_job_test's default
MAX_JOBS = 500
_WAITING = frozenset(("Resources", "Priority"))


def waits_for_resources(job: Job) -> bool:
    """True if a job waits for resources only; False for components of a heterogeneous job."""
    return job.state is JobState.PENDING and job.reason in _WAITING and not job.het_job_id


def expected_starts(scheduler: Scheduler, now: float) -> dict[int, tuple[float, tuple[str, ...]]]:
    """Start time and nodes, by job id, of jobs that wait for resources only; omits heterogeneous jobs."""
    job_table = scheduler.job_table
    waiting = defaultdict(list)
    for job_id in job_table.pending:
        job = job_table.jobs[job_id]
        if waits_for_resources(job):
            waiting[job.partition.partition(",")[0]].append(job)
    found: dict[int, tuple[float, tuple[str, ...]]] = {}
    for name, jobs in waiting.items():
        timeline = _Timeline(scheduler, name, now)
        left = MAX_JOBS
        for job in sorted(jobs, key=scheduler.order):
            count = min(job.pending_count or 1, left)
            left -= count
            starts = [timeline.add(job) for _ in range(count)]
            if starts and starts[0] is not None:
                found[job.job_id] = starts[0]
    return found


class _Timeline:
    """Nodes of a partition over time; jobs are added in start order."""

    def __init__(self, scheduler: Scheduler, partition: str, now: float) -> None:
        self._scheduler, self._name = scheduler, partition
        self._partition = scheduler.job_table.cluster.partition(partition)
        self._nodes = {use.config.name: use.copy() for use in scheduler.uses(partition)}
        self._ends = ends_of(scheduler.job_table, now, self._nodes.keys(), ())
        self._began = self._time = now
        self._added = 0

    def add(self, job: Job) -> tuple[float, tuple[str, ...]] | None:
        """Return a job's start and nodes; None if it never fits. The nodes stay in use until its time limit."""
        scheduler = self._scheduler
        if self._partition is None:
            return None
        demand = scheduler.fit(job.spec).demand.limited_to(self._partition)
        nodes, ends, time = {name: use.copy() for name, use in self._nodes.items()}, list(self._ends), self._time
        while (shares := scheduler.place_later(demand, list(nodes.values()), scheduler.consume_memory)) is None:
            if not ends:
                return None
            end = ends.pop(0)
            time = max(time, end.time)
            for share in end.held:
                if share.name in nodes:
                    nodes[share.name].release(end.job_id, share, end.partition)
        self._added -= 1  # an id that no job has
        for share in shares:
            nodes[share.name].allocate(self._added, share, demand.exclusive, self._name)
        over = end_of(time, job.time_limit_min, self._began)
        insort(ends, End(over, self._added, self._name, shares), key=lambda one: one.time)
        self._nodes, self._ends, self._time = nodes, ends, time
        names = tuple(share.name for share in shares)
        shown = shown_start(time + scheduler.ready_in(names, self._name), self._began)
        return None if shown is None else (shown, names)
