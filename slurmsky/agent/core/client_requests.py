"""Serves commands from inside a job.

The agent runs srun, sattach, sbcast and sstat; it relays all other commands to the controller.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from typing import TYPE_CHECKING, Any, Callable, Union

from ...protocol import wire
from ..net import endpoints
from ..net.channel import Channel

if TYPE_CHECKING:
    from .agent import Agent

#: seconds that a command waits for a controller to start, and between two attempts to connect
_START_S = 30.0
_POLL_S = 0.05
#: most bytes of a file that an option names, as in the controller
_MAX_FILE_BYTES = 16 << 20

Handler = Callable[["Agent", Channel, wire.CommandRequest, bytes], None]


def serve(agent: Agent, channel: Channel, payload: bytes) -> None:
    """Handle one ``R`` frame."""
    try:
        request = wire.CommandRequest.from_payload(payload)
    except wire.WireError as error:
        end_session(channel, 1, "slurmsky: error: %s\n" % error)
        return
    channel.send(wire.STDOUT)  # an empty frame: the agent is alive, although the reply may take long
    handler = agent.commands.get(request.command)
    if handler is not None:
        try:
            handler()(agent, channel, request, payload)
        except Exception:
            # Without this reply the user would wait forever; the agent's log has the details.
            end_session(
                channel,
                1,
                "%s: error: internal error, see the log of the agent of node %s\n" % (request.command, agent.node),
            )
            raise
    else:
        relay(agent, channel, payload, agent.controller_address, request.command)


def parse_context(request: wire.CommandRequest) -> Any:
    """Return the option parsers' context of a request. ``options.values.Context``: time, folder, environment, files."""

    def read(path: str) -> bytes:
        # Without O_NONBLOCK a FIFO would stop this thread, and with it all jobs of the node.
        fd = os.open(os.path.join(request.cwd, path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            if stat.S_ISFIFO(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
            return file.read()

    return _context(request, read)


def _context(request: wire.CommandRequest, read: Callable[[str], bytes]) -> Any:
    from ...options.values import ReadContext

    return ReadContext(now=time.time(), cwd=request.cwd, env=request.env, read_file=read, is_root=os.geteuid() == 0)


class _NeedsFile(Exception):
    """Parsing needs a file of the caller that has not arrived."""


class CallersFiles:
    """Files that a request's options name.

    The caller's process reads them: they may block, or be its descriptors. ``work`` is called again from its beginning
    after each file that it needed has arrived.
    """

    def __init__(self, channel: Channel, request: wire.CommandRequest, work: Callable[[CallersFiles], None]) -> None:
        self._channel = channel
        self._request = request
        self._work = work
        self._found: dict[str, Union[bytes, OSError]] = {}
        self._path = ""  # the file that the caller reads now
        self._early_frames: list[tuple[bytes, bytes]] = []  # other frames, for the step

    @property
    def context(self) -> Any:
        """Return the option parsers' context."""
        return _context(self._request, self.read)

    def read(self, path: str) -> bytes:
        """Return a file's content. Raises OSError if it is unreadable."""
        path = os.path.join(self._request.cwd, path)
        found = self._found.get(path)
        if found is None:
            raise _NeedsFile(path)
        if isinstance(found, OSError):
            raise found
        return found

    def serve(self) -> None:
        """Call ``work``, again after each missing file has arrived."""
        try:
            self._work(self)
        except _NeedsFile as needed:
            self._path = str(needed)
            self._channel.on_frame = self._arrived
            names = [b"%d" % _MAX_FILE_BYTES, os.fsencode(self._path)]
            self._channel.send(wire.READ_FILE, wire.encode_list(names))
            return
        for kind, payload in self._early_frames:
            self._channel.on_frame(kind, payload)

    def _arrived(self, kind: bytes, payload: bytes) -> None:
        if kind != wire.FILE:
            self._early_frames.append((kind, payload))
            return
        _, number, data = wire.decode_list(payload)
        code = int(number)
        self._found[self._path] = OSError(code, os.strerror(code), self._path) if code else data
        self.serve()


def end_session(channel: Channel, code: int, error: str = "", out: str = "") -> None:
    """Send the last output and the exit code, and close the channel."""
    if out:
        channel.send(wire.STDOUT, out.encode(errors="surrogateescape"))
    if error:
        channel.send(wire.STDERR, error.encode(errors="surrogateescape"))
    channel.send(wire.EXIT, b"%d" % code)
    channel.close()


def address_for_job(agent: Agent, job_id: int) -> str:
    """Return the address that serves a job of another head.

    It is the job's head agent, else the controller. "": the controller's socket does not exist.
    """
    head = agent.heads.get(job_id, "")
    if head:
        return head
    path = agent.controller_address
    return path if not path.startswith(endpoints.UNIX) or os.path.exists(path[len(endpoints.UNIX) :]) else ""


def relay(agent: Agent, channel: Channel, payload: bytes, address: str, command: str) -> None:
    """Relay a session to another server, frame by frame. Back-pressure applies in both directions."""
    deadline = time.monotonic() + _START_S
    early: list[tuple[bytes, bytes]] = []
    channel.on_frame = lambda kind, payload: early.append((kind, payload))

    def attempt() -> None:
        if channel.closed:
            return
        try:
            peer = agent.connect(address)
        except OSError:
            if address != agent.controller_address or agent.controller_restart is None or time.monotonic() > deadline:
                end_session(channel, 1, "%s: error: Unable to contact slurm controller (connect failure)\n" % command)
                return
            agent.controller_restart.start_now()
            agent.loop.after(_POLL_S, attempt)
            return
        peer.send(wire.REQUEST, payload)
        for kind, data in early:
            peer.send(kind, data)
        join(channel, peer)

    attempt()


def join(one: Channel, other: Channel) -> None:
    """Forward frames between two channels until either closes."""
    for source, target in ((one, other), (other, one)):
        _pump(source, target)


def _pump(source: Channel, target: Channel) -> None:
    def passed(kind: bytes, payload: bytes) -> None:
        target.send(kind, payload)
        if target.full:
            source.pause()

    source.on_frame = passed
    source.on_close = target.close
    target.on_drain = source.resume
