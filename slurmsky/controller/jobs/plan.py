"""Plan of one scheduler pass, and its execution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from ...model.allocation import NodeShare
from ...model.job import Job
from ...model.states import JobState
from . import transitions
from .job_table import JobTable
from .submitter import split_element

#: number of elements of an array that wait with their own records (SchedulerParameters correspond_after_task_cnt)
CORRESPOND_AFTER_TASK_CNT = 10


class Start(NamedTuple):
    """Start of a job, of a het component, or of an array element. ``job_id``: the id of the job that starts."""

    job: Job  # for an array: the record that its pending elements share
    job_id: int
    shares: list[NodeShare]
    partition: str
    time_limit_min: int | None
    task: int | None = None  # the element that leaves the array's record
    awaits_nodes: bool = False  # the engine has not created the nodes yet
    main: bool | None = None  # not by backfill; None: unchanged

    @property
    def qos(self) -> str:
        """The QOS of the start. If the job has several, ``job`` is a copy with this one."""
        return self.job.qos


class Wait(NamedTuple):
    """Reason of a job's wait. ``start`` and ``nodes``: its planned start, if known."""

    job: Job
    reason: str
    desc: str = ""
    start: float | None = None
    nodes: tuple[str, ...] | None = None
    #: the unmet dependencies, and scontrol's form of them; None: unchanged
    dependency: tuple[str, str] | None = None
    #: False: the job waits for another reason than resources
    eligible: bool = True


@dataclass(frozen=True)
class Plan:
    """The decisions of one pass, not yet carried out."""

    starts: Sequence[Start] = ()
    waits: Sequence[Wait] = ()
    #: jobs that wait only for resources from now on
    eligible: Sequence[Job] = ()
    #: jobs whose dependencies are met
    dependency_met: Sequence[Job] = ()
    #: arrays whose elements wait for the corresponding elements of others
    corresponding: Sequence[Job] = ()
    #: jobs whose dependency can never be met, with --kill-on-invalid-dep
    hopeless: Sequence[Job] = ()
    #: jobs whose deadline has passed
    expired: Sequence[Job] = ()
    #: jobs whose scheduling raised an exception, with the exception; the pass continued with the others
    broken: Sequence[tuple[Job, Exception]] = ()
    #: dollars an hour that pending jobs would cost
    prices: Sequence[tuple[Job, float]] = ()
    #: jobs and partitions whose price must be known before the start
    unpriced: Sequence[tuple[Job, str]] = ()
    #: a job waits for its budget
    over_budget: bool = False
    #: epoch second at which a new pass may decide differently without an event
    wake: float | None = None


@dataclass
class Applied:
    """Result of a plan: started jobs, failed starts, pending dependents."""

    started: list[Job] = field(default_factory=list)
    broken: list[tuple[Job, Exception]] = field(default_factory=list)
    awaited: bool = False


def apply(
    plan: Plan,
    job_table: JobTable,
    engine_of: Callable[[str], str] = lambda partition: "local",
    ready_in: Callable[[Sequence[str], str], float] = lambda names, partition: 0.0,
) -> Applied:
    """Apply a plan to the job table. An exception in a start affects only its job."""
    now, done = job_table.clock(), Applied(broken=list(plan.broken))
    for job, dollars in plan.prices:
        job.hourly_cost = dollars
    for job in plan.dependency_met:
        transitions.dependency_met(job, now)
        job_table.touch(job)
    for job in plan.eligible:
        transitions.make_eligible(job, now)
    for start in plan.starts:
        job = job_table.jobs[start.job.job_id]
        try:
            if start.task is not None:
                job = split_element(job_table, job, start.task)
                transitions.dependency_met(job, now)
            _begin(job, start, job_table, engine_of(start.partition), ready_in, now)
        except Exception as problem:
            done.broken.append((job, problem))
        else:
            done.started.append(job)
            done.awaited = done.awaited or job_table.has_dependents(job)
    for wait in plan.waits:
        _wait(wait, job_table, now)
    for base in plan.corresponding:
        done.awaited = _split_corresponding(job_table, base) or done.awaited
    return done


def _split_corresponding(job_table: JobTable, base: Job) -> bool:
    """Give an array's next elements their own records and dependencies.

    Return False if none was split. Source: job_scheduler.c _split_job_on_schedule. slurmctld also counts elements that
    can never start.
    """
    waiting = sum(
        job.state is JobState.PENDING and not job.pending_tasks and job.reason != "DependencyNeverSatisfied"
        for job in job_table.array(base.array_job_id)
    )
    tasks = (task for part in base.pending_tasks for task in part)
    chosen = list(islice(tasks, max(0, CORRESPOND_AFTER_TASK_CNT - waiting)))
    for task in chosen:
        if base.pending_tasks:  # the second to last element leaves the last one with the array's record
            split_element(job_table, base, task)
    return bool(chosen)


def _wait(wait: Wait, job_table: JobTable, now: float) -> None:
    job, changed = wait.job, False
    if wait.start is not None:
        transitions.plan_start(job, wait.start)
    if wait.nodes is not None:
        transitions.plan_nodes(job, wait.nodes)
    if not wait.eligible:
        transitions.not_eligible(job)
    if wait.dependency is not None:
        transitions.dependency_unmet(job, *wait.dependency)
        changed = True
    if transitions.wait(job, wait.reason, wait.desc, now) or changed:
        job_table.touch(job)


def _begin(
    job: Job,
    start: Start,
    job_table: JobTable,
    engine: str,
    ready_in: Callable[[Sequence[str], str], float],
    now: float,
) -> None:
    """Assign a job its nodes. The job runs, or waits until the engine has created the nodes."""
    if job.job_id != start.job_id:
        raise RuntimeError(f"job {job.job_id} was planned as {start.job_id}")  # its nodes have the planned names
    job.partition, job.time_limit_min = start.partition, start.time_limit_min
    job.qos = start.qos
    job.sched_main = job.sched_main if start.main is None else start.main
    wait = 0.0 if start.awaits_nodes else ready_in([share.name for share in start.shares], start.partition)
    if start.awaits_nodes:
        transitions.await_nodes(job, start.shares, engine)
    else:
        transitions.begin(job, start.shares, engine, now, wait)
        job_table.counters.started += 1
    job_table.book_shares(job)
    job_table.touch(job)
