"""Repeated output (--iterate) and interactive mode."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

from ...controller.command_context import CommandContext
from ...language.key_values import matching_value


async def repeat(ctx: CommandContext, seconds: int | None, show: Callable[[], Awaitable[int]]) -> int:
    """Print once, or every N seconds until the caller disconnects. Returns the last exit code."""
    while True:
        code = await show()
        if not seconds:
            return code
        done, _ = await asyncio.wait({ctx.gone}, timeout=seconds)
        if done:
            return code
        ctx.out("\n")
        await ctx.drain()


async def dialogue(
    ctx: CommandContext,
    prompt: str,
    split: Callable[[str], list[str]],
    verbs: Iterable[tuple[str, int, str]],
    run: Callable[[Sequence[str]], int | Awaitable[int]],
) -> int:
    """Run each line typed at a prompt until "exit". Returns the last nonzero exit code."""
    code = 0
    async for line in _typed_lines(ctx, prompt):
        words = split(line)
        if not words:
            continue
        if matching_value(words[0], verbs) == "exit":
            break
        done = run(words)
        code = (done if isinstance(done, int) else await done) or code
    return code


async def confirmed(ctx: CommandContext, question: str) -> bool:
    """Return whether the caller types "y" within 30 seconds.

    End of stdin means no. Source: sacctmgr's commit_check.
    """
    ctx.out(f"{question} (You have 30 seconds to decide)\n(N/y): ")
    while True:
        await ctx.drain()
        try:
            line = await asyncio.wait_for(ctx.read_line(), 30)
        except asyncio.TimeoutError:
            ctx.out("timeout\n")
            return False
        for letter in line:
            ctx.out("\n")
            if letter in "yYnN\n":
                return letter in "yY"
            ctx.out("Y or N please\n(N/y): ")
        if not line:
            ctx.out(f"\nerror: {os.strerror(errno.ENOTTY)}\n")
            return False


async def _typed_lines(ctx: CommandContext, prompt: str) -> AsyncIterator[str]:
    """Lines typed at a prompt, until end of input."""
    while True:
        ctx.out(prompt)
        await ctx.drain()
        line = await ctx.read_line()
        if not line:
            ctx.out("\n")
            return
        yield line
