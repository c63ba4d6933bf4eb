"""sbcast outside the job (--jobid). Source: src/sbcast/sbcast.c."""
from __future__ import annotations

from ..controller.context import Context
from ..options.query import parse_sbcast
from ._agent import hand_over
from ._command import streaming
from ._surroundings import surroundings


@streaming
async def main(ctx: Context) -> int:
    """Copy a file to the nodes of a job."""
    query = parse_sbcast(ctx.args, surroundings(ctx))
    for line in query.warnings:
        ctx.err(line)
    assert query.jobid is not None
    code = await hand_over(ctx, query.jobid)
    if code is None:
        ctx.error(f"Slurm job {query.jobid} lookup error: Invalid job id specified")
        return 255
    return code
