"""Delays termination until the in-job command that requested it has its reply."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass, field

#: longest delay in seconds, for a caller that continues after its reply, such as an interactive scontrol
END_S = 1.0


@dataclass
class Caller:
    """The process of a command. ``job_id``: SLURM_JOB_ID of its environment, or ""."""

    job_id: str
    left: asyncio.Event = field(default_factory=asyncio.Event)


#: the caller of the running command; tasks that the command starts inherit it
CALLER: ContextVar[Caller | None] = ContextVar("caller", default=None)


async def wait_for_reply(job_id: int) -> None:
    """Wait for the exit of a caller that runs in this job.

    slurmctld replies before its agents have begun to kill; here both would happen within a millisecond.
    """
    caller = CALLER.get()
    if caller is not None and caller.job_id == str(job_id):
        try:
            await asyncio.wait_for(caller.left.wait(), END_S)
        except asyncio.TimeoutError:
            pass  # the caller keeps running
