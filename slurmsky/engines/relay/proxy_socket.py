"""Local unix socket that forwards to a job's first node.

For srun and similar commands outside of the job. Commands that an agent answers are forwarded over a connection to the
job; any other command of a shell that salloc started is for the local controller. A session uses the same frames as
with a local agent.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ...model.spec import JobSpec
from ...protocol import wire
from ...translate.sky_task import credentials
from .head_connection import HeadUnreachable, OpenLine
from .relay_client import join

log = logging.getLogger("slurmsky.sky")

#: commands that the agent of the first node answers
_AGENT_COMMANDS = frozenset(("srun", "sattach", "sbcast", "sstat"))
_FIRST_S = 30.0  # timeout of a client's first frame


class ProxySocket:
    """Listens at ``path`` once it is open.

    ``open_one``: opens a connection to the first node; ``controller``: our controller's socket; ``allowed``: patterns
    of credential variables that may be sent to the node.
    """

    def __init__(
        self,
        path: Path,
        open_one: OpenLine,
        controller: Path,
        allowed: Sequence[str] = ("*",),
        adapt: Callable[[wire.CommandRequest], wire.CommandRequest] = lambda request: request,
        role: str = "agent",
    ) -> None:
        self._allowed = allowed
        self._role = role  # of a new session's connection; "session": it may continue over another connection
        self._adapt = adapt  # rewrites a request for the node, unless the node itself does
        self.path = path
        self._open_one = open_one
        self._controller = controller
        self._server: asyncio.Server | None = None
        self._closed = False
        self._sessions: set[asyncio.Task[None]] = set()

    @property
    def is_open(self) -> bool:
        """True while the socket accepts connections."""
        return self._server is not None

    async def open(self) -> None:
        """Start listening."""
        if self._closed:
            return
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        # The folder's descriptor keeps the path short: a socket address has 108 bytes.
        folder = os.open(self.path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        old = os.umask(0o177)
        try:
            listener.bind(f"/proc/self/fd/{folder}/{self.path.name}")
        finally:
            os.umask(old)
            os.close(folder)
        try:
            server = await asyncio.start_unix_server(self._on_client, sock=listener, backlog=512)
        except BaseException:
            # The socket may listen already. Closed without the loop's knowledge, its descriptor number would still be
            # registered when another connection reuses it, and that connection would not be read.
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()
            raise
        if self._closed:  # the job has ended meanwhile
            server.close()
        else:
            self._server = server

    def close(self) -> None:
        """Close the socket and end all sessions."""
        self._closed = True
        if self._server is not None:
            self._server.close()
            self._server = None
        with contextlib.suppress(OSError):
            self.path.unlink()
        for session in self._sessions:
            session.cancel()

    async def _on_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._sessions.add(task)
        try:
            peer = writer.get_extra_info("socket")
            _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            if uid in (os.geteuid(), 0):
                await self._serve(reader, writer)
        except (asyncio.CancelledError, OSError):
            pass  # the job has ended, or the client has disconnected
        finally:
            self._sessions.discard(task)
            writer.close()

    def _without_credentials(self, request: wire.CommandRequest) -> wire.CommandRequest:
        """Remove this machine's credentials from a request. Except those that --export or the site file names."""
        spec = JobSpec(export=export_of(request.args) or request.env.get("SLURM_EXPORT_ENV"))
        names = set(credentials.left_out(request.env, spec, self._allowed))
        kept = {name: value for name, value in request.env.items() if name not in names}
        return replace(request, env=kept) if names else request

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, came = b"", list[wire.Frame]()
        frames = wire.FrameReader()
        try:
            while not came:
                data = await asyncio.wait_for(reader.read(65536), _FIRST_S)
                if not data:
                    return
                first += data
                came = list(frames.feed(data))
            continues = came[0].kind == wire.SESSION
            request = None if continues else wire.CommandRequest.from_payload(came[0].payload)
        except (wire.WireError, asyncio.TimeoutError):
            return
        try:
            if request is None:
                line = await self._open_one({"role": "agent"})
            elif request.command in _AGENT_COMMANDS:
                line = await self._open_one({"role": self._role})
                length = wire.HEADER_SIZE + int.from_bytes(first[1 : wire.HEADER_SIZE], "big")
                first = (
                    wire.encode(wire.REQUEST, self._adapt(self._without_credentials(request)).to_payload())
                    + first[length:]
                )
            else:
                line = await asyncio.open_unix_connection(str(self._controller))
        except (HeadUnreachable, OSError) as error:
            command = request.command if request is not None else "slurmsky"
            log.warning("%s: %s", command, error)
            text = f"{command}: error: Unable to contact the nodes of the job: {error}\n"
            writer.write(wire.encode(wire.STDERR, text.encode("utf-8", "surrogateescape")))
            writer.write(wire.encode_int(wire.EXIT, 1))
            await writer.drain()
            return
        line[1].write(first)
        await join((reader, writer), line)


def export_of(args: Sequence[str]) -> str:
    """Return the last --export of an srun command line, or ""."""
    found = ""
    for word, following in itertools.zip_longest(args, args[1:], fillvalue=""):
        if word.startswith("--export="):
            found = word.partition("=")[2]
        elif word == "--export":
            found = following
    return found
