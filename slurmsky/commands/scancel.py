"""scancel: signals or cancels jobs and steps.

Source: src/scancel/scancel.c.
"""

from __future__ import annotations

import os
import signal
from dataclasses import replace

from ..controller.command_context import CommandContext
from ..controller.slurm_errors import Errno, SlurmError
from ..engines.foreign import FOREIGN
from ..language import hostlist
from ..language.arrayspec import ArraySpec
from ..model.job import Job
from ..model.states import JobState
from ..options.query import JobId, ScancelQuery, parse_scancel
from ..report.fields.derived import job_id_text
from .common import job_targets
from .common.caller_settings import find_user, read_context
from .common.command_errors import streaming
from .common.report_settings import known_cluster


@streaming
async def main(ctx: CommandContext) -> int:
    """Cancel or signal the jobs that ids and filters select."""
    query = parse_scancel(ctx.args, read_context(ctx))
    for line in query.warnings:
        ctx.err(line)
    if not known_cluster(ctx, query.clusters):
        return 1
    if query.user is not None and find_user(query.user) is None:
        ctx.error(f"Invalid user name: {query.user}")
        return 1
    steps = any(one.step is not None for one in query.jobs)
    if query.filtered or query.interactive or query.batch or steps or query.signal is not None:
        return await _cancel_by_filters(ctx, query) % 256
    code = 0
    for wanted in query.jobs:
        code = max(code, _cancel_directly(ctx, query, wanted))
    return code % 256  # as the exit status of a process whose main returns the number of slurmctld's error


async def _cancel_by_filters(ctx: CommandContext, query: ScancelQuery) -> int:
    """Select jobs by filters and --interactive; cancel pending jobs first.

    Source: scancel.c _verify_job_ids, _filter_job_records, _cancel_jobs.
    """
    job_table = ctx.controller.job_table
    jobs = [job for job in sorted(job_table.jobs.values(), key=lambda job: job.job_id) if not job.state.finished]
    code = 0
    wanted: list[JobId] = []
    for one in _single_ids(query.jobs):
        if any(_is_named(one, job) for job in jobs):
            wanted.append(one)
            continue
        code = 1
        what = "job id" if one.step is None else "job step id"
        if not query.quiet:
            ctx.error(f"Kill job error on {what} {one}: {SlurmError(Errno.INVALID_JOB_ID).text}")
    if query.jobs:
        jobs = [job for job in jobs if any(_is_named(one, job) for one in wanted)]
    if query.filtered:
        jobs = job_targets.without_components([job for job in jobs if _passes(query, job)])
        if not jobs and query.verbose:
            ctx.error("No active jobs match ALL job filters, including: " + _filters(query))
    targets: list[tuple[JobId | None, Job]] = [(None, job) for job in jobs]
    if query.jobs:
        targets = [(one, job) for one in wanted for job in jobs if _is_named(one, job)
                   and (one.step is None or job.state is not JobState.PENDING)]  # fmt: skip
    waiting = {one or job.job_id for one, job in targets if job.state is JobState.PENDING and not job.flags}
    targets.sort(key=lambda target: (target[0] or target[1].job_id) not in waiting)
    skipped_ids: set[JobId] = set()
    for one_id, job in targets:
        if one_id in skipped_ids:
            continue
        if query.interactive and not await _confirmed(ctx, job, one_id):
            if one_id is not None:
                skipped_ids.add(one_id)  # no further prompt for this id
            continue
        code = max(code, _act(ctx, query, _own_record(ctx, job, one_id), one_id))
    return code


def _single_ids(wanted: tuple[JobId, ...]) -> list[JobId]:
    """Split lists of array elements into single ids. The id of a het component becomes its leader's."""
    found = []
    for one in wanted:
        tasks = one.task if isinstance(one.task, ArraySpec) else (one.task,)
        found += [replace(one, task=task, het_offset=None) for task in tasks]
    return found


def _is_named(one: JobId, job: Job) -> bool:
    """Return whether an id selects this record.

    The id may be a job, its array, or an element. Pending elements share one record.
    """
    if one.task is None:
        return one.job_id == job.job_id or (one.job_id == job.array_job_id and one.step is None)
    if one.job_id != job.array_job_id:
        return False
    return one.task in ("*", job.array_task_id) or any(one.task in part for part in job.pending_tasks)


def _own_record(ctx: CommandContext, job: Job, one: JobId | None) -> Job:
    """Split a pending element off the array's record. The request changes that element alone."""
    if one is None or not isinstance(one.task, int) or job.array_task_id is not None:
        return job
    return ctx.controller.life.element(job, one.task, cancels=True) or job


def _filters(query: ScancelQuery) -> str:
    """The given filters, as scancel lists them."""
    named = (
        ("account", query.account),
        ("job_name", query.name),
        ("nodelist", query.nodelist),
        ("partition", query.partition),
        ("qos", query.qos),
        ("reservation", query.reservation),
        ("state", query.state),
        ("user_name", query.user),
        ("wckey", query.wckey),
    )
    return "".join(f"{name}={value} " for name, value in named if value is not None)


def _cancel_directly(ctx: CommandContext, query: ScancelQuery, wanted: JobId) -> int:
    """Cancel the jobs of one id without querying them first. An unknown id is no error, as with slurmctld."""
    try:
        found = job_targets.records(ctx.controller, wanted, split=True, cancels=True)
    except SlurmError as error:
        if query.verbose:
            ctx.info(f"Terminating job {wanted}")
            ctx.error(f"Kill job error on job id {wanted}: {error.text}")
        return 0
    return max(_act(ctx, query, job, wanted) for job in job_targets.without_components(found))


def _passes(query: ScancelQuery, job: Job) -> bool:
    """Return whether the job passes every filter."""
    # Jobs that sbatch did not launch are cancelled by id or name only: "scancel -u me" in a script written for Slurm
    # must not end a service on SkyPilot.
    if job.engine == FOREIGN and query.name is None and not query.jobs:
        return False
    if query.state is not None and job.state.name != query.state:
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
    if query.partition is not None and query.partition != job.partition:
        return False
    if query.user is not None and find_user(query.user) != job.uid:
        return False
    if query.me and job.uid != os.geteuid():
        return False
    return query.nodelist is None or bool(set(hostlist.expand(query.nodelist)) & set(job.nodes))


async def _confirmed(ctx: CommandContext, job: Job, wanted: JobId | None) -> bool:
    """-i: prompt until the answer begins with y or n."""
    element = wanted is not None and isinstance(wanted.task, int)
    shown = f"{job.array_job_id}_{wanted.task}" if wanted is not None and element else _shown(job)
    step = wanted.step if wanted is not None else None
    what = f"job_id={shown}" if step is None else f"step_id={shown}.{step}"
    while True:
        ctx.out(f"Cancel {what} name={job.name} partition={job.partition} [y/n]? ")
        line = await ctx.read_line()
        if not line or line[0] in "yYnN":
            return line[:1] in ("y", "Y")


def _shown(job: Job) -> str:
    """Id of a job, an array element, or an array's pending rest."""
    if job.array_job_id and (job.array_task_id is not None or job.pending_tasks):
        return job_id_text(job, 0)
    return str(job.job_id)


def _act(ctx: CommandContext, query: ScancelQuery, job: Job, wanted: JobId | None) -> int:
    life = ctx.controller.life
    step = wanted.step if wanted is not None else None
    shown = str(wanted) if wanted is not None else _shown(job)
    if query.verbose:
        number = query.signal
        what = "Terminating" if number is None else f"Signal {number} to"
        kind = "step" if step is not None else "batch job" if query.batch else "full job" if query.full else "job"
        ctx.info(f"{what} {kind} {shown}")
    try:
        if step is not None:
            if str(step) not in job.steps or job.steps[str(step)].state.finished:
                raise SlurmError(Errno.INVALID_JOB_ID)
            life.signal(job, query.signal or signal.SIGKILL, str(step))
        elif query.signal is not None and not (query.signal == signal.SIGKILL and not query.batch and not query.full):
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
        ended = error.errno is Errno.ALREADY_DONE
        if (query.verbose or not ended) and not query.quiet:
            for detail in error.details:
                ctx.error(detail)
            what = f"job id {shown}" if step is None else f"job step id {job.job_id}"
            ctx.error(f"Kill job error on {what}: {error.text}")
        return 0 if ended and query.signal in (None, signal.SIGKILL) else error.errno.value[0]
    return 0
