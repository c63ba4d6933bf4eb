"""sacct: accounting of jobs, from the store.

Source: src/sacct/sacct.c, options.c, process.c.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from ..controller.command_context import CommandContext
from ..controller.jobs.launch_builder import spool_id
from ..model.job import Job
from ..model.states import JobState
from ..options import help as helps
from ..options.query import JobId, SacctQuery, in_order, parse_sacct
from ..report.fields.field_tables import table as field_table
from ..report.text.print_fields import InvalidField
from .accounting import cached_rows as past
from .accounting import run_selection as accounted
from .common import verbosity
from .common.caller_settings import find_group, find_user, read_context
from .common.command_errors import streaming
from .common.data_output import check_style, send
from .common.report_settings import caller_zone, report
from .common.site_options import table

#: jobs read in one batch
_BATCH_SIZE = 500


@streaming
async def main(ctx: CommandContext) -> int:
    """Select the jobs and print them."""
    query = parse_sacct(ctx.args, read_context(ctx), table(ctx, "sacct"))
    check_style(ctx, query.json, query.yaml)
    check_window(ctx, query)
    for line in query.warnings:
        ctx.err(line)
    if query.helpformat or query.helpstate or query.helpreason:
        if query.helpreason:
            names = [row["printed_name"] for row in field_table("job_reasons") if row["printed_name"]]
        elif query.helpstate:
            names = [state.name for state in JobState]
        else:
            names = [row["name"] for row in field_table("sacct_fields")]
        ctx.out(helps.in_columns(list(dict.fromkeys(names))))
        return 0
    if query.verbose:
        clock = report(ctx, query).clock
        start, end = (clock.date_line(moment) for moment in accounted.window(query, ctx.controller.clock()))
        ctx.info(f"Jobs Eligible in the time window from {start} to {end}")
        verbosity.debug(ctx, query.verbose)
    problem = unknown(ctx, query)
    if problem:
        for line in problem:
            ctx.err(line)
        return 1
    if query.batch_script or query.env_vars:
        return _print_submitted(ctx, query, select(ctx, query))
    if query.json is not None or query.yaml is not None:
        await send(ctx, query.json, query.yaml, lambda form, about: _document(ctx, query, form, about))
        return 0  # sacct ignores the result of this request
    try:
        form = past.form(ctx, query)
    except InvalidField as error:
        ctx.error(str(error))
        return 1
    if query.jobs:
        jobs = list(select(ctx, query, with_steps=form.with_steps))
        await ctx.out_lines(form.lines(jobs, _only_steps(query, jobs), header=True))
        return 0
    ctx.out("".join(form.lines([], header=True)))
    await ctx.out_lines(past.lines(ctx, query, form))
    return 0


def check_window(ctx: CommandContext, query: SacctQuery) -> None:
    """Raise CommandError if the queried time window ends before it begins."""
    start, end = accounted.window(query, ctx.controller.clock())
    if not (query.helpformat or query.helpstate or query.helpreason):
        in_order(start, end, caller_zone(ctx))


def _document(ctx: CommandContext, query: SacctQuery, form: Any, about: Any) -> Any:
    """Build the JSON answer; for a time window it streams cached records."""
    document = form.accounting_document(
        select(ctx, query), about, ctx.controller.clock(), ctx.controller.job_table.cluster
    )
    if not query.jobs:
        document.written = past.documents(ctx, query)
    return document


def unknown(ctx: CommandContext, query: SacctQuery) -> tuple[str, ...]:
    """Slurm's error lines for a filter that names an unknown entity."""
    for kind, names, find in (("user", query.users, find_user), ("group", query.groups, find_group)):
        for name in names:
            if find(name) is None:
                return (f"sacct: error: Invalid {kind} id: {name}",)
    if query.qos:
        known = {"normal", *ctx.controller.job_table.policy.qos, *ctx.controller.store.column_values("qos")}
        for name in query.qos:
            if name not in known:
                return (
                    f"sacct: error: You gave a bad qos '{name}'. Valid QOS's are {','.join(sorted(known))}",
                    "sacct: fatal: problem processing qos list",
                )
    if query.file is not None and not os.path.isfile(os.path.join(ctx.cwd, query.file)):
        return (f"{query.file} is not a valid file",)
    # Neither a job completion file nor a table of the store exists.
    return ("Slurm job completion is disabled",) if query.completion or query.file is not None else ()


def select(ctx: CommandContext, query: SacctQuery, held: bool = False, with_steps: bool = True) -> Iterator[Job]:
    """The jobs that the query selects, with their requested steps.

    ``held``: include jobs that were never eligible in the time window. ``with_steps`` False: the caller reads no steps.
    """
    controller = ctx.controller
    controller.flush()
    now = controller.clock()
    if not accounted.selects_cluster(ctx, query):
        return
    if query.jobs:
        found: Iterable[Job] = controller.store.history(
            0, now, {one.job_id for one in query.jobs}, query.duplicates, with_steps
        )
        found = _het_components(ctx, query, found)
    else:
        start, end = accounted.window(query, now)
        runs = sorted(
            controller.store.runs(start, end, query.duplicates, accounted.sql_conditions(query, start, end, held))
        )
        parts = (runs[first : first + _BATCH_SIZE] for first in range(0, len(runs), _BATCH_SIZE))
        found = chain.from_iterable(accounted.load_jobs(ctx, part, with_steps) for part in parts)
    passes = accounted.test(query, now, held)
    for job in found:
        accounted.take_live_steps(ctx, job)
        if query.jobs:
            wanted = [one for one in query.jobs if _selects(one, job, query.whole_hetjob)]
            if not wanted:
                continue
            if not query.allocations and all(one.step is not None for one in wanted):
                steps = {str(one.step) for one in wanted}
                job.steps = {name: step for name, step in job.steps.items() if name in steps}
        if passes(job):
            yield accounted.truncated(job, query, now) if query.truncate else job


def _only_steps(query: SacctQuery, jobs: Iterable[Job]) -> frozenset[int]:
    """Ids of jobs for which the query names steps only."""
    return frozenset(
        job.job_id
        for job in jobs
        if query.jobs
        and not query.allocations
        and all(one.step is not None for one in query.jobs if _selects(one, job, query.whole_hetjob))
    )


def _het_components(ctx: CommandContext, query: SacctQuery, found: Iterable[Job]) -> Iterator[Job]:
    """Add the components of het jobs.

    They are added for a leader's id, and with --whole-hetjob for any component's id.
    """
    seen: set[tuple[int, int]] = set()
    more: set[int] = set()
    offsets = any(one.het_offset is not None for one in query.jobs)
    for job in found:
        seen.add((job.job_id, job.restarts))
        leads = job.het_job_id == job.job_id
        if offsets or (leads if query.whole_hetjob is None else query.whole_hetjob):
            more.update(job.het_ids)
        yield job
    if more:
        for job in ctx.controller.store.history(0, ctx.controller.clock(), more, query.duplicates):
            if (job.job_id, job.restarts) not in seen:
                yield job


def _selects(wanted: JobId, job: Job, whole: bool | None = None) -> bool:
    """Return whether an id of -j selects this record. ``whole`` is the value of --whole-hetjob."""
    if whole and job.het_job_id:
        return wanted.job_id in (job.het_job_id, *job.het_ids)
    if whole is False and job.het_job_id and wanted.het_offset is None:
        return wanted.job_id == job.job_id
    if wanted.het_offset is not None:
        return job.het_job_id == wanted.job_id and job.het_offset == wanted.het_offset
    if isinstance(wanted.task, int):
        # slurmdbd has a record of an array element only once the element has started.
        return job.array_job_id == wanted.job_id and job.array_task_id == wanted.task
    return wanted.job_id in (job.job_id, job.array_job_id, job.het_job_id)


def _print_submitted(ctx: CommandContext, query: SacctQuery, jobs: Iterable[Job]) -> int:
    """Print the submitted script or environment (--batch-script, --env-vars)."""
    controller = ctx.controller
    for job in jobs:
        folder = controller.paths.jobs / str(spool_id(job))
        what = "Batch Script" if query.batch_script else "Environment used"
        ctx.out(f"{what} for {job.job_id}\n" + "-" * 80 + "\n")
        try:
            if query.batch_script:
                ctx.out_bytes((folder / "slurm_script").read_bytes() + b"\n")
            else:
                ctx.out_bytes((folder / "environment").read_bytes().replace(b"\0", b"\n") + b"\n")
        except OSError:
            ctx.out("NONE\n")
    return 0
