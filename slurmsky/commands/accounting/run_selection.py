"""Selection of job runs for sacct: SQL conditions and tests.

The accounting index decides about an ended run (``sql_conditions``). For other runs the index preselects, and the job
record decides (``test``).

Source: src/sacct/options.c, as_mysql_jobacct_process.c.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import reduce
from operator import and_

from ...controller.command_context import CommandContext
from ...controller.store.accounting_index import (
    NOTHING,
    Where,
    among,
    between,
    could_run,
    in_states,
    one_holds,
    shares_one,
    unless_ended,
)
from ...controller.store.database import Run
from ...language import hostlist
from ...model.job import Job, Step
from ...model.spec import INFINITE
from ...model.states import JobState
from ...options.query import SacctQuery
from ...report.fields import sacct_fields
from ..common.caller_settings import find_group, find_user
from ..common.job_filters import in_partition, one_of
from ..common.report_settings import midnight


def selects_cluster(ctx: CommandContext, query: SacctQuery) -> bool:
    """Return whether -M selects this cluster."""
    return not query.clusters or bool(
        {ctx.controller.job_table.cluster.name, "all", "-1"} & set(query.clusters.split(","))
    )


def window(query: SacctQuery, now: float) -> tuple[int, int]:
    """Begin and end of the queried time window; the end is exclusive.

    A query by job ids covers all time until now, a query by state one moment, any other query today.

    Source: slurmdbd_job_cond_def_start_end.
    """
    start, end = query.starttime, query.endtime
    if start is None:
        start = 0 if query.jobs else int(now) if query.states else midnight(now)
    if end is None:
        end = start if query.states and start else int(now)
    return start, end + 1 if end in (start, int(now)) else end


def sql_conditions(query: SacctQuery, since: float, until: float, held: bool = False) -> Where:
    """SQL conditions of the query, equivalent to ``test`` for ended runs.

    A query by time alone selects jobs by their eligible time, which a held job never gets. ``held``: include held jobs.
    """
    uids: Iterable[object] = [find_user(name) for name in query.users]
    if not uids and os.geteuid() != 0 and not query.allusers:
        uids = [os.geteuid()]
    conditions = [
        among("uid", uids), among("gid", [find_group(name) for name in query.groups]),
        among("account", query.accounts), among("name", query.names), among("qos", query.qos),
        among("wckey", query.wckeys), shares_one("partition", query.partitions),
        unless_ended(shares_one("features", query.constraints)), unless_ended(among("reason", query.reasons)),
        in_states(query.states, since, until),
    ]  # fmt: skip
    if not (query.states or held):
        conditions.append(could_run(until))
    if query.flags:
        conditions.append(unless_ended(one_holds([_FLAGS[flag] for flag in query.flags if flag in _FLAGS])))
    if query.associations and sacct_fields.ASSOCIATION not in query.associations:
        conditions.append(NOTHING)
    if query.nodelist is not None:
        names = hostlist.expand(query.nodelist)
        conditions.append(shares_one("node_list", names) if names else NOTHING)
    for span, column in ((query.nnodes, "nodes"), (query.ncpus, "cpus")):
        if span is not None and span[0]:
            conditions.append(unless_ended(between(column, span[0], span[1] or INFINITE)))
    if query.timelimit_min is not None:
        most = query.timelimit_min if query.timelimit_max is None else query.timelimit_max
        conditions.append(unless_ended(between("limit_min", query.timelimit_min, most)))
    return reduce(and_, conditions)


#: -F, for ended runs
_FLAGS = {
    "NotSet": "NOT started", "StartReceived": "started", "SchedMain": "started AND by_main",
    "SchedBackfill": "started AND NOT by_main",
}  # fmt: skip


def test(query: SacctQuery, now: float, held: bool = False) -> Callable[[Job], bool]:
    """Combine all conditions of the query into one test. ``held`` has the meaning that ``sql_conditions`` gives it."""
    tests: list[Callable[[Job], bool]] = []
    if query.users:
        uids = {find_user(name) for name in query.users}
        tests.append(lambda job: job.uid in uids)
    if query.groups:
        gids = {find_group(name) for name in query.groups}
        tests.append(lambda job: job.gid in gids)
    tests += one_of(query.accounts, lambda job: job.account)
    tests += one_of(query.names, lambda job: job.name)
    tests += one_of(query.qos, lambda job: job.qos)
    tests += one_of(query.wckeys, lambda job: job.spec.wckey)
    tests += in_partition(query.partitions)
    if query.constraints:
        wanted = frozenset(query.constraints)
        tests.append(
            lambda job: (
                job.spec.constraint is not None and bool(wanted & set(job.spec.constraint.replace("&", ",").split(",")))
            )
        )
    if query.flags:
        tests.append(lambda job: bool(flags_of(job) & set(query.flags)))
    if query.associations:
        # AssocID has one value for all jobs of a cluster.
        tests.append(lambda job: sacct_fields.ASSOCIATION in query.associations)
    if query.reasons:
        tests.append(lambda job: job.reason in query.reasons)
    if query.nodelist is not None:
        nodes = frozenset(hostlist.expand(query.nodelist))
        tests.append(lambda job: bool(nodes & set(job.nodes)))
    start, end = window(query, now)
    if query.states:
        states = frozenset(query.states)
        tests.append(lambda job: in_state(job, states, start, end))
    elif query.jobs:
        # Jobs selected by id are included even if they were not yet eligible.
        ended = sacct_fields.has_ended
        tests.append(lambda job: int(job.submit_time) < end and (not ended(job) or int(job.end_time) >= start))
    elif not held:
        tests.append(lambda job: 0 < int(job.eligible_time) < end)
    for span, count in ((query.nnodes, lambda job: job.num_nodes), (query.ncpus, lambda job: job.num_cpus)):
        if span is not None and span[0]:
            tests.append(lambda job, span=span, count=count: span[0] <= count(job) <= (span[1] or INFINITE))  # type: ignore[misc]
    if query.timelimit_min is not None:
        low, high = query.timelimit_min, query.timelimit_max
        tests.append(
            lambda job: (
                job.time_limit_min is not None
                and (job.time_limit_min == low if high is None else low <= job.time_limit_min <= high)
            )
        )
    if os.geteuid() != 0 and not query.users and not query.allusers:
        tests.append(lambda job: job.uid == os.geteuid())
    return lambda job: all(test(job) for test in tests)


def flags_of(job: Job) -> set[str]:
    """Flags of -F: how a job was scheduled, and whether it started."""
    if not sacct_fields.ever_had_nodes(job):
        return {"NotSet"}
    return {"SchedMain" if job.sched_main else "SchedBackfill", "StartReceived"}


def in_state(job: Job, states: frozenset[str], start: float, end: float) -> bool:
    """Return whether a job meets -s in the window.

    A lasting state must overlap the window, an end must be in it.

    Source: as_mysql_jobacct_process.c, _state_time_string; times are whole seconds there.
    """
    began = int(job.start_time) if sacct_fields.ever_had_nodes(job) else 0
    ended = int(job.end_time) if sacct_fields.has_ended(job) else 0
    lasting = set()
    # Only eligible jobs count: a held or dependent job is not pending in this sense.
    if 0 < int(job.eligible_time) < end and (
        start < (began or ended) or (not (began or ended) and not job.state.active)
    ):
        lasting.add("PENDING")
    if 0 < began < end and (start < ended or (not ended and job.state is JobState.RUNNING)):
        lasting.add("RUNNING")
    if job.state is JobState.SUSPENDED:
        lasting.add("SUSPENDED")
    if lasting & states:
        return True
    word = "REQUEUED" if ended and job.state is JobState.PENDING else job.state.name
    return bool(ended) and word in states and start <= ended <= end


def truncated(job: Job, query: SacctQuery, now: float) -> Job:
    """Clip all times to the queried window (--truncate)."""
    since, until = window(query, now)
    until = min(until, int(now))

    def end(part: Job | Step) -> float:
        return min(part.end_time or until, until)

    def start(part: Job | Step) -> float:
        return max(part.start_time, since) if part.start_time else end(part)

    steps = {name: replace(step, start_time=start(step), end_time=end(step)) for name, step in job.steps.items()}
    return replace(job, steps=steps, start_time=start(job), end_time=end(job))


def take_live_steps(ctx: CommandContext, job: Job) -> None:
    """Replace an active job's steps with those in memory."""
    live = ctx.controller.job_table.jobs.get(job.job_id)
    if live is not None and live.restarts == job.restarts:
        job.steps = dict(live.steps)  # the store lacks a running batch step


def load_jobs(ctx: CommandContext, runs: Sequence[Run], with_steps: bool) -> list[Job]:
    """Load the jobs of these runs in order.

    Active jobs come from memory, others from the store, without damaged records.
    """
    found: dict[tuple[int, int], Job] = {}
    for run in runs:
        live = ctx.controller.job_table.jobs.get(run.job_id)
        if live is not None and live.state is JobState.PENDING and live.restarts == run.restarts:
            found[run.job_id, run.restarts] = live
    stored = [run for run in runs if run[:2] not in found]
    if stored:
        found.update({(job.job_id, job.restarts): job for job in ctx.controller.store.jobs_of(stored, with_steps)})
    return [found[run[:2]] for run in runs if run[:2] in found]
