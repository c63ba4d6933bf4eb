"""scancel: signals, or ends, jobs and steps. Source: src/scancel/scancel.c."""

from __future__ import annotations

import os
import signal

from ..controller.context import Context
from ..controller.errors import Errno, SlurmError
from ..engines.sky.foreign import NAME as FOREIGN
from ..language import hostlist
from ..model.job import Job
from ..model.states import JobState
from ..options.query import JobId, ScancelQuery, parse_scancel
from . import _targets
from ._command import error_exit, streaming
from ._report import known_cluster
from ._surroundings import find_user, surroundings


@streaming
async def main(ctx: Context) -> int:
    """Cancel what ids and filters choose."""
    query = parse_scancel(ctx.args, surroundings(ctx))
    for line in query.warnings:
        ctx.err(line)
    if not known_cluster(ctx, query.clusters):
        return 1
    if query.user is not None and find_user(query.user) is None:
        ctx.error(f"Invalid user name: {query.user}")
        return 1
    code = 0
    targets: list[tuple[JobId | None, Job]] = []
    if query.jobs:
        for wanted in query.jobs:
            code = max(code, await _one_id(ctx, query, wanted, targets))
    else:
        targets = [(None, job) for job in _by_filter(ctx, query)]
        if not targets and query.verbose:
            ctx.error("No active jobs match ALL job filters, including: " + _filters(query))
    seen: set[tuple[int, object]] = set()
    for wanted_id, job in targets:
        key = (job.job_id, wanted_id.step if wanted_id else None)
        if key in seen or (query.interactive and not await _confirmed(ctx, job, wanted_id)):
            continue
        seen.add(key)
        code = max(code, _act(ctx, query, job, wanted_id))
    return code


def _filters(query: ScancelQuery) -> str:
    """The filters that were given, as scancel lists them."""
    named = (("account", query.account), ("job_name", query.name), ("nodelist", query.nodelist),
             ("partition", query.partition), ("qos", query.qos), ("reservation", query.reservation),
             ("state", query.state), ("user_name", query.user), ("wckey", query.wckey))
    return "".join(f"{name}={value} " for name, value in named if value is not None)


async def _one_id(
    ctx: Context, query: ScancelQuery, wanted: JobId, targets: list[tuple[JobId | None, Job]]
) -> int:
    """Resolve one id; unknown ones are silent unless a filter, a signal or -i asks to look at them."""
    try:
        found = _targets.records(ctx.queue, wanted, split=True)
    except SlurmError as error:
        if wanted.step is not None:
            ctx.error(f"Kill job error on job step id {wanted}: {error.text}")
            return 1
        if query.filtered or query.interactive or query.signal is not None:
            if not query.quiet:
                ctx.error(f"Kill job error on job id {wanted}: {error.text}")
            return 1
        if query.verbose:
            ctx.say(f"Terminating job {wanted}")
            ctx.error(f"Kill job error on job id {wanted}: {error.text}")
        return 0
    if wanted.step is not None:
        found = [job for job in found if str(wanted.step) in job.steps][:1] or found[:1]
    elif query.signal is not None:
        found = _targets.heads(found)
    targets += [(wanted, job) for job in found if _passes(ctx, query, job)]
    return 0


def _by_filter(ctx: Context, query: ScancelQuery) -> list[Job]:
    book = ctx.queue.book
    found = [
        job
        for job in sorted(book.jobs.values(), key=lambda job: job.job_id)
        if not job.state.finished and _passes(ctx, query, job)
        # What sbatch did not launch is ended by its id or its name alone: "scancel -u me" in a script written for
        # Slurm does not mean somebody's service on SkyPilot.
        and (job.engine != FOREIGN or query.name is not None)
    ]
    return found if query.signal is None else _targets.heads(found)


def _passes(ctx: Context, query: ScancelQuery, job: Job) -> bool:
    """Whether the job meets every filter."""
    if query.state is not None:
        state = query.state
        if job.state.name != state and not (state == "COMPLETING" and job.flags):
            return False
    checks = (
        (query.account, job.account),
        (query.name, job.name),
        (query.qos, job.qos),
        (query.reservation, job.spec.reservation),
        (query.wckey, job.spec.wckey),
    )
    if any(wanted is not None and wanted != value for wanted, value in checks):
        return False
    if query.partition is not None and query.partition not in job.partition.split(","):
        return False
    if query.user is not None and find_user(query.user) != job.uid:
        return False
    if query.me and job.uid != os.geteuid():
        return False
    return query.nodelist is None or bool(set(hostlist.expand(query.nodelist)) & set(job.nodes))


async def _confirmed(ctx: Context, job: Job, wanted: JobId | None) -> bool:
    """-i: ask; only y or yes is one."""
    if wanted is not None and wanted.step is not None:
        ctx.out(f"Cancel step_id={wanted} name={job.name} partition={job.partition} [y/n]? ")
    else:
        shown = str(wanted) if wanted is not None else str(job.job_id)
        ctx.out(f"Cancel job_id={shown} name={job.name} partition={job.partition} [y/n]? ")
    line = await ctx.read_line()
    return line.strip().lower() in ("y", "yes")


def _act(ctx: Context, query: ScancelQuery, job: Job, wanted: JobId | None) -> int:
    life = ctx.queue.life
    step = wanted.step if wanted is not None else None
    shown = str(wanted) if wanted is not None else str(job.job_id)
    if query.verbose:
        number = query.signal
        what = "Terminating" if number is None or number == signal.SIGKILL else f"Signal {number} to"
        ctx.say(f"{what} {'step' if step is not None else 'job'} {shown}")
    try:
        if step is not None:
            if job.state.finished or str(step) not in job.steps or job.steps[str(step)].state.finished:
                raise SlurmError(Errno.ALREADY_DONE if job.steps.get(str(step)) else Errno.INVALID_STEP)
            life.signal(job, query.signal or signal.SIGKILL, str(step))
        elif query.signal is not None and not (
            query.signal == signal.SIGKILL and not query.batch and not query.full
        ):
            if job.state is JobState.PENDING and query.signal != signal.SIGKILL:
                raise SlurmError(Errno.JOB_PENDING)
            life.signal(job, query.signal, "full" if query.full else "batch" if query.batch else "steps")
        elif query.batch:
            life.signal(job, signal.SIGTERM, "batch")
        else:
            if query.admin_comment:
                job.admin_comment = query.admin_comment
            life.cancel(job, os.geteuid())
    except SlurmError as error:
        finished = error.errno in (Errno.ALREADY_DONE,)
        if finished and not query.verbose:
            return 0
        for detail in error.details:
            ctx.error(detail)
        if step is not None:
            ctx.error(f"Kill job error on job step id {shown}: {error.text}")
        else:
            ctx.error(f"Kill job error on job id {shown}: {error.text}")
        return 0 if finished else error_exit(ctx)
    return 0
