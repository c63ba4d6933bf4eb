"""Records of waiting jobs with their expected starts, as squeue and scontrol show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...controller.command_context import CommandContext
from ...controller.schedule.forecast import expected_starts, waits_for_resources
from ...model.job import Job


def with_expected_starts(ctx: CommandContext, jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs; those that wait for resources as copies with their expected start and nodes.

    The job itself has what the scheduling pass has planned, which is of the first blocked job of a partition only.
    """
    if all(job.start_time or not waits_for_resources(job) for job in jobs):
        return list(jobs)
    starts = expected_starts(ctx.controller.scheduler, ctx.controller.clock())
    return [
        replace(job, start_time=starts[job.job_id][0], planned_nodes=starts[job.job_id][1])
        if job.job_id in starts and not job.start_time
        else job
        for job in jobs
    ]
