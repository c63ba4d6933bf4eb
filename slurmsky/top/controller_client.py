"""Sends commands to the controller over its socket."""

from __future__ import annotations

import _socket
import os
from typing import NamedTuple

from .. import client, client_relay, client_start

#: seconds to wait for a reply
ANSWER_S = 30.0

# The caller's format variables would change the output that is parsed here.
_FORMATS = (b"SQUEUE_", b"SINFO_", b"SCONTROL_", b"SCANCEL_", b"SSTAT_", b"SEFF_", b"SLURM_TIME_FORMAT",
            b"SLURM_BITSTR_LEN", b"SLURM_CLUSTERS", b"SLURM_EXIT_ERROR", b"SLURM_DEBUG")  # fmt: skip


class NoController(Exception):
    """Error: no controller answers; the text is the cause."""


class CommandOutput(NamedTuple):
    """The output of a command and its exit code."""

    code: int
    out: str
    err: str


class ControllerClient:
    """Client of the caller's controller, or of the node's agent. The agent serves requests inside a job."""

    def __init__(self) -> None:
        agent = os.environb.get(client.AGENT)
        self.inside_job = bool(agent)
        self._path = agent or client.home() + b"/" + client.SOCKET_NAME
        self._env = [entry for entry in client.environment() if not entry.startswith(_FORMATS)]

    def start(self) -> None:
        """Start a controller unless one answers. Raises NoController."""
        if self.inside_job:
            return
        root = os.path.dirname(os.path.dirname(os.path.abspath(client.__file__)))
        try:
            client_start.start(root, os.path.dirname(os.fsdecode(self._path)), self._path).close()
        except client_start.CannotStart as error:
            raise NoController(str(error)) from error

    def running(self) -> bool:
        """Return whether a controller accepts connections now."""
        try:
            client.connect(self._path).close()
        except OSError:
            return False
        return True

    def run_command(self, command: str, *args: str, **extra: str) -> CommandOutput:
        """Run a command with additional environment variables. Raises NoController."""
        env = self._env + [f"{name}={value}".encode() for name, value in extra.items()]
        return _requested(self._path, _without_terminal(client.request(command, list(args), env)))


def _without_terminal(request: bytes) -> bytes:
    """Change a request to one without a terminal. For a terminal the reply would have control characters replaced."""
    fields = client.unpack(memoryview(request)[5:])
    fields[4], fields[5] = b"000", b""
    return client.frame(client.REQUEST, client.pack(fields))


def _requested(path: bytes, request: bytes) -> CommandOutput:
    try:
        sock = client.connect(path)
    except OSError as error:
        raise NoController("no controller is running") from error
    try:
        sock.settimeout(ANSWER_S)
        sock.sendall(request)
        return _listen(sock, request)
    except OSError as error:
        raise NoController("the controller does not answer") from error
    finally:
        sock.close()


def _listen(sock: _socket.socket, request: bytes) -> CommandOutput:
    channel = client.ControllerConnection(sock)
    printed = {client.STDOUT: bytearray(), client.STDERR: bytearray()}
    while channel.fill():
        for kind, payload in channel.frames():
            if kind == client.EXIT:
                out, err = (text.decode("utf-8", "surrogateescape") for text in printed.values())
                return CommandOutput(int(payload), out, err)
            if kind == client_relay.REDIRECT:
                # A job's agent answers (sstat); the controller waits for the exit code.
                fields = client.unpack(payload)
                answer = _requested(fields[0], client_relay.request_elsewhere(request, fields[1:]))
                printed[client.STDOUT] += answer.out.encode("utf-8", "surrogateescape")
                printed[client.STDERR] += answer.err.encode("utf-8", "surrogateescape")
                sock.sendall(client.frame(client_relay.SESSION_EXIT, b"%d" % answer.code))
            elif kind in printed:
                printed[kind] += payload
    raise NoController("the controller has exited")
