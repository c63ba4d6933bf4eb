"""The context of one command: argv, environment, terminal and output."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Protocol

from ..protocol import wire
from .app import Controller


class CallerGone(Exception):
    """The client closed its connection."""


class Peer(Protocol):
    """The receiver of frames."""

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        """Send one frame."""

    async def drain(self) -> None:
        """Wait until the caller has read most of the output."""


class NoClient:
    """A peer that discards frames, for the controller's own commands."""

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        """Discard the frame."""

    async def drain(self) -> None:
        """Return at once: no client reads the frames."""


STDIN_WINDOW = 1 << 18
#: lines in one frame
_LINES = 200
#: characters that a terminal would interpret: control characters, also as single bytes that are not UTF-8, and
#: overrides of the writing direction
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\udc80-\udc9f]")


def shown(text: str) -> str:
    """Return a text as a terminal prints it.

    Names of jobs, comments and paths may contain any character. As in ls, "?" replaces a control character; files and
    pipes receive the text unchanged.
    """
    return _CONTROL.sub("?", text)


class CommandContext:
    """One call of a command."""

    def __init__(self, request: wire.CommandRequest, controller: Controller, peer: Peer) -> None:
        self.request = request
        self.controller = controller
        self.command = request.command
        self.args: Sequence[str] = request.args
        self.env: Mapping[str, str] = request.env
        self.cwd = request.cwd
        self._peer = peer
        self._frames: asyncio.Queue[wire.Frame | None] = asyncio.Queue()
        self.gone = asyncio.get_running_loop().create_future()
        self._stdin = b""
        self._stdin_ended = False
        self._granted = False
        self._returned: list[wire.Frame] = []
        self.printing = False  # more lines of an answer follow

    # --- answering

    def out(self, text: str) -> None:
        """Write to the caller's stdout."""
        if text:
            text = shown(text) if self.request.ttys[1] else text
            self._peer.send(wire.STDOUT, text.encode("utf-8", "surrogateescape"))

    def ring(self) -> None:
        """Sound the bell of the caller's terminal."""
        self._peer.send(wire.STDOUT, b"\a")

    async def out_lines(self, lines: Iterator[str], together: int = _LINES) -> None:
        """Write lines to the caller's stdout as fast as the caller reads.

        Other commands run between the groups of lines.
        """
        self.printing = True
        try:
            while text := "".join(islice(lines, together)):
                self.out(text)
                await self._peer.drain()
                await asyncio.sleep(0)
        finally:
            self.printing = False

    def out_bytes(self, data: bytes) -> None:
        """Write bytes to the caller's stdout."""
        if data:
            self._peer.send(wire.STDOUT, data)

    def err(self, text: str, end: str = "\n") -> None:
        """Write to the caller's stderr; a newline is added."""
        text = shown(text + end) if self.request.ttys[2] else text + end
        self._peer.send(wire.STDERR, text.encode("utf-8", "surrogateescape"))

    def draw(self, text: str) -> None:
        """Send text with control sequences to the caller's terminal."""
        self._peer.send(wire.STDERR, text.encode("utf-8", "surrogateescape"))

    def error(self, text: str) -> None:
        """``COMMAND: error: text`` on the caller's stderr."""
        self.err(f"{self.command}: error: {text}")

    def info(self, text: str) -> None:
        """``COMMAND: text`` on the caller's stderr."""
        self.err(f"{self.command}: {text}")

    async def drain(self) -> None:
        """Wait until a slow reader has caught up."""
        await self._peer.drain()

    def handle_signals(self) -> None:
        """Receive the caller's signals as frames from now on."""
        self._peer.send(wire.HANDLE_SIGNALS)

    def resume_with(self, variable: str) -> None:
        """Make the caller repeat its request if this controller exits.

        The request is repeated with the variable ``K=V``; "": it is not repeated.
        """
        self._peer.send(wire.RESUME, _bytes(variable))

    def spawn(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """Run a program in the caller's terminal. A CHILD_STATUS frame reports its exit status."""
        self._peer.send(wire.SPAWN, _program(argv, env))

    def become(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """Replace the caller's process with a program. Later frames are lost."""
        self._peer.send(wire.BECOME, _program(argv, env))

    def signal_child(self, number: int) -> None:
        """Forward a signal to the spawned program."""
        self._peer.send(wire.CHILD_SIGNAL, str(number).encode())

    def redirect(self, address: str, env: Mapping[str, str]) -> None:
        """Connect the caller to an agent. A SESSION_EXIT frame reports the exit code."""
        fields = [_bytes(address), *(_bytes(f"{key}={value}") for key, value in env.items())]
        self._peer.send(wire.REDIRECT, wire.encode_list(fields))

    # --- what the caller sends

    def feed(self, frame: wire.Frame | None) -> None:
        """Queue a frame of the client; None: the connection is closed."""
        self._frames.put_nowait(frame)
        if frame is None and not self.gone.done():
            self.gone.set_result(None)

    async def frame(self) -> wire.Frame:
        """The next frame of the caller. Raises CallerGone."""
        if self._returned:
            return self._returned.pop(0)
        frame = await self._frames.get()
        if frame is None:
            self._frames.put_nowait(None)
            raise CallerGone
        return frame

    def give_back(self, frame: asyncio.Future[wire.Frame]) -> None:
        """Cancel a wait for ``frame()``, and keep a frame that has arrived."""
        if frame.done() and not frame.cancelled() and frame.exception() is None:
            self._returned.append(frame.result())
        else:
            frame.cancel()

    async def read_file(self, paths: Sequence[str], limit: int) -> tuple[int, int, bytes]:
        """Read the first of these files that the caller's process can open.

        Return the file's index, errno or 0, and the bytes.
        """
        self._peer.send(wire.READ_FILE, wire.encode_list([str(limit).encode(), *map(_bytes, paths)]))
        while True:
            frame = await self.frame()
            if frame.kind == wire.FILE:
                index, number, data = wire.decode_list(frame.payload)
                return int(index), int(number), data

    async def read_line(self) -> str:
        """One line of the caller's stdin; "" at its end."""
        while b"\n" not in self._stdin and not self._stdin_ended:
            if not self._granted:
                self._peer.send(wire.GRANT, str(STDIN_WINDOW).encode())
                self._granted = True
            frame = await self.frame()
            if frame.kind == wire.STDIN:
                self._stdin += frame.payload
                self._peer.send(wire.GRANT, str(len(frame.payload)).encode())
            elif frame.kind == wire.STDIN_EOF:
                self._stdin_ended = True
        line, newline, self._stdin = self._stdin.partition(b"\n")
        return (line + newline).decode("utf-8", "surrogateescape")

    async def read_stdin(self, limit: int) -> bytes:
        """All of the caller's stdin, at most about ``limit`` bytes."""
        data = bytearray()
        self._peer.send(wire.GRANT, str(STDIN_WINDOW).encode())
        while len(data) <= limit:
            frame = await self.frame()
            if frame.kind == wire.STDIN:
                data += frame.payload
                self._peer.send(wire.GRANT, str(len(frame.payload)).encode())
            elif frame.kind == wire.STDIN_EOF:
                break
        return bytes(data)


def _program(argv: Sequence[str], env: Mapping[str, str]) -> bytes:
    return wire.encode_list(
        [
            str(len(argv)).encode(),
            *(_bytes(word) for word in argv),
            *(_bytes(f"{key}={value}") for key, value in env.items()),
        ]
    )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def call(command: Callable[[CommandContext], int | Awaitable[int]], context: CommandContext) -> int | Awaitable[int]:
    """Run a command. One that changes jobs or nodes waits until the agents have dropped all followers."""
    followers = context.controller.followers
    if not followers.must_drop(context.command, context.args):
        return command(context)

    async def alone() -> int:
        async with followers.all_dropped():
            answer = command(context)
            return answer if isinstance(answer, int) else await answer

    return alone()
