"""Receives requests of jobs on unreachable nodes, by the job log.

The inbox reads them from the log, decrypts them, and runs them as local commands. The sender is agent/cloud/outbox.py.
A request is delivered at least once; the job id in a submission identifies a repetition.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from pathlib import Path

from ....protocol import wire
from ....protocol.log_frames import Output
from ....protocol.node_settings import OutboxSettings
from ....protocol.seal import BrokenSeal, unseal

log = logging.getLogger("slurmsky.sky")

#: job ids reserved for jobs' submissions: above the queue's counter, below the ids of foreign managed jobs
FIRST_ID, LAST_ID = 50_000_000, 60_000_000
IDS = 100  # job ids that are reserved for each run on nodes
AFTER_S = 15.0  # seconds for which a node waits for the controller's connection before it writes to the log
MAX_MESSAGE = 64 << 20
RETRY_S = 5.0
DELIVERY_S = 600.0


def reserve_ids(folder: Path, runs: int = 1) -> tuple[int, int]:
    """Reserve job ids for a run: (first, count).

    ``runs``: reserve for several runs and return the first range; the others follow it. ``folder``: stores the last
    reserved id.
    """
    note = folder / "letter-ids"
    first = int(note.read_text()) if note.exists() else FIRST_ID
    if first + runs * IDS > LAST_ID:
        first = FIRST_ID
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    note.write_text(str(first + runs * IDS))
    return first, IDS


class Inbox:
    """Requests of one run.

    ``secret``: the secret of the run's shipment; ``done``: keys of the delivered requests, stored in the job's record.
    A request's key is its position in the log: session, rank and stream.
    """

    def __init__(self, secret: bytes, done: list[str]) -> None:
        self._secret = secret
        self.done = done
        self._incomplete: dict[str, bytearray] = {}

    def begin(self, key: str) -> None:
        """Begin a request."""
        self._incomplete[key] = bytearray()

    def output(self, key: str, item: Output) -> bool:
        """Add bytes to a request; False: another stream."""
        message = self._incomplete.get(key)
        if message is None:
            return False
        if len(message) + len(item.data) <= MAX_MESSAGE:
            message += item.data
        return True

    def end(self, key: str) -> bytes | None:
        """Complete and decrypt a request. None for a request that is not authentic or was delivered before."""
        message = self._incomplete.pop(key, None)
        if message is None or key in self.done:
            return None
        try:
            return zlib.decompress(unseal(self._secret, bytes(message), key))
        except (BrokenSeal, zlib.error) as error:
            log.warning("ignore a message in a job's log: %s", error)
            return None


async def deliver(socket: Path, payload: bytes) -> tuple[int, str]:
    """Run a request in our controller; return exit code and stderr."""
    deadline = asyncio.get_running_loop().time() + DELIVERY_S
    while True:
        try:
            return await _ask(socket, payload)
        except (OSError, asyncio.IncompleteReadError):
            if asyncio.get_running_loop().time() > deadline:
                return 1, "the controller did not answer"
            await asyncio.sleep(RETRY_S)  # the controller is starting


async def _ask(socket: Path, payload: bytes) -> tuple[int, str]:
    reader, writer = await asyncio.open_unix_connection(str(socket))
    stderr = b""
    try:
        writer.write(wire.encode(wire.REQUEST, payload) + wire.encode(wire.STDIN_EOF))
        await writer.drain()
        while True:
            head = await reader.readexactly(wire.HEADER_SIZE)
            body = await reader.readexactly(int.from_bytes(head[1:], "big"))
            if head[:1] == wire.STDERR:
                stderr += body
            elif head[:1] == wire.EXIT:
                return int(body), stderr.decode("utf-8", "replace").strip()
    finally:
        writer.close()


def settings(secret: bytes, ids: tuple[int, int]) -> OutboxSettings:
    """Return the node's settings for the outbox. They are sent in the private settings, not in the task."""
    return OutboxSettings(secret.hex(), ids, AFTER_S)
