"""sbcast outside the job (--jobid). Source: src/sbcast/sbcast.c."""

from __future__ import annotations

from ..controller.command_context import CommandContext
from ..options.query import parse_sbcast
from .common.agent_request import hand_over, lookup_error
from .common.caller_settings import read_context
from .common.command_errors import streaming


@streaming
async def main(ctx: CommandContext) -> int:
    """Copy a file to the nodes of a job."""
    query = parse_sbcast(ctx.args, read_context(ctx))
    for line in query.warnings:
        ctx.err(line)
    assert query.jobid is not None
    code = await hand_over(ctx, query.jobid)
    if code is None:
        ctx.error(f"Slurm job {query.jobid} lookup error: {lookup_error(ctx.controller.find_job(query.jobid)).text}")
        return 255
    return code
