"""sattach outside the job. Source: src/sattach/sattach.c."""
from __future__ import annotations

from ..controller.context import Context
from ..options.query import parse_sattach
from ._agent import hand_over
from ._command import error_exit, streaming
from ._surroundings import surroundings


@streaming
async def main(ctx: Context) -> int:
    """Connect to a running step."""
    query = parse_sattach(ctx.args, surroundings(ctx))
    code = None if query.step is None else await hand_over(ctx, query.step)
    if code is None:
        ctx.error("Could not get job step info: Invalid job id specified")
        return error_exit(ctx)
    return code
