"""Reading of the caller's files, by the caller's process or by a controller that must not block."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from typing import NamedTuple

from ..controller.command_context import CommandContext


class Found(NamedTuple):
    """The result of a read in the caller's process: path of the opened file, and its bytes."""

    path: str
    data: bytes


async def read(ctx: CommandContext, paths: Sequence[str], limit: int) -> Found:
    """Read the first of these files that the caller can open, at most ``limit`` bytes.

    The caller's own process reads the file. A file that blocks, such as a FIFO, therefore holds up that process alone,
    and /dev/fd/N means the caller's descriptor. Of the paths after the first only regular files count; a folder reads
    as empty. Raises OSError when no file can be opened.
    """
    names = [os.path.join(ctx.cwd, path) for path in paths]
    index, number, data = await ctx.read_file(names, limit)
    if number:
        raise OSError(number, os.strerror(number), paths[0])
    return Found(paths[index], data)


def opener(path: str, flags: int, mode: int = 0o666) -> int:
    """For ``open(..., opener=opener)``: open a caller's file in the controller, and refuse a file that may block."""
    fd = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    if stat.S_ISFIFO(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    return fd
