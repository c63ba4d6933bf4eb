"""Turns typed errors into stderr output and exit codes."""

from __future__ import annotations

import functools
import os
from collections.abc import Awaitable, Callable

from ...controller.command_context import CommandContext
from ...controller.slurm_errors import Errno, SlurmError
from ...options.usage_errors import CommandError


def print_error(ctx: CommandContext, error: CommandError) -> int:
    """Print an option error or --help text; return its exit code."""
    ctx.out(error.stdout)
    for line in error.lines:
        ctx.err(line)
    return error.exit_code


def command(main: Callable[[CommandContext], int]) -> Callable[[CommandContext], int]:
    """Decorator for a synchronous command: prints its typed errors."""

    @functools.wraps(main)
    def run(ctx: CommandContext) -> int:
        try:
            return main(ctx)
        except CommandError as error:
            return print_error(ctx, error)

    return run


def streaming(main: Callable[[CommandContext], Awaitable[int]]) -> Callable[[CommandContext], Awaitable[int]]:
    """Decorator for an asynchronous command: prints its typed errors."""

    @functools.wraps(main)
    async def run(ctx: CommandContext) -> int:
        try:
            return await main(ctx)
        except CommandError as error:
            return print_error(ctx, error)

    return run


def refused(ctx: CommandContext, error: SlurmError, what: str) -> int:
    """Print Slurm's lines for a refused request; return the exit code.

    The lines are ``CMD: error: details``, then ``CMD: error: what: text``.
    """
    for detail in error.details:
        ctx.error(detail)
    # Errors of the gres plugins are separate messages, without the command's prefix.
    ctx.error(error.text if error.errno is Errno.INVALID_GRES else f"{what}: {error.text}")
    return error_exit(ctx)


def error_exit(ctx: CommandContext) -> int:
    """The exit code of SLURM_EXIT_ERROR, default 1."""
    text = ctx.env.get("SLURM_EXIT_ERROR", "")
    return int(text) % 256 or 1 if text.lstrip("+-").isdecimal() else 1


def absolute(ctx: CommandContext, name: str) -> str:
    """Make a path of the caller absolute."""
    return os.path.normpath(os.path.join(ctx.cwd, name))
