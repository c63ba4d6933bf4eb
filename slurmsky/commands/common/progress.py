"""Progress line on the caller's terminal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ...controller.command_context import CommandContext
from ...model.job import Job
from ...model.states import JobFlag, JobState
from ...report.text.units import format_seconds

#: seconds of work without a progress line
FIRST_S = 2.0
_EVERY_S = 1.0
_CLEAR = "\r\x1b[K"


@contextmanager
def show_progress(ctx: CommandContext, describe: Callable[[], str]) -> Iterator[None]:
    """Context manager: show ``describe()`` and the elapsed time.

    Without a terminal nothing is shown. The line is cleared at the end.
    """
    if not ctx.request.ttys[2] or ctx.env.get("TERM", "dumb") == "dumb":
        yield
        return
    began = time.monotonic()
    drawn = False

    async def draw() -> None:
        nonlocal drawn
        await asyncio.sleep(FIRST_S)
        while True:
            text = f"{describe()} ({format_seconds(int(time.monotonic() - began))})"
            ctx.draw(_CLEAR + _fitting(ctx, text))
            drawn = True
            await asyncio.sleep(_EVERY_S)

    drawing = asyncio.ensure_future(draw())
    try:
        yield
    finally:
        drawing.cancel()
        if drawn:
            ctx.draw(_CLEAR)


def _fitting(ctx: CommandContext, text: str) -> str:
    """Cut a text to one printable line, which can be cleared."""
    width = max(10, (ctx.request.winsize or (24, 80))[1] - 1)
    plain = "".join(char if char.isprintable() else " " for char in text)
    return plain if len(plain) <= width else plain[: width - 3] + "..."


def phase(job: Job) -> str:
    """Phase of an active job: SkyPilot's message, else state and reason."""
    name = f"job {job.job_id}"
    if job.system_comment and (job.awaits_nodes or JobFlag.CONFIGURING in job.flags):
        return f"{name}: {job.system_comment}"
    if job.state is JobState.PENDING:
        return f"{name} waits: {job.reason}" if job.reason not in ("None", "") else f"{name} waits"
    if JobFlag.COMPLETING in job.flags:
        return f"{name} ends"
    return f"{name} is {job.state.name.lower()}"
