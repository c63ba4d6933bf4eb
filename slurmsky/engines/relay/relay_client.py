"""Controller's end of the command relay: an idle connection per node."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from pathlib import Path

from ...protocol.messages import SignOfLife
from ..base import background, wait_and_clear
from .head_connection import HeadUnreachable, Line, OpenLine, hang_up, send

FIRST_RETRY_S, LAST_RETRY_S = 1.0, 60.0
HERE_S = 60.0


async def keep_parked(open_one: OpenLine, socket: Path, reconnected: asyncio.Event | None = None) -> None:
    """Keep one idle connection at the node's relay, until cancelled.

    Serve the connections that become active. ``reconnected`` is set when the node answers again: the next attempt then
    starts at once.
    """
    pause = FIRST_RETRY_S
    reconnected = reconnected or asyncio.Event()
    serving: set[asyncio.Task[None]] = set()
    try:
        while True:
            try:
                reader, writer = await open_one({"role": "desk"})
                pause = FIRST_RETRY_S
                first = b""
                try:
                    first = await reader.read(65536)
                finally:
                    if not first:
                        hang_up((reader, writer))
                if not first:
                    raise HeadUnreachable("closed")
            except (HeadUnreachable, OSError):
                answers = await wait_and_clear(reconnected, pause)
                pause = FIRST_RETRY_S if answers else min(pause * 2, LAST_RETRY_S)
                continue
            task = background(_serve(first, reader, writer, socket))
            serving.add(task)
            task.add_done_callback(serving.discard)
            task.add_done_callback(functools.partial(_on_served, (reader, writer)))
    finally:
        for task in serving:
            task.cancel()


def _on_served(line: Line, task: asyncio.Task[None]) -> None:
    """Abort the connection of a cancelled session. It may be cancelled before its first step."""
    if task.cancelled():
        hang_up(line)


async def send_signs_of_life(open_one: OpenLine) -> None:
    """Report the controller to the node at intervals, until cancelled."""
    while True:
        with contextlib.suppress(HeadUnreachable):
            await send(open_one, SignOfLife())
        await asyncio.sleep(HERE_S)


async def _serve(first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, socket: Path) -> None:
    """Relay a client's session to the controller's socket."""
    try:
        there, here = await asyncio.open_unix_connection(str(socket))
    except OSError:
        writer.close()
        return
    here.write(first)
    await join((reader, writer), (there, here))


async def join(one: Line, other: Line) -> None:
    """Copy bytes in both directions until either side closes; then close both."""
    pumps = [background(_pump(one[0], other[1])), background(_pump(other[0], one[1]))]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        hang_up(one)
        hang_up(other)
        raise
    finally:
        for pump in pumps:
            pump.cancel()
        for end in (one, other):
            end[1].close()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
