"""sattach, sbcast and sstat outside the job: the agent of the job's first node serves the request."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ... import paths
from ...controller.command_context import CommandContext
from ...options.query import JobId
from ...protocol import wire


async def hand_over(ctx: CommandContext, wanted: JobId, env: Mapping[str, str] = MappingProxyType({})) -> int | None:
    """Connect the caller to the job's agent; return its exit code, or None when no agent has the job.

    ``env``: additional variables for the agent.
    """
    queue = ctx.queue
    job = queue.find_job(wanted)
    if job is not None:
        job = queue.life.leader(job)  # agents run a het job under its leader's id
    address = queue.engine.agent_address(job.job_id) if job is not None and job.state.active else None
    if job is None or address is None:
        return None
    # The agent knows jobs by single ids, not by array or het notation.
    ctx.redirect(address, {paths.JOB_ID: str(job.job_id), **env})
    while True:
        frame = await ctx.frame()
        if frame.kind == wire.SESSION_EXIT:
            code = int(frame.payload)
            return code if code >= 0 else 1
