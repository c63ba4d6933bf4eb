"""Who asks: a job that asks for its own end is heard before it ends, so that its command can say how it went."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass, field

#: for a caller that stays after it has its answer, as an interactive scontrol does
PATIENCE_S = 1.0


@dataclass
class Caller:
    """A command's process. ``job_id``: the job it runs in, as SLURM_JOB_ID tells, or ""."""

    job_id: str
    left: asyncio.Event = field(default_factory=asyncio.Event)


#: of the command that is carried out, and of whatever it starts
CALLER: ContextVar[Caller | None] = ContextVar("caller", default=None)


async def hear_out(job_id: int) -> None:
    """Where the command is one of that job's, wait until it has left with its answer.

    slurmctld answers before its agents have begun to kill; here both would be a matter of a millisecond.
    """
    caller = CALLER.get()
    if caller is not None and caller.job_id == str(job_id):
        try:
            await asyncio.wait_for(caller.left.wait(), PATIENCE_S)
        except asyncio.TimeoutError:
            pass  # it has something else to do
