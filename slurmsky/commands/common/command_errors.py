"""How a command ends: one place turns typed errors into what the caller reads."""

from __future__ import annotations

import functools
import os
from collections.abc import Awaitable, Callable

from ...controller.command_context import CommandContext
from ...controller.slurm_errors import Errno, SlurmError
from ...options.usage_errors import CommandError

Main = Callable[[CommandContext], int | Awaitable[int]]


def answer(ctx: CommandContext, error: CommandError) -> int:
    """Print what an option error or --help has to say; its exit code."""
    ctx.out(error.stdout)
    for line in error.lines:
        ctx.err(line)
    return error.exit_code


def command(main: Callable[[CommandContext], int]) -> Callable[[CommandContext], int]:
    """A command that answers at once."""

    @functools.wraps(main)
    def run(ctx: CommandContext) -> int:
        try:
            return main(ctx)
        except CommandError as error:
            return answer(ctx, error)

    return run


def streaming(main: Callable[[CommandContext], Awaitable[int]]) -> Callable[[CommandContext], Awaitable[int]]:
    """A command that waits for something."""

    @functools.wraps(main)
    async def run(ctx: CommandContext) -> int:
        try:
            return await main(ctx)
        except CommandError as error:
            return answer(ctx, error)

    return run


def refused(ctx: CommandContext, error: SlurmError, what: str) -> int:
    """``CMD: error: details``, then ``CMD: error: what: text``; the exit code of a refusal."""
    for detail in error.details:
        ctx.error(detail)
    # A refusal by the gres plugins comes as a message of its own, without the command's introduction.
    ctx.error(error.text if error.errno is Errno.INVALID_GRES else f"{what}: {error.text}")
    return error_exit(ctx)


def error_exit(ctx: CommandContext) -> int:
    """1, or what SLURM_EXIT_ERROR says."""
    text = ctx.env.get("SLURM_EXIT_ERROR", "")
    return int(text) % 256 or 1 if text.lstrip("+-").isdecimal() else 1


def absolute(ctx: CommandContext, name: str) -> str:
    """A path of the caller's as an absolute one."""
    return os.path.normpath(os.path.join(ctx.cwd, name))
