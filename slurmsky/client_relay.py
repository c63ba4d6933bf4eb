"""Client's support for stdin, signals, terminals and child processes.

The client loads this module at the first frame that needs one of these (srun, salloc, sattach, sbatch with a script
from stdin). Standard library only, like the client.
"""

from __future__ import annotations

import _socket
import errno
import os
import select
import signal
import sys
from typing import TYPE_CHECKING

from slurmsky.client import (
    AGENT,
    EXIT,
    READ_FILE,
    REQUEST,
    STDERR,
    STDOUT,
    complain,
    connect,
    connection_lost,
    frame,
    pack,
    read_file,
    unpack,
)
from slurmsky.client_terminal import Child, TerminalSignals, become

if TYPE_CHECKING:
    from collections.abc import Callable

    from slurmsky.client import ControllerConnection
    from slurmsky.client_session import ResumableSession

STDIN = b"i"
STDIN_EOF = b"e"
CHILD_STATUS = b"c"
SESSION_EXIT = b"x"
GRANT = b"I"
SPAWN = b"S"
CHILD_SIGNAL = b"k"
REDIRECT = b"F"
BECOME = b"P"
TTY = b"T"
HANDLE_SIGNALS = b"H"
AGAIN = b"A"
RESUME = b"W"
SESSION = b"D"
ACK = b"a"

SESSION_LOST = -1

_STDIN_PIECE = 1 << 18


def request_elsewhere(request: bytes, extra: list[bytes]) -> bytes:
    """Copy of an R frame, with `extra` (`K=V`) environment entries."""
    fields = unpack(memoryview(request)[5:])
    env_start = 8 + int(fields[7])
    replaced = {entry.partition(b"=")[0] for entry in extra}
    env = [entry for entry in fields[env_start:] if entry.partition(b"=")[0] not in replaced]
    return frame(REQUEST, pack(fields[:env_start] + env + extra))


def _peer_pid(channel: ControllerConnection) -> int:
    """Process that listens at the other end."""
    return int.from_bytes(channel.sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)[:4], sys.byteorder)


class Relay(TerminalSignals):
    """Serves a session's requests until its exit code arrives."""

    def __init__(self, command: str, channel: ControllerConnection, request: bytes) -> None:
        super().__init__(self._send_to_last)
        self._command = command
        self._request = request
        self._first = channel
        self._controller = _peer_pid(channel)
        self._open = [channel]  # the last channel owns stdin and signals
        self._granted = 0
        self._stdin_ended = False
        self._child: Child | None = None
        self._child_of = channel  # the channel that requested the child and receives its exit status
        self._status: int | None = None  # exit status of the child that has ended
        self._code: int | None = None
        self._resume_with = b""  # variable to add to the repeated request after the controller's death
        self._session: ResumableSession | None = None  # of the last channel, if its agent has given a token
        self._path = os.environb.get(AGENT, b"")  # of the last channel's socket
        self._variables: list[bytes] = []  # that the controller has added to the last channel's request
        self._early: bytes | None = b""  # frames sent to the last channel, until its first frame arrives
        self._sending = False
        self._unsent: list[tuple[ControllerConnection, bytes]] = []
        self._handlers: dict[bytes, Callable[[ControllerConnection, memoryview], None]] = {
            STDOUT: lambda _, payload: self._write(1, payload),
            STDERR: lambda _, payload: self._write(2, payload),
            EXIT: lambda channel, payload: self._ended(channel, int(payload)),
            GRANT: self._grant,
            HANDLE_SIGNALS: lambda *_: self._report_signals(),
            TTY: lambda _, payload: self._set_raw(bytes(payload) == b"1"),
            SPAWN: self._spawn_for,
            CHILD_SIGNAL: self._signal_child,
            REDIRECT: lambda _, payload: self._redirect(unpack(payload)),
            BECOME: lambda _, payload: self._become(unpack(payload)),
            READ_FILE: lambda channel, payload: self._send(channel, read_file(payload)),
            AGAIN: lambda *_: self._repeat(),
            RESUME: self._resume,
            SESSION: self._welcome,
            ACK: self._acknowledged,
        }
        # Without the pipe, a signal just before poll() would be handled only after the next other event.
        self._wake, wake_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)

    def run(self, kind: bytes, payload: memoryview) -> int:
        """Serve the session and return its exit code. `kind` and `payload` are the first frame to handle."""
        try:
            self._handle(self._first, kind, payload)
            self._take_frames(self._first)
            while self._code is None:
                self._wait()
            return self._code
        finally:
            self._terminal.restore()

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        channels = {channel.sock.fileno(): channel for channel in self._open if channel.sock.fileno() >= 0}
        for fd in channels:
            poll.register(fd, select.POLLIN)
        if self._granted and not self._stdin_ended:
            poll.register(0, select.POLLIN)
        ready = [fd for fd, _ in poll.poll()]
        if self._wake in ready:
            os.read(self._wake, 4096)  # the handlers have run by now
        self._flush()
        for fd in ready:
            channel = channels.get(fd)
            if channel in self._open and channel is not None:
                if channel.fill():
                    self._take_frames(channel)
                else:
                    self._lost(channel)
            elif fd == 0 and self._granted:
                self._read_stdin()
        if not self._open and self._child is None and self._code is None:
            if self._resume_with:
                self._repeat(gone=True)  # the next controller ends the allocation with the child's status
            elif self._status is not None:
                self._code = max(self._status, 0)  # like salloc, 0 for a command ended by a signal
            else:
                connection_lost(self._command)
                self._code = 1

    def _take_frames(self, channel: ControllerConnection) -> None:
        for kind, payload in channel.frames():
            self._handle(channel, kind, payload)
            if self._code is not None or channel not in self._open:
                return
        self._acknowledge(channel)

    def _handle(self, channel: ControllerConnection, kind: bytes, payload: memoryview) -> None:
        if kind != SESSION and channel in self._open[-1:]:
            self._early = None  # no token follows
        handler = self._handlers.get(kind)
        if handler is not None:
            handler(channel, payload)
        else:
            complain(self._command, f"the controller speaks another protocol (frame {kind!r})")
            self._code = 1

    def _grant(self, channel: ControllerConnection, payload: memoryview) -> None:
        if channel is self._open[-1]:
            self._granted += int(payload)
            if self._stdin_ended:
                self._send(channel, frame(STDIN_EOF))

    def _spawn_for(self, channel: ControllerConnection, payload: memoryview) -> None:
        self._child_of = channel
        self._spawn(unpack(payload))

    def _signal_child(self, _channel: ControllerConnection, payload: memoryview) -> None:
        if self._child is not None:
            self._child.signal(int(payload))

    def _resume(self, _channel: ControllerConnection, payload: memoryview) -> None:
        self._resume_with = bytes(payload)

    # Sessions

    def _redirect(self, fields: list[bytes]) -> None:
        from slurmsky.client import ControllerConnection

        try:
            if self._session is not None:
                self._session.reconnect(fields[0])  # requested only while there is no connection
                return
            channel = ControllerConnection(connect(fields[0]))
        except OSError:
            self._send(self._first, frame(SESSION_EXIT, b"%d" % SESSION_LOST))
            return
        self._open.append(channel)
        self._granted = 0
        self._send(channel, request_elsewhere(self._request, fields[1:]))
        self._path, self._variables, self._early = fields[0], fields[1:], b""

    def _repeat(self, gone: bool = False) -> None:
        """Send the request to the next controller.

        ``gone``: the connection to this controller, which has exited, is lost.
        """
        from slurmsky import client, client_start, paths

        if gone:
            ended = [] if self._status is None else [f"{paths.CHILD_STATUS}={self._status}".encode()]
            self._request = request_elsewhere(self._request, [self._resume_with, *ended])
            self._resume_with = b""
        client_start.wait_until_gone(client.home(), self._controller)
        if self._first in self._open:
            self._close(self._first)
        self._connect_first(self._request, os.environb.get(AGENT))

    def _connect_first(self, request: bytes, agent: bytes | None) -> None:
        """Send a request to the agent, else to the controller. A missing controller is started."""
        from slurmsky import client, client_start

        root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        path = agent or client.home() + b"/" + client.SOCKET_NAME
        try:
            sock = connect(path)
        except OSError as error:
            fields = unpack(memoryview(self._request)[5:])
            args = [os.fsdecode(word) for word in fields[8 : 8 + int(fields[7])]]
            code = 1 if self._status is None else max(self._status, 0)
            sock = client_start.connect_or_start(root, self._command, args, path, bool(agent), error, code)
        self._first = client.ControllerConnection(sock)
        self._controller = _peer_pid(self._first)
        self._open.insert(0, self._first)
        self._send(self._first, request)

    def _welcome(self, channel: ControllerConnection, payload: memoryview) -> None:
        self._sending = True  # frames of signal handlers wait
        if self._session is None:
            from slurmsky.client_session import ResumableSession

            self._session = ResumableSession(channel, self._path, self._variables)
            self._session.sent(self._early or b"")
            self._early = None
        self._session.welcome(bytes(payload))
        self._flush()

    def _acknowledged(self, _channel: ControllerConnection, payload: memoryview) -> None:
        self._sending = True
        if self._session is not None:
            self._session.acknowledge(int(payload))
        self._flush()

    def _acknowledge(self, channel: ControllerConnection, at_once: bool = False) -> None:
        if self._session is not None and channel is self._session.channel:
            self._send(channel, self._session.report(at_once))

    def _rejoin(self, session: ResumableSession) -> None:
        """Continue a session whose connection was cut. The same socket is tried first, then the next controller."""
        session.part()
        try:
            session.reconnect()
        except OSError:
            self._ask_controller(session)

    def _ask_controller(self, session: ResumableSession) -> None:
        if self._first is not session.channel and self._first in self._open:
            self._close(self._first)
        self._connect_first(request_elsewhere(self._request, session.variables), None)

    def _ended(self, channel: ControllerConnection, code: int) -> None:
        self._acknowledge(channel, at_once=True)
        if channel is not self._first and self._first in self._open:
            self._close(channel)
            self._send(self._first, frame(SESSION_EXIT, b"%d" % code))
        else:
            # The first session decides the exit code; if that session is lost (the controller died), the other does.
            self._code = code
            if code == SESSION_LOST:
                connection_lost(self._command)
                self._code = 1

    def _lost(self, channel: ControllerConnection) -> None:
        session = self._session
        if session is not None and channel is session.channel:
            self._rejoin(session)
        elif session is not None and session.channel.sock.fileno() < 0:
            self._ask_controller(session)
        elif channel is not self._first and self._first in self._open:
            self._ended(channel, SESSION_LOST)
        elif channel is self._first and self._resume_with:
            if self._child is None:
                self._repeat(gone=True)
            else:
                self._close(channel)  # the next controller must know how the child ended
        else:
            self._close(channel)

    def _close(self, channel: ControllerConnection) -> None:
        if channel is self._open[-1]:
            self._granted, self._session = 0, None
        self._open.remove(channel)
        channel.sock.close()

    def _send_to_last(self, data: bytes) -> None:
        if self._open:
            self._send(self._open[-1], data)

    def _send(self, channel: ControllerConnection, data: bytes) -> None:
        """Queue a frame and send it. A signal handler must not send in the middle of another frame."""
        self._unsent.append((channel, data))
        if not self._sending:
            self._flush()

    def _flush(self) -> None:
        self._sending = True
        try:
            while self._unsent:
                channel, data = self._unsent.pop(0)
                if self._early is not None and channel in self._open[-1:]:
                    self._early += data
                session = self._session
                if session is not None and channel is session.channel and not session.sent(data):
                    continue
                try:
                    channel.sock.sendall(data)
                except OSError:
                    pass  # the peer closed the connection: the reader finds that after the peer's last frames
        finally:
            self._sending = False

    def _read_stdin(self) -> None:
        try:
            data = os.read(0, min(self._granted, _STDIN_PIECE))
        except BlockingIOError:
            return
        except OSError:
            data = b""  # closed, or the terminal was closed
        if data:
            self._granted -= len(data)
            self._send_last(frame(STDIN, data))
        else:
            self._stdin_ended = True
            self._send_last(frame(STDIN_EOF))

    # The child

    def _spawn(self, fields: list[bytes]) -> None:
        count = int(fields[0])
        args, env = fields[1 : 1 + count], fields[1 + count :]
        signal.signal(signal.SIGCHLD, self._on_child)
        try:
            self._child = Child(args, dict(entry.split(b"=", 1) for entry in env))
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "EIO")
            self._status = 127
            self._send(self._child_of, frame(CHILD_STATUS, f"127 {name} {error.strerror}".encode()))
            return
        self._reap()  # the child may have ended before self._child was set for the handler

    def _become(self, fields: list[bytes]) -> None:
        """Replace this process by a program. Returns only if the program cannot be started."""
        count = int(fields[0])
        self._terminal.restore()
        try:
            become(fields[1 : 1 + count], dict(entry.split(b"=", 1) for entry in fields[1 + count :]))
        except OSError as error:
            complain(self._command, f"{os.fsdecode(fields[1])}: {error.strerror}")
            self._code = 127

    def _on_child(self, _signum: int, _frame: object) -> None:
        if self._child is not None:
            self._reap()

    def _reap(self) -> None:
        child = self._child
        code = child.poll() if child is not None else None
        if code is None:
            return
        self._child, self._status = None, code
        if self._child_of in self._open:
            self._send(self._child_of, frame(CHILD_STATUS, b"%d" % code))
