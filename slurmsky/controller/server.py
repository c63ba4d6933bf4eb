"""The controller's socket: receives requests, runs commands, exits when idle."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from .. import private_environment
from ..agent.job import version
from ..agent.net.spare_descriptor import SpareDescriptor
from ..model import allocation, spec
from ..protocol import messages, wire
from .app import Controller
from .command_context import CallerGone, CommandContext, call
from .jobs.deferred_termination import CALLER, Caller
from .store.database_file import DATABASE_ERRORS

log = logging.getLogger("slurmsky.controller")

Command = Callable[[CommandContext], int | Awaitable[int]]
FindCommand = Callable[[str], "Command | None"]


#: epoch second at which this process imported the server
_STARTED = time.time()
#: seconds that a controller waits at shutdown for clients that still read output
_REQUEST_S = 5.0
#: seconds between checks that the package still exists and that jobs or clients remain
_CHECK_S = 30.0
#: commands whose caller waits for jobs
_WAITING = frozenset({"salloc", "sattach", "srun", "swait"})


#: modules of the messages to agents: agents that start later read them from disk
_MESSAGES = tuple(str(module.__file__) for module in (allocation, spec, messages, version))


def _stamps() -> list[tuple[int, int]]:
    return [(metadata.st_mtime_ns, metadata.st_size) for metadata in map(os.stat, _MESSAGES)]


_STAMPS = _stamps()


def installed() -> bool:
    """True if the interpreter and the package are unchanged on disk.

    After a change later imports and the start of an agent would fail, and agents of another version would refuse each
    job.
    """
    try:
        return os.path.exists(sys.executable) and _stamps() == _STAMPS
    except OSError:
        return False


def _present() -> bool:
    """False if the package or its interpreter was removed. The controller then stops, although jobs may wait."""
    return os.path.exists(sys.executable) and os.path.exists(__file__)


def updated() -> bool:
    """True if a module is newer than this process, as after ``git pull``.

    Modules that this process has not imported yet may not match its others.
    """
    return any(path.stat().st_mtime > _STARTED for path in Path(__file__).parents[1].rglob("*.py"))


class Session(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._reader = wire.FrameReader()
        self._transport: asyncio.Transport | None = None
        self._context: CommandContext | None = None
        self._task: asyncio.Task[None] | None = None
        self._caller: Caller | None = None
        self._handed_over = False
        self._began = 0.0  # when the command was called; 0.0: the command has ended
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        peer = transport.get_extra_info("socket")
        _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid not in (os.geteuid(), 0):
            log.warning("refused a connection of uid %d", uid)
            transport.abort()
            return
        self._service.opened(self)

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._reader.feed(data):
                if self._context is not None:
                    self._context.feed(frame)
                elif frame.kind == wire.REQUEST:
                    self._begin(wire.CommandRequest.from_payload(frame.payload))
                else:
                    raise wire.WireError("no request")
        except wire.WireError as error:
            self.send(wire.STDERR, f"slurmsky: {error}\n".encode())
            self.finish(1)
            if self._transport is not None:
                self._transport.close()  # a stream is unreadable after a malformed frame

    def _begin(self, request: wire.CommandRequest) -> None:
        if self._service.leaving:
            self.hand_over()
            return
        if not installed():
            self._replace_controller(f"{sys.executable}: this installation was removed or replaced")
            return
        try:
            command = self._service.find(request.command)
        except ImportError as error:
            if updated():
                self._replace_controller(f"{request.command}: slurmsky was updated")
                return
            self._context = CommandContext(request, self._service.controller, self)
            self._failed(error)
            return
        self._context = CommandContext(request, self._service.controller, self)
        if command is None:
            self._context.err(f"slurmsky: no such command: {request.command}")
            self.finish(1)
            return
        self._began = time.perf_counter()
        self._service.controller.command_called()
        self._service.controller.job_table.counters.threads += 1
        self._caller = Caller(request.env.get("SLURM_JOB_ID", ""))
        token = CALLER.set(self._caller)
        try:
            answer = call(command, self._context)
            if inspect.isawaitable(answer):
                self.send(wire.STDOUT)  # an empty frame shows that the controller runs; the answer may take long
                self._task = asyncio.ensure_future(self._wait(answer))
        except Exception as error:
            self._failed(error)
            return
        finally:
            CALLER.reset(token)
        if not inspect.isawaitable(answer):
            self.finish(answer)

    def _replace_controller(self, why: str) -> None:
        """Shut down; a new controller serves the request."""
        log.error("%s: a new controller replaces this one", why)
        self._service.leave()
        self.hand_over()

    async def _wait(self, answer: Awaitable[int]) -> None:
        try:
            code = await answer
        except CallerGone:
            return
        except Exception as error:
            self._failed(error)
            return
        self.finish(code)

    def _failed(self, error: Exception) -> None:
        """Report an error to the client.

        An error of the machine (a full disk) is one line; the traceback of a bug is logged.
        """
        assert self._context is not None
        line = f"{self._context.command} {' '.join(self._context.args)}"
        controller = self._service.controller
        if isinstance(error, (OSError, *DATABASE_ERRORS)):
            where = f"{controller.paths.database}: " if isinstance(error, DATABASE_ERRORS[0]) else ""
            log.error("%s: %s%s", line, where, error)
            self._context.error(f"{where}{error}")
        else:
            log.error("%s", line, exc_info=error)
            if isinstance(error, ImportError) and private_environment.request_rebuild():
                self._context.error("the private environment is damaged; the next command rebuilds it")
                self._service.leave()
            else:
                self._context.error(f"internal error, see {controller.paths.log}")
        self.finish(1)

    @property
    def printing(self) -> bool:
        """True if part of an answer has not been sent yet."""
        if self._transport is None or self._context is None:
            return False
        return self._context.printing or self._transport.get_write_buffer_size() > 0

    def drop(self) -> None:
        """Close the connection and cancel the client's command."""
        if self._task is not None:
            self._task.cancel()

    def hand_over(self) -> None:
        """Make the client repeat its request to the next controller."""
        if self._context is None and not self._handed_over:
            self._handed_over = True
            self.send(wire.AGAIN)

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        """Send one frame to the client, if it is connected."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(wire.encode(kind, payload))

    async def drain(self) -> None:
        """Wait until the client has read enough for further output."""
        await self._writable.wait()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def finish(self, code: int) -> None:
        """Commit the command's changes, then send its exit code. The client closes the connection."""
        self._service.controller.flush_or_retry()
        self._count()
        self.send(wire.EXIT, str(code & 0xFF).encode())

    def _count(self) -> None:
        """Count the command for sdiag. Commands whose caller waits for jobs are counted without their time."""
        if self._context is None or not self._began:
            return
        counters = self._service.controller.job_table.counters
        counters.threads -= 1
        waits = self._context.command in _WAITING
        counters.called(self._context.command, 0 if waits else int((time.perf_counter() - self._began) * 1e6))
        self._began = 0.0

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._writable.set()
        self._count()
        if self._context is not None:
            self._context.feed(None)
        if self._caller is not None:
            self._caller.left.set()
        self._service.closed(self)


class Service:
    """Listens on the socket, and stops when idle."""

    def __init__(self, controller: Controller, find: FindCommand, idle_exit_s: float) -> None:
        self.controller = controller
        self.find = find
        self._idle_exit_s = idle_exit_s
        self._sessions: set[Session] = set()
        self._last_use = 0.0
        self.stopped = asyncio.Event()
        self.leaving = False  # new requests belong to the next controller
        self._listener: socket.socket | None = None
        self._spare = SpareDescriptor("the controller")

    def opened(self, session: Session) -> None:
        """Add a client that has connected."""
        self._sessions.add(session)

    def closed(self, session: Session) -> None:
        """Remove a client that has disconnected."""
        self._sessions.discard(session)
        self._last_use = asyncio.get_running_loop().time()

    def leave(self) -> None:
        """Shut down after the current command. A new controller serves later requests."""
        self.leaving = True
        self.stopped.set()

    def refuse(self) -> None:
        """Refuse the waiting connections if no descriptor is free."""
        while self._listener is not None and self._spare.refuse(self._listener):
            continue

    async def run(self, path: Path, listening: Callable[[], None] = lambda: None) -> None:
        """Serve until stopped or idle. ``listening`` is called once clients can connect."""
        loop = asyncio.get_running_loop()
        self._last_use = loop.time()
        # The socket is bound under another name and renamed into place, so that clients can connect as soon as it
        # exists.
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
        fresh = f"/proc/self/fd/{folder}/.{path.name}.{os.getpid()}"
        server_socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        old = os.umask(0o177)
        try:
            server_socket.bind(fresh)
        finally:
            os.umask(old)
        server_socket.listen(512)
        self._listener = server_socket
        server = await loop.create_unix_server(lambda: Session(self), sock=server_socket, backlog=512)
        os.rename(fresh, path)
        os.close(folder)
        listening()
        mine = os.stat(path).st_ino
        watch = asyncio.ensure_future(self._idle())
        try:
            await self.stopped.wait()
        finally:
            watch.cancel()
            try:
                if os.stat(path).st_ino == mine:
                    os.unlink(path)
            except FileNotFoundError:
                log.info("the socket was removed by another process")
            await self._drain_clients()
            await self.controller.close()
            # Clients that connected before the socket was removed, and whose requests have not arrived.
            for session in self._sessions:
                session.hand_over()
            server.close()

    async def _drain_clients(self) -> None:
        """Wait until clients have read their answers, up to a time limit."""
        loop = asyncio.get_running_loop()
        end = loop.time() + _REQUEST_S
        while (printing := [session for session in self._sessions if session.printing]) and loop.time() < end:
            await asyncio.sleep(0.01)
        for session in printing:
            session.drop()

    async def _idle(self) -> None:
        loop = asyncio.get_running_loop()
        absent = 0  # checks that found no installation; an update also removes files for a moment
        while not self.leaving:
            absent = 0 if _present() else absent + 1
            left = self._last_use + self._idle_exit_s - loop.time()
            if absent > 1 and not self._sessions:
                log.info("%s: this installation was removed: stopping", sys.executable)
                self.leave()
            elif left > 0 or self._sessions or self.controller.busy:
                await asyncio.sleep(min(left if left > 0 else self._idle_exit_s, _CHECK_S))
            else:
                log.info("idle for %.0f s: stopping", self._idle_exit_s)
                self.leave()
