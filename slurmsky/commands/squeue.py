"""squeue: the queue as a table. Source: src/squeue/squeue.c, opts.c, print.c."""
from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from ..controller.context import Context
from ..language import hostlist
from ..language.errors import LanguageError
from ..model.job import Job
from ..model.states import JobFlag, JobState
from ..options import help as helps
from ..options.query import JobId, SqueueQuery, parse_squeue
from ..report import jobs as report
from ..report import tables
from ..report.job_fields import StepRow
from ..report.text import Scale
from ._command import streaming
from ._documents import Make, check_style, send
from ._filters import in_partition, one_of
from ._repeat import repeat
from ._report import known_cluster, nodes_and_cluster
from ._report import report as report_context
from ._surroundings import find_user, surroundings

_DEFAULT_STATES = frozenset({"PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING"})
#: only jobs with an allocation are in these
_HOLDING = frozenset({"RUNNING", "SUSPENDED"})


@streaming
async def main(ctx: Context) -> int:
    """Print once, or every --iterate seconds until interrupted."""
    query = parse_squeue(ctx.args, surroundings(ctx))
    check_style(ctx, query.json, query.yaml)
    for line in query.warnings:
        ctx.err(line)
    if query.helpformat or query.helpformat2 or query.helpstate:
        ctx.out(helps.field_help(query, tables.table("squeue_fields")))
        return 0
    if not known_cluster(ctx, query.clusters):
        return 1
    return await repeat(ctx, query.iterate, lambda: _print(ctx, query))


async def _print(ctx: Context, query: SqueueQuery) -> int:
    queue = ctx.queue
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
    jobs = found
    for test in _tests(ctx, query):
        jobs = [job for job in jobs if test(job)]
    context = report_context(ctx, query, Scale(None, not query.noconvert), query.expand_patterns)
    if query.json is not None or query.yaml is not None:
        return await send(ctx, query.json, query.yaml, _document(ctx, query, jobs))
    if query.clusters and not query.noheader:
        ctx.out(f"CLUSTER: {queue.book.cluster.name}\n")
    try:
        if query.steps is not None:
            return _steps(ctx, query, jobs)
        letters, names = query.format, query.format2
        if letters is None and names is None:
            usual = (report.ONLY_STATE if query.only_job_state else report.START if query.start
                     else report.LONG if query.long else report.DEFAULT)
            letters, names = (usual, None) if "%" in usual else (None, usual)
        layout, unknown_fields = report.job_layout(context, letters, names)
        for field in unknown_fields:
            ctx.error(f"Invalid job format specification: {field}")
        sort = query.sort or (report.START_SORT if query.start else report.JOB_SORT)
        rows = list(report.job_rows(jobs, context, query.array or query.array_unique, query.priority))
        if query.start:
            rows = [row for row in rows if row.job.state is JobState.PENDING]
        ctx.out(report.squeue_text(rows, layout, context, header=not query.noheader, date_line=query.long,
                                   sort=sort, each=query.array))
    except report.InvalidSort as error:
        if not query.noheader:
            ctx.out(report.squeue_text([], layout, context, date_line=query.long))
        ctx.error(str(error))
        return 1
    return 0


def _steps(ctx: Context, query: SqueueQuery, jobs: Iterable[Job]) -> int:
    context = report_context(ctx, query)
    layout, unknown = report.step_layout(context, query.format, query.format2)
    for field in unknown:
        ctx.error(f"Invalid job step format specification: {field}")
    rows = [row for row in report.step_rows(jobs) if _step_wanted(row, query.steps or ())
            and not row.step.state.finished]
    ctx.out(report.squeue_steps_text(rows, layout, context, header=not query.noheader,
                                     sort=query.sort or report.STEP_SORT))
    return 0


def _step_wanted(row: StepRow, wanted: Iterable[JobId]) -> bool:
    ids = list(wanted)
    return not ids or any(one.job_id in (row.job.job_id, row.job.array_job_id) and str(one.step) == row.step.step_id
                          for one in ids)


def _document(ctx: Context, query: SqueueQuery, jobs: list[Job]) -> Make:
    """What --json prints: jobs, or their states alone, or the steps that run."""
    now, cluster = ctx.queue.clock(), ctx.queue.book.cluster
    if query.steps is not None:
        steps = [(row.job, row.step) for row in report.step_rows(jobs)
                 if _step_wanted(row, query.steps) and not row.step.state.finished]
        return lambda form, about: form.steps_document(steps, about, now, cluster)
    if query.only_job_state:
        return lambda form, about: form.states_document(jobs, about)
    return lambda form, about: form.jobs_document(jobs, about, now, cluster)


def _chosen(ctx: Context, query: SqueueQuery) -> tuple[list[Job], str | None]:
    """The records that --jobs names, or all; one unknown id alone is an error."""
    book = ctx.queue.book
    # Thousands of jobs may have ended lately, or wait; most calls do not ask for all of them.
    live = None if not _of_the_living(query) else (
        book.active if {*(query.states or ("all",))} <= _HOLDING else book.pending | book.active)
    # With --steps the jobs themselves are not asked for.
    if not query.jobs or query.steps:
        return [book.jobs[job_id] for job_id in sorted(book.jobs if live is None else live)], None
    found: dict[int, Job] = {}
    known = False
    for wanted in query.jobs:
        if live is not None and wanted.task in (None, "*") and wanted.job_id in book.members:
            known = True
            found.update((job_id, book.jobs[job_id]) for job_id in book.members[wanted.job_id] & live)
            continue
        for job in _records(ctx, wanted):
            found[job.job_id] = job
    if not found and not known and len(query.jobs) == 1:
        return [], "slurm_load_jobs error: Invalid job id specified"
    return [found[job_id] for job_id in sorted(found)], None


def _of_the_living(query: SqueueQuery) -> bool:
    """Whether no job that is over can be meant."""
    return query.states is None or not {"all", *(state.name for state in JobState if state.finished)} & {*query.states}


def _records(ctx: Context, wanted: JobId) -> list[Job]:
    book = ctx.queue.book
    if wanted.job_id in book.members and wanted.job_id in (
            job.array_job_id for job in book.array(wanted.job_id)):
        members = list(book.array(wanted.job_id))
        task = wanted.task
        if task is None or task == "*":
            return members
        if not isinstance(task, int):
            return []
        return [job if job.array_task_id is not None else replace(job, array_task_id=task, pending_tasks=())
                for job in members
                if (job.array_task_id == task if job.array_task_id is not None
                    else any(task in part for part in job.pending_tasks))]
    job = book.jobs.get(wanted.job_id)
    if job is None:
        return []
    parts = book.components(job) if job.het_job_id == job.job_id else [job]
    return parts if wanted.het_offset is None else parts[wanted.het_offset:wanted.het_offset + 1]


def _tests(ctx: Context, query: SqueueQuery) -> list[Callable[[Job], bool]]:
    """All conditions of the query."""
    tests: list[Callable[[Job], bool]] = []
    states = query.states
    if states != ("all",):
        wanted = frozenset(states or _DEFAULT_STATES)
        bases = [state for state in JobState if state.name in wanted]
        # A base state that is asked for means jobs without a flag over it (opts.c, _filter_job).
        flagged = wanted if states is None else wanted - {state.name for state in JobState}
        tests.append(lambda job: job.state in bases if job.flags is JobFlag.NONE
                     else not flagged.isdisjoint(words(job)))
    caller = submit_uid(ctx)
    if query.me:
        tests.append(lambda job: job.uid == caller)
    if query.users:
        uids = set()
        for name in query.users:
            uid = find_user(name)
            if uid is None:
                ctx.error(f"Invalid user: {name}\n")
            else:
                uids.add(uid)
        tests.append(lambda job: (job.uid in uids) != query.notme)
    elif query.notme:
        tests.append(lambda job: job.uid != caller)
    tests += one_of(query.accounts, lambda job: job.account)
    tests += one_of(query.names, lambda job: job.name)
    tests += one_of(query.qos, lambda job: job.qos)
    tests += in_partition(query.partitions)
    if query.reservation:
        tests.append(lambda job: job.spec.reservation in query.reservation)
    if query.licenses:
        tests.append(lambda job: any(item.split(":")[0].split("@")[0] in query.licenses
                                     for item in (job.spec.licenses or "").split(",")))
    if query.nodelist is not None:
        try:
            nodes = frozenset(hostlist.expand(query.nodelist))
        except LanguageError:
            nodes = frozenset()
        tests.append(lambda job: bool(nodes & set(job.nodes)))
    now = ctx.queue.clock()
    if query.running_over is not None:
        tests.append(lambda job: job.state.active and now - job.start_time > (query.running_over or 0))
    if query.running_under is not None:
        tests.append(lambda job: job.state.active and now - job.start_time < (query.running_under or 0))
    return tests


def words(job: Job) -> set[str]:
    """State words a job answers to: its base state and its flags."""
    if not job.flags:
        return {job.state.name}
    found = {flag.name for flag in JobFlag if flag and flag in job.flags and flag.name}
    return found | {job.state.name}


def submit_uid(ctx: Context) -> int:
    """The caller's uid: the controller serves one user."""
    import os

    return os.geteuid()
