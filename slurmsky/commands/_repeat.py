"""--iterate, and the dialogues of scontrol's relatives: commands that print more than once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from ..controller.context import Context


async def repeat(ctx: Context, seconds: int | None, show: Callable[[], Awaitable[int]]) -> int:
    """Print once, or every so many seconds until the caller is gone; the last exit code."""
    while True:
        code = await show()
        if not seconds:
            return code
        done, _ = await asyncio.wait({ctx.gone}, timeout=seconds)
        if done:
            return code
        ctx.out("\n")
        await ctx.drain()


async def typed_lines(ctx: Context, prompt: str) -> AsyncIterator[str]:
    """What is typed at a prompt, line by line, until the end of the input."""
    while True:
        ctx.out(prompt)
        await ctx.drain()
        line = await ctx.read_line()
        if not line:
            ctx.out("\n")
            return
        yield line
