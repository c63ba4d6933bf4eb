"""Runs commands in a controller of this process, without a socket."""

from __future__ import annotations

import os
from pathlib import Path

from slurmsky import client
from slurmsky.commands import find
from slurmsky.controller.app import Controller
from slurmsky.controller.command_context import CommandContext, call
from slurmsky.protocol import wire


class Peer:
    """A caller that stores the frames that it receives."""

    context: CommandContext

    def __init__(self) -> None:
        self.received = {wire.STDOUT: "", wire.STDERR: ""}

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        if kind in self.received:
            self.received[kind] += payload.decode()
        elif kind == wire.READ_FILE:
            for frame in wire.FrameReader().feed(client.read_file(memoryview(payload))):
                self.context.feed(frame)

    async def drain(self) -> None:
        pass


class ControllerInProcess:
    """Runs commands; ``run`` takes a user's command line, ``work`` is the current folder."""

    queue: Controller
    work: Path

    async def run(self, *words: str, typed: str | None = None) -> tuple[int, str, str]:
        """The exit code, stdout and stderr of a command; ``typed``: its stdin."""
        peer = Peer()
        request = wire.CommandRequest(words[0], words[1:], str(self.work), 0o022, (False,) * 3, None, os.getpid(), {})
        main = find(words[0])
        assert main is not None
        context = peer.context = CommandContext(request, self.queue, peer)
        if typed is not None:
            context.feed(wire.Frame(wire.STDIN, typed.encode()))
            context.feed(wire.Frame(wire.STDIN_EOF, b""))
        code = call(main, context)
        if not isinstance(code, int):
            code = await code
        self.queue.flush()
        return code, peer.received[wire.STDOUT], peer.received[wire.STDERR]

    async def out(self, *words: str) -> str:
        code, out, err = await self.run(*words)
        assert (code, err) == (0, ""), (words, err)
        return out
