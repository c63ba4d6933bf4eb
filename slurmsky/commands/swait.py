"""swait: waits for jobs and returns their highest exit code.

``sbatch --wait`` returns the same. Slurm has no such command, but many sites do. It prints errors only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..controller.command_context import CommandContext
from ..language.jobids import JobId
from ..model.job import Job
from ..options import help as helps
from ..options.family import parse
from ..options.ids import step_or_job
from ..options.table import load
from ..options.usage_errors import CommandError
from .common.caller_settings import read_context
from .common.command_errors import streaming
from .sbatch import end_code, wait_for_end

#: exit code after the timeout, as for timeout(1)
TIMED_OUT = 124


@streaming
async def main(ctx: CommandContext) -> int:
    """Wait for all named jobs."""
    request = parse("swait", ctx.args, read_context(ctx))
    wanted = step_or_job("swait", ",".join(request.words))
    if not wanted:
        raise CommandError(("swait: error: No job identification provided",), 1, helps.usage_text(load("swait")))
    say = (lambda text: None) if request.get("quiet") else ctx.error
    waiting = asyncio.ensure_future(_all(ctx, wanted, say))
    limit = request.get("timeout")
    done, _ = await asyncio.wait({waiting, ctx.gone}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
    if waiting in done:
        return waiting.result()
    waiting.cancel()
    if not done:
        say(f"jobs have not ended after {limit} seconds")
    return TIMED_OUT


async def _all(ctx: CommandContext, wanted: tuple[JobId, ...], say: Callable[[str], None]) -> int:
    code = 0
    for one in wanted:
        found = await _ended(ctx, one)
        if not found:
            say(f"Invalid job id specified: {one.job_id}")
        code = max(code, *(end_code(job) for job in found)) if found else max(code, 1)
    return code


async def _ended(ctx: CommandContext, wanted: JobId) -> list[Job]:
    """Wait until an id's jobs have ended; return their records. Jobs that have left memory come from the store."""
    controller = ctx.controller
    job = controller.find_job(wanted)
    if job is not None and isinstance(wanted.task, int):
        await controller.life.wait(job, lambda one: one.state.finished)
        return [job]
    if job is not None:
        await wait_for_end(ctx, job)
        if not job.array_job_id:
            return [job]
        wanted = JobId(job.array_job_id)
    controller.flush()
    past = controller.store.history(0, controller.clock(), {wanted.job_id})
    return [one for one in past if not isinstance(wanted.task, int) or one.array_task_id == wanted.task]
