"""sattach outside the job. Source: src/sattach/sattach.c."""

from __future__ import annotations

from ..controller.command_context import CommandContext
from ..options.query import parse_sattach
from .common.agent_request import hand_over, lookup_error
from .common.caller_settings import read_context
from .common.command_errors import error_exit, streaming


@streaming
async def main(ctx: CommandContext) -> int:
    """Connect to a running step."""
    query = parse_sattach(ctx.args, read_context(ctx))
    assert query.step is not None
    code = await hand_over(ctx, query.step)
    if code is None:
        ctx.error(f"Could not get job step info: {lookup_error(ctx.controller.find_job(query.step)).text}")
        return error_exit(ctx)
    return code
