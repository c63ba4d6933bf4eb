"""An allocation for salloc, or for srun outside a job: asked for, waited for, and let go."""
from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ..controller.context import CallerGone, Context
from ..controller.errors import Errno, SlurmError
from ..controller.submit import Payload, partitions_of
from ..model.job import Job
from ..model.spec import JobSpec
from ..model.states import JobState
from ..node import limits, wire
from ._surroundings import submitter
from .sbatch import job_environment


class Revoked(Exception):
    """The allocation ended before it was granted; ``code`` is the command's exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


async def allocate(ctx: Context, specs: Sequence[JobSpec], quiet: bool, immediate_s: int | None) -> Job:
    """Ask for nodes and wait until they are there, saying so as Slurm does.

    Raises SlurmError, CallerGone, Revoked.
    """
    queue = ctx.queue
    payload = Payload(None, "", (), job_environment(ctx, "ALL"), ctx.request.umask, limits.of_process(ctx.request.pid))
    for part in partitions_of(queue.book.cluster, specs[0]):
        if not queue.engine.places_in(part.name):
            hint = f"{ctx.command} holds nodes of this machine only so far; SkyPilot runs batch jobs (sbatch)"
            raise SlurmError(Errno.NOT_SUPPORTED, f"partition {part.name} is on SkyPilot: {hint}")
    try:
        job = queue.submit(specs, payload, submitter(ctx), interactive=True)
    except SlurmError as error:
        if immediate_s is not None and error.errno is Errno.NODE_CONFIG_UNAVAILABLE:
            # Who wants nodes at once is told of the partition as it is now, not of what could never be.
            raise SlurmError(Errno.PART_CONFIG_UNAVAILABLE) from error
        raise
    job.alloc_pid = ctx.request.pid
    queue.book.touch(job)
    queue.schedule_now()
    if job.state is JobState.PENDING:
        why = waits_for(job)
        if immediate_s is not None and immediate_s <= 1:
            queue.life.cancel(job, job.uid)
            if job.priority == 0 or (why is None and job.reason in ("BeginTime", "Dependency")):
                raise SlurmError(Errno.DEPENDENCY)
            raise SlurmError(why or Errno.IMMEDIATE)
        if not quiet:
            if why is not None:
                ctx.say(why.text)
            if ctx.command == "salloc":
                ctx.say(f"Pending job allocation {job.job_id}")
            ctx.say(f"job {job.job_id} queued and waiting for resources")
        ctx.handle_signals()
        await _granted(ctx, job, immediate_s)
        if not quiet:
            ctx.say(f"job {job.job_id} has been allocated resources")
    await queue.life.wait(job, lambda one: one.state is not JobState.PENDING and queue.ready(one))
    if job.state.finished:
        raise Revoked(1)
    return job


def waits_for(job: Job) -> Errno | None:
    """What slurmctld says of a request that must wait for more than its turn."""
    if job.reason.startswith("Partition"):
        return Errno.PART_CONFIG_UNAVAILABLE
    return Errno.HELD if job.priority == 0 else None


async def _granted(ctx: Context, job: Job, immediate_s: int | None) -> None:
    """Wait for the nodes; a signal or the caller's death gives the request up."""
    queue = ctx.queue
    begun = asyncio.ensure_future(queue.life.wait(job, lambda one: one.state is not JobState.PENDING))
    loop = asyncio.get_running_loop()
    deadline = None if immediate_s is None else loop.time() + immediate_s
    while not begun.done():
        frame = asyncio.ensure_future(ctx.frame())
        left = None if deadline is None else max(0.0, deadline - loop.time())
        done, _ = await asyncio.wait({begun, frame}, return_when=asyncio.FIRST_COMPLETED, timeout=left)
        if not done:
            frame.cancel()
            queue.life.cancel(job, job.uid)
            raise SlurmError(Errno.IMMEDIATE)
        if begun in done:
            ctx.give_back(frame)
            break
        try:
            got = frame.result()
        except CallerGone:
            if not job.state.finished:
                queue.life.cancel(job, job.uid)
            raise
        if got.kind == wire.SIGNAL:
            if ctx.command == "salloc":
                ctx.say(f"Job allocation {job.job_id} has been revoked.")
            else:
                ctx.say("Force Terminated JobId=%d" % job.job_id)
            queue.life.cancel(job, job.uid)
            raise Revoked(1)
    if job.state.finished:
        raise Revoked(1)


def let_go(ctx: Context, job: Job, state: JobState = JobState.COMPLETED, exit_code: int = 0) -> None:
    """End the allocation, if it is still there."""
    if job.state.active:
        job.exit_code = exit_code
        ctx.queue.life.terminate(job, state)
