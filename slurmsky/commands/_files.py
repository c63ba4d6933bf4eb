"""Access to the caller's files that never blocks the controller."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from ..agent.job.file_opening import on_network
from ..controller.command_context import CommandContext

Answer = TypeVar("Answer")

#: seconds to wait for a network file system, and threads that may wait for hanging ones at a time
PATIENCE_S, MOST_WAITING = 2.0, 8
_waiting: set[threading.Thread] = set()


class FoundFile(NamedTuple):
    """Path and content of a file that the client read."""

    path: str
    data: bytes


async def read(ctx: CommandContext, paths: Sequence[str], limit: int) -> FoundFile:
    """Read the first readable file, at most ``limit`` bytes.

    The caller's own process reads the file. A file that blocks, such as a FIFO, therefore holds up that process alone,
    and /dev/fd/N means the caller's descriptor. A path after the first is skipped unless it is a regular file; a folder
    reads as empty. Raises OSError when no file can be opened.
    """
    names = [os.path.join(ctx.cwd, path) for path in paths]
    index, number, data = await ctx.read_file(names, limit)
    if number:
        raise OSError(number, os.strerror(number), paths[0])
    return FoundFile(paths[index], data)


async def write(ctx: CommandContext, path: str, data: bytes, mode: int = 0o666, append: bool = False) -> None:
    """Write a file, whose new content is ``data``, or with ``append`` ends with it.

    Raises OSError, for a network file system that hangs with ETIMEDOUT.
    """
    place = os.path.join(ctx.cwd, path)
    flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else os.O_TRUNC)

    def work() -> int:
        try:
            with os.fdopen(opener(place, flags, mode), "wb") as file:
                file.write(data)
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    number = await check(work, [place], errno.ETIMEDOUT)
    if number:
        raise OSError(number, os.strerror(number), path)


async def check(work: Callable[[], Answer], paths: Iterable[str], otherwise: Answer) -> Answer:
    """Run ``work`` on the caller's files; return ``otherwise`` after a timeout.

    Files of a network file system are accessed in a separate thread, because a hanging file system blocks its thread
    for ever and must not block the controller.
    """
    if not any(map(on_network, paths)):
        return work()
    _waiting.difference_update([thread for thread in _waiting if not thread.is_alive()])
    if len(_waiting) >= MOST_WAITING:
        return otherwise
    loop = asyncio.get_running_loop()
    result: asyncio.Future[Answer] = loop.create_future()

    def resolve(answer: Answer) -> None:
        if not result.done():
            result.set_result(answer)

    def run() -> None:
        try:
            answer = work()
        except OSError:
            answer = otherwise
        try:
            loop.call_soon_threadsafe(resolve, answer)
        except RuntimeError:
            return  # the controller has ended

    thread = threading.Thread(target=run, daemon=True)
    _waiting.add(thread)
    thread.start()
    try:
        return await asyncio.wait_for(result, PATIENCE_S)
    except asyncio.TimeoutError:
        return otherwise


def opener(path: str, flags: int, mode: int = 0o666) -> int:
    """Open a file for ``open(opener=...)``; refuse a FIFO."""
    fd = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    if stat.S_ISFIFO(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    return fd
