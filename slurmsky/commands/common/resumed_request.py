"""Waiting requests that continue after a restart of the controller."""

from __future__ import annotations

from ... import paths
from ...controller.command_context import CommandContext
from ...model.job import Job


def resume_later(ctx: CommandContext, job: Job) -> None:
    """Let the caller continue with this job after a controller's restart."""
    ctx.resume_with(f"{paths.REQUESTED_JOB}={job.job_id}@{ctx.request.pid}")


def requested_before(ctx: CommandContext) -> Job | None:
    """The job that this caller requested from a former controller."""
    number, _, pid = ctx.env.get(paths.REQUESTED_JOB, "").partition("@")
    ctx.env = {name: value for name, value in ctx.env.items() if name != paths.REQUESTED_JOB}
    job = ctx.controller.job_table.jobs.get(int(number)) if number.isdecimal() else None
    if job is None or job.is_batch != (ctx.command == "sbatch"):
        return None
    return job if (pid or str(job.alloc_pid)) == str(ctx.request.pid) else None
