"""Requests that the agent of a job's first node serves. sattach, sbcast and sstat outside the job use them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from types import MappingProxyType

from ... import paths
from ...controller.command_context import CommandContext
from ...controller.slurm_errors import Errno, SlurmError
from ...model.job import Job
from ...options.query import JobId
from ...protocol import wire

#: an agent that starts for a job's first launch needs about a second
_REACH_S = 10.0


async def agent_socket(ctx: CommandContext, job: Job) -> str | None:
    """Return the agent's socket on a running job's first node.

    None if it cannot be reached. A job is RUNNING from its allocation on, so this function waits until the agent has
    received the job. It waits for a node that the engine reconnects until the job ends or is requeued.
    """
    controller = ctx.controller

    def ready_or_ended(one: Job) -> bool:
        return not one.state.active or controller.ready(one)

    if not ready_or_ended(job) and not controller.engine.out_of_reach(job.job_id):
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(controller.life.wait(job, ready_or_ended), _REACH_S)
        awaited = "" if ready_or_ended(job) else controller.engine.missing_connections(job.job_id)
        if awaited:
            ctx.info(f"{awaited}, retrying")
            await controller.life.wait(job, ready_or_ended)
    return controller.engine.agent_address(job.job_id)


def lookup_error(job: Job | None) -> SlurmError:
    """Error for a job without an allocation to connect to.

    Source: job_mgr.c job_alloc_info.
    """
    if job is None or job.state.active:
        return SlurmError(Errno.INVALID_JOB_ID)
    return SlurmError(Errno.ALREADY_DONE if job.state.finished else Errno.JOB_PENDING)


async def hand_over(ctx: CommandContext, wanted: JobId, env: Mapping[str, str] = MappingProxyType({})) -> int | None:
    """Connect the caller to the job's agent; return its exit code.

    ``env``: additional variables for the agent. None if no agent has the job.
    """
    if paths.SESSION_NODE in ctx.env:
        return await rejoin(ctx)
    controller = ctx.controller
    job = controller.find_job(wanted)
    if job is not None:
        job = controller.life.leader(job)  # agents run a het job under its leader's id
    address = await agent_socket(ctx, job) if job is not None and job.state.active else None
    if job is None or address is None:
        return None
    # The agent knows jobs by single ids, not by array or het notation.
    ctx.redirect(address, {paths.JOB_ID: str(job.job_id), **env})
    return await exit_code(ctx, job.nodes[0])


async def rejoin(ctx: CommandContext) -> int:
    """Reconnect the caller to its session; return the exit code."""
    node = ctx.env[paths.SESSION_NODE]
    address = await ctx.controller.engine.node_socket(node)
    if address is None:
        ctx.error(f"Node failure on {node}")
        return 1
    ctx.redirect(address, {})
    return await exit_code(ctx, node)


async def exit_code(ctx: CommandContext, node: str) -> int:
    """Exit code of a session with an agent. Returns 1 and prints an error if the agent died."""
    while True:
        frame = await ctx.frame()
        if frame.kind == wire.SESSION_EXIT:
            code = int(frame.payload)
            if code < 0:
                ctx.error(f"Node failure on {node}")
            return abs(code)
