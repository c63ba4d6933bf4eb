"""The caller's files: read by the caller's own process, or here where they cannot hold up the controller."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from typing import NamedTuple

from ..controller.command_context import CommandContext


class Found(NamedTuple):
    """What the caller's process read: the path that could be opened, and its bytes."""

    path: str
    data: bytes


async def read(ctx: CommandContext, paths: Sequence[str], limit: int) -> Found:
    """The first of these files that the caller can open, read by its own process, at most ``limit`` bytes.

    A file that blocks, a FIFO for example, holds up that process alone, and /dev/fd/N is its own descriptor. Of the
    paths after the first only regular files count; a folder is empty. Raises OSError when there is none.
    """
    names = [os.path.join(ctx.cwd, path) for path in paths]
    index, number, data = await ctx.read_file(names, limit)
    if number:
        raise OSError(number, os.strerror(number), paths[0])
    return Found(paths[index], data)


def opener(path: str, flags: int, mode: int = 0o666) -> int:
    """For ``open(..., opener=opener)``: open a file of the caller here, and refuse one that may block."""
    fd = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    if stat.S_ISFIFO(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    return fd
