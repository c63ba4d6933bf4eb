"""squeue: the queue as a table.

Source: src/squeue/squeue.c, opts.c, print.c.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeGuard

from ..controller.command_context import CommandContext
from ..language import hostlist
from ..language.syntax_errors import LanguageError
from ..model.job import Job
from ..model.states import JobFlag, JobState
from ..options import help as helps
from ..options.query import JobId, SqueueQuery, parse_squeue
from ..report.fields import field_tables
from ..report.fields.squeue_fields import StepRow
from ..report.text import squeue_rows as report
from ..report.text.units import Scale
from .common import verbosity
from .common.caller_settings import find_user, read_context
from .common.command_errors import streaming
from .common.data_output import Build, check_style, send
from .common.expected_jobs import with_expected_starts
from .common.iteration import repeat
from .common.job_filters import Test, any_case, in_partition
from .common.report_settings import known_cluster, nodes_and_cluster
from .common.report_settings import report as report_context

_DEFAULT_STATES = frozenset({"PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING"})
#: states that only jobs with an allocation have
_ALLOCATED_STATES = frozenset({"RUNNING", "SUSPENDED"})


#: threshold and batch size for arrays with many pending elements; other requests run between two batches
_LARGE_ARRAY, _BATCH_SIZE = 5000, 2000


#: fields of -O that depend on the start of a job
_STARTS = re.compile("start|end|sched", re.IGNORECASE)


@streaming
async def main(ctx: CommandContext) -> int:
    """Print once, or every --iterate seconds until interrupted."""
    query = parse_squeue(ctx.args, read_context(ctx))
    check_style(ctx, query.json, query.yaml)
    for line in query.warnings:
        ctx.err(line)
    if query.helpformat or query.helpformat2 or query.helpstate:
        ctx.out(helps.field_help(query, field_tables.table("squeue_fields")))
        return 0
    if not known_cluster(ctx, query.clusters):
        return 1
    if query.verbose:
        ctx.out(verbosity.squeue(query))
        ctx.out(report_context(ctx, query).clock.date_line() + "\n")
        verbosity.debug(ctx, query.verbose)
    return await repeat(ctx, query.iterate, lambda: _print(ctx, query))


async def _print(ctx: CommandContext, query: SqueueQuery) -> int:
    controller = ctx.controller
    users = _user_tests(ctx, query)
    found, problem = _chosen(ctx, query)
    if problem:
        ctx.err(problem)
        return 1
    if query.nodelist is not None:
        known = {*nodes_and_cluster(ctx)[0], *(name for job in found for name in job.nodes), "localhost"}
        unknown = [name for name in hostlist.expand(query.nodelist) if name not in known]
        if unknown:
            ctx.error(f"Invalid node name {unknown[0]}")
            return 1
    jobs = _selected(ctx, query, found, users)
    context = report_context(ctx, query, Scale(None, not query.noconvert), query.expand_patterns)
    context = replace(context, only_state=query.only_job_state)
    if query.json is not None or query.yaml is not None:
        return await send(ctx, query.json, query.yaml, _document(ctx, query, jobs, users))
    if query.verbose:
        ctx.out(f"last_update_time={int(controller.clock())} records={len(found)}\n")
    if query.clusters and not query.noheader:
        ctx.out(f"CLUSTER: {controller.job_table.cluster.name}\n")
    try:
        if query.steps is not None:
            return _steps(ctx, query, jobs, users)
        letters, names = query.format, query.format2
        if query.start and letters is None:  # this line comes before those of -O
            letters = report.START
        if letters is None and names is None:
            usual = report.ONLY_STATE if query.only_job_state else report.LONG if query.long else report.DEFAULT
            letters, names = (usual, None) if "%" in usual else (None, usual)
        layout, unknown_fields = report.job_layout(context, letters, names)
        for field in unknown_fields:
            ctx.error("Invalid job format specification: " + field.strip("\0"))
        sort = query.sort or (report.START_SORT if query.start else report.JOB_SORT)
        rows = list(report.job_rows(jobs, context, query.array, query.priority))
        lines = report.squeue_lines(
            rows, layout, context, header=not query.noheader, date_line=query.long, sort=sort, each=query.array
        )
        if query.array and sum(len(part) for job in jobs for part in job.pending_tasks) > _LARGE_ARRAY:
            await ctx.out_lines((line + "\n" for line in lines), _BATCH_SIZE)
        else:
            ctx.out("".join([line + "\n" for line in lines]))
    except report.InvalidSort as error:
        if not query.noheader:
            ctx.out(report.squeue_text([], layout, context, date_line=query.long))
        ctx.error(str(error))
        return 1
    return 0


def _selected(ctx: CommandContext, query: SqueueQuery, found: list[Job], users: Sequence[Test]) -> list[Job]:
    """Select the jobs of the query. Where starts are shown, waiting jobs have expected ones."""
    jobs = found
    for test in [] if query.steps is not None else _tests(ctx, query, users):
        jobs = [job for job in jobs if test(job)]
    data = query.json is not None or query.yaml is not None
    return with_expected_starts(ctx, jobs) if query.start or data or _shows_starts(query) else jobs


def _shows_starts(query: SqueueQuery) -> bool:
    """True if a column or the order depends on planned starts."""
    letters = re.findall(r"%[.\d]*([a-zA-Z])", query.format or "")
    return bool({"S", "Y", "e"} & {*letters, *(query.sort or "")}) or bool(_STARTS.search(query.format2 or ""))


def _steps(ctx: CommandContext, query: SqueueQuery, jobs: Iterable[Job], users: Sequence[Test]) -> int:
    context = report_context(ctx, query)
    layout, unknown = report.step_layout(context, query.format, query.format2)
    for field in unknown:
        ctx.error("Invalid job step format specification: " + field.strip("\0"))
    test = _step_filter(query, users)
    rows = [row for row in report.step_rows(jobs) if not row.step.state.finished and test(row)]
    ctx.out(
        report.squeue_steps_text(rows, layout, context, header=not query.noheader, sort=query.sort or report.STEP_SORT)
    )
    return 0


def _step_filter(query: SqueueQuery, users: Sequence[Test]) -> Callable[[StepRow], bool]:
    """Filter steps by id, partition, node and user.

    Steps have no other conditions. Source: print.c _filter_step.
    """
    tests: list[Callable[[StepRow], bool]] = []
    if query.steps:
        steps = query.steps
        tests.append(lambda row: any(str(one.step) == row.step.step_id and _id_selects(row.job, one) for one in steps))
    if query.jobs:
        jobs = query.jobs
        tests.append(lambda row: any(_id_selects(row.job, one) for one in jobs))
    if query.partitions is not None:
        partitions = frozenset(query.partitions)
        tests.append(lambda row: row.job.partition in partitions)
    if query.nodelist is not None:
        nodes = frozenset(hostlist.expand(query.nodelist))
        tests.append(lambda row: bool(nodes & set(row.step.nodes)))
    tests += [lambda row, test=test: test(row.job) for test in users]  # type: ignore[misc]
    return lambda row: all(test(row) for test in tests)


def _id_selects(job: Job, wanted: JobId) -> bool:
    """Return whether an id selects this job, its array, or this element."""
    if wanted.task is None:
        return wanted.job_id in (job.job_id, job.array_job_id)
    return wanted.job_id == job.array_job_id and wanted.task == job.array_task_id


def _document(ctx: CommandContext, query: SqueueQuery, jobs: list[Job], users: Sequence[Test]) -> Build:
    """The answer of --json: jobs, job states, or running steps."""
    now, cluster = ctx.controller.clock(), ctx.controller.job_table.cluster
    if query.steps is not None:
        wanted = _step_filter(query, users)
        steps = [(row.job, row.step) for row in report.step_rows(jobs) if not row.step.state.finished and wanted(row)]
        return lambda form, about: form.steps_document(steps, about, now, cluster)
    if query.only_job_state:
        return lambda form, about: form.states_document(jobs, about)
    return lambda form, about: form.jobs_document(jobs, about, now, cluster)


def _chosen(ctx: CommandContext, query: SqueueQuery) -> tuple[list[Job], str | None]:
    """Records that --jobs selects, or all records. A single unknown id is an error."""
    job_table = ctx.controller.job_table
    # The job table may hold thousands of pending and recently ended jobs; most calls need few of them.
    live = None
    if query.steps is not None or {*(query.states or ("all",))} <= _ALLOCATED_STATES:
        live = job_table.active
    elif _excludes_ended(query):
        live = job_table.pending | job_table.active
    if not query.jobs:
        return [job_table.jobs[job_id] for job_id in sorted(job_table.jobs if live is None else live)], None
    ids = dict.fromkeys(wanted.job_id for wanted in query.jobs)
    candidates: set[int] = set()
    for job_id in ids:
        candidates |= job_table.members.get(job_id, set())
        job = job_table.jobs.get(job_id)
        if job is not None:
            candidates.update(
                part.job_id for part in (job_table.components(job) if job.het_job_id == job_id else [job])
            )
    if not candidates and len(query.jobs) == 1 and query.steps is None:
        return [], "slurm_load_jobs error: Invalid job id specified"
    if live is not None:
        candidates &= live
    found = (_named(job_table.jobs[job_id], query.jobs) for job_id in sorted(candidates))
    return [job for job in found if job is not None], None


def _named(job: Job, wanted: Iterable[JobId]) -> Job | None:
    """Reduce a record to the elements that the ids select.

    Only the pending rest of an array is reduced, if the first matching id names an element. Source: print.c
    _filter_job.
    """
    for one in wanted:
        if _id_selects(job, one) or job.het_job_id == one.job_id:
            return job
        if one.job_id == job.array_job_id and _is_pending_element(one.task, job):
            named = (each.task for each in wanted if each.job_id == one.job_id)
            tasks = sorted({task for task in named if _is_pending_element(task, job)})
            if len(tasks) == 1:
                return replace(job, array_task_id=tasks[0], pending_tasks=())
            return replace(job, pending_tasks=tuple(range(task, task + 1) for task in tasks), array_max_running=None)
    return None


def _is_pending_element(task: object, job: Job) -> TypeGuard[int]:
    """Return whether this is a pending element in its array's shared record."""
    return isinstance(task, int) and any(task in part for part in job.pending_tasks)


def _excludes_ended(query: SqueueQuery) -> bool:
    """Return whether the query excludes all ended jobs."""
    return query.states is None or not {"all", *(state.name for state in JobState if state.finished)} & {*query.states}


def _tests(ctx: CommandContext, query: SqueueQuery, users: Sequence[Test]) -> list[Test]:
    """All conditions of the query."""
    tests: list[Callable[[Job], bool]] = []
    states = ("PENDING",) if query.start and query.states is None and query.steps is None else query.states
    if states != ("all",):
        wanted = frozenset(_DEFAULT_STATES if states is None else states)
        bases = [state for state in JobState if state.name in wanted]
        # A requested base state selects only jobs without a flag that hides it (opts.c, _filter_job).
        flagged = wanted if states is None else wanted - {state.name for state in JobState}
        tests.append(
            lambda job: job.state in bases if job.flags is JobFlag.NONE else not flagged.isdisjoint(state_words(job))
        )
    tests += users
    tests += any_case(query.accounts, lambda job: job.account)
    tests += any_case(query.names, lambda job: job.name)
    tests += any_case(query.qos, lambda job: job.qos)
    if query.partitions is not None:
        tests += in_partition(query.partitions) or [lambda job: False]
    if query.reservation:
        tests.append(lambda job: job.spec.reservation in query.reservation)
    if query.licenses is not None:
        licenses = frozenset(query.licenses)
        tests.append(lambda job: any(item.split(":")[0] in licenses for item in (job.spec.licenses or "").split(",")))
    if query.nodelist is not None:
        try:
            nodes = frozenset(hostlist.expand(query.nodelist))
        except LanguageError:
            nodes = frozenset()
        tests.append(lambda job: bool(nodes & set(job.nodes)))
    now = ctx.controller.clock()
    if query.running_over is not None:
        tests.append(lambda job: job.state.active and now - job.start_time > (query.running_over or 0))
    if query.running_under is not None:
        tests.append(lambda job: job.state.active and now - job.start_time < (query.running_under or 0))
    return tests


def _user_tests(ctx: CommandContext, query: SqueueQuery) -> list[Test]:
    """Conditions for -u, --me and --notme. An unknown user name is reported and selects no job."""
    tests: list[Callable[[Job], bool]] = []
    caller = submit_uid(ctx)
    if query.me:
        tests.append(lambda job: job.uid == caller)
    if query.users is not None:
        uids = set()
        for name in query.users:
            uid = find_user(name)
            if uid is None:
                ctx.error(f"Invalid user: {name}\n")
            else:
                uids.add(uid)
        tests.append(lambda job: job.uid in uids)
    if query.notme:
        tests.append(lambda job: job.uid != caller)
    return tests


def state_words(job: Job) -> set[str]:
    """State words that select a job: base state and flags."""
    if not job.flags:
        return {job.state.name}
    found = {flag.name for flag in JobFlag if flag and flag in job.flags and flag.name}
    return found | {job.state.name}


def submit_uid(ctx: CommandContext) -> int:
    """The caller's uid: the controller serves one user."""
    import os

    return os.geteuid()
