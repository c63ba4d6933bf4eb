"""Allocations of salloc and srun: request, wait, release."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ...agent.process import resource_limits
from ...controller.command_context import CallerGone, CommandContext
from ...controller.jobs import transitions
from ...controller.jobs.job_spool import Payload
from ...controller.slurm_errors import Errno, SlurmError
from ...language import hostlist
from ...model.job import Job
from ...model.spec import JobSpec
from ...model.states import JobFlag, JobState
from ...protocol import wire
from .._start_notice import forecast
from ..sbatch import job_environment
from .caller_settings import submitter
from .progress import phase, show_progress
from .resumed_request import requested_before, resume_later

#: messages when a signal cancels the request (salloc.c; srun's allocate.c, _job_complete_handler)
_CANCEL_MESSAGES = {
    "salloc": ("Job allocation {} has been revoked.", "Job aborted due to signal"),
    "srun": ("Job allocation {} has been revoked", "Force Terminated JobId={}"),
}
RETURN_S = 300.0  # seconds that a command waits for files of released nodes


class Revoked(Exception):
    """Error: the allocation ended before it was granted. ``code`` is the command's exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@contextmanager
def notified(ctx: CommandContext, job: Job) -> Iterator[None]:
    """Context manager: scontrol notify prints on the caller's stderr."""
    ctx.controller.notices[job.job_id] = ctx.info
    try:
        yield
    finally:
        ctx.controller.notices.pop(job.job_id, None)


async def allocate(ctx: CommandContext, specs: Sequence[JobSpec], quiet: bool, immediate_s: int | None) -> Job:
    """Request nodes, and wait until they are ready. Prints Slurm's messages. Raises SlurmError, CallerGone, Revoked."""
    controller = ctx.controller
    known = requested_before(ctx)
    if known is not None:
        job, quiet_start = known, True  # the former controller has printed the first messages
    else:
        job, quiet_start = _submit(ctx, specs, immediate_s), quiet
    controller.schedule_now()
    if not quiet_start:
        forecast(ctx, job)
    if job.state is not JobState.PENDING and (job.het_job_id or known is not None) and not quiet:
        if known is None:
            _announce(ctx, job)  # slurmctld starts het jobs by backfill only, so they always wait at first
        ctx.info(f"job {job.job_id} has been allocated resources")
    if job.state is JobState.PENDING:
        why = wait_error(job)
        if immediate_s is not None and immediate_s <= 1:
            controller.life.cancel(job, job.uid)
            if job.priority == 0 or (why is None and job.reason in ("BeginTime", "Dependency")):
                raise SlurmError(Errno.DEPENDENCY)
            raise SlurmError(why or Errno.IMMEDIATE)
        ctx.handle_signals()  # the user may interrupt from here on
        if not quiet_start:
            if why is not None:
                ctx.info(why.text)
            _announce(ctx, job)
        resume_later(ctx, job)
        with _delays_printed(ctx, job, quiet):
            await _wait_until(ctx, job, quiet, lambda one: one.state is not JobState.PENDING, immediate_s)
        ctx.resume_with("")
        if not quiet:
            ctx.info(f"job {job.job_id} has been allocated resources")
    await _until_ready(ctx, job, quiet)
    return job


async def _until_ready(ctx: CommandContext, job: Job, quiet: bool) -> None:
    """Wait until the nodes of a started job have booted."""
    controller = ctx.controller
    booting = JobFlag.CONFIGURING in job.flags
    if not booting:
        await _wait_until(ctx, job, quiet, lambda one: one.state is not JobState.PENDING and controller.ready(one))
    if ctx.command == "salloc" and not quiet:
        ctx.info(f"Granted job allocation {job.job_id}")
    if booting:
        # as salloc does for nodes that slurmctld boots (salloc.c, _wait_nodes_ready)
        shown = ctx.command == "salloc" and not quiet
        if shown:
            ctx.info("Waiting for resource configuration")
        await _wait_until(ctx, job, quiet, lambda one: one.state is JobState.RUNNING and controller.ready(one))
        if shown:
            ctx.info(f"Nodes {hostlist.compress(job.nodes)} are ready for job")


def _submit(ctx: CommandContext, specs: Sequence[JobSpec], immediate_s: int | None) -> Job:
    """Submit the request for nodes. Raises SlurmError."""
    controller = ctx.controller
    limits = resource_limits.of_process(ctx.request.pid)
    payload = Payload(None, "", (), job_environment(ctx, "ALL"), ctx.request.umask, limits)
    try:
        job = controller.submit(specs, payload, submitter(ctx), interactive=True)
    except SlurmError as error:
        if immediate_s is not None and immediate_s <= 1 and error.errno is Errno.NODE_CONFIG_UNAVAILABLE:
            # With --immediate Slurm reports the partition's current state, not that the request is impossible.
            raise SlurmError(Errno.PART_CONFIG_UNAVAILABLE) from error
        raise
    job.alloc_pid = ctx.request.pid
    controller.job_table.touch(job)
    return job


def _announce(ctx: CommandContext, job: Job) -> None:
    if ctx.command == "salloc":
        ctx.info(f"Pending job allocation {job.job_id}")
    ctx.info(f"job {job.job_id} queued and waiting for resources")


def wait_error(job: Job) -> Errno | None:
    """Error for a job that waits for other reasons than priority; None if the job waits for its priority only."""
    if job.reason.startswith("Partition"):
        return Errno.PART_CONFIG_UNAVAILABLE
    return Errno.HELD if job.priority == 0 else None


@contextmanager
def _delays_printed(ctx: CommandContext, job: Job, quiet: bool) -> Iterator[None]:
    """Context manager: print why the engine delays the request."""

    async def follow() -> None:
        shown = ""

        def news(one: Job) -> bool:
            return one.state.finished or waits(one) not in ("", shown)

        while not job.state.finished:
            if waits(job) not in ("", shown):
                shown = waits(job)
                ctx.info(shown)
            await ctx.controller.life.wait(job, news)

    def waits(one: Job) -> str:
        return one.system_comment if one.reason == "ReqNodeNotAvail" and one.awaits_nodes else ""

    task = None if quiet else asyncio.ensure_future(follow())
    try:
        yield
    finally:
        if task is not None:
            task.cancel()


async def _wait_until(
    ctx: CommandContext, job: Job, quiet: bool, reached: Callable[[Job], bool], immediate_s: int | None = None
) -> None:
    """Wait until ``reached`` is true or the job has ended. A signal or the caller's death aborts the request."""
    controller = ctx.controller
    begun = asyncio.ensure_future(controller.life.wait(job, lambda one: one.state.finished or reached(one)))
    await asyncio.sleep(0)
    if not begun.done():
        ctx.handle_signals()
    loop = asyncio.get_running_loop()
    deadline = None if immediate_s is None else loop.time() + immediate_s
    while not begun.done():
        frame = asyncio.ensure_future(ctx.frame())
        left = None if deadline is None else max(0.0, deadline - loop.time())
        with show_progress(ctx, lambda: phase(job)):
            done, _ = await asyncio.wait({begun, frame}, return_when=asyncio.FIRST_COMPLETED, timeout=left)
        if not done:
            frame.cancel()
            controller.life.cancel(job, job.uid)
            raise SlurmError(Errno.TIMED_OUT if ctx.command == "salloc" else Errno.NODES_BUSY)
        if begun in done:
            ctx.give_back(frame)
            break
        try:
            got = frame.result()
        except CallerGone:
            if not job.state.finished:
                controller.life.cancel(job, job.uid)
            raise
        if got.kind == wire.SIGNAL:
            for line in () if quiet else _CANCEL_MESSAGES[ctx.command]:
                ctx.info(line.format(job.job_id))
            controller.life.cancel(job, job.uid)
            raise Revoked(1)
    if job.state.finished:
        lost = job.state in (JobState.NODE_FAIL, JobState.FAILED)
        if job.system_comment and (lost or not controller.engine.places_in(job.partition)):
            ctx.error(f"Job allocation {job.job_id} failed: {job.system_comment}")
        raise Revoked(1)


async def await_returned_files(ctx: CommandContext, job: Job) -> None:
    """Wait until the nodes have returned the job's files.

    Nodes on this machine need none of this. A signal ends the wait.
    """
    if ctx.controller.engine.of_job(job).this_machine:
        return
    finished = asyncio.ensure_future(ctx.controller.life.wait(job, lambda one: JobFlag.COMPLETING not in one.flags))
    try:
        deadline = asyncio.get_running_loop().time() + RETURN_S
        while not finished.done():
            frame = asyncio.ensure_future(ctx.frame())
            left = deadline - asyncio.get_running_loop().time()
            with show_progress(ctx, lambda: f"job {job.job_id}: bringing files back"):
                done, _ = await asyncio.wait(
                    {finished, frame}, return_when=asyncio.FIRST_COMPLETED, timeout=max(left, 0.0)
                )
            if frame not in done:
                ctx.give_back(frame)
                return
            if frame.result().kind == wire.SIGNAL:
                return
    finally:
        finished.cancel()


def release_allocation(
    ctx: CommandContext, job: Job, state: JobState = JobState.COMPLETED, exit_code: int = 0, exit_signal: int = 0
) -> None:
    """End the allocation if it is still active."""
    if job.state.active:
        transitions.note_exit_code(job, exit_code, exit_signal)
        ctx.controller.life.terminate(job, state)
