"""The thin client as a real process, and a server that speaks slurmsky.protocol.wire."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from pathlib import Path

from polling import PATIENCE_S, wait_for

from slurmsky import client
from slurmsky.protocol import wire

ROOT = Path(client.__file__).parents[1]
WAIT_S = PATIENCE_S


class Peer:
    """The server's side of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._reader = wire.FrameReader()
        self._frames: list[wire.Frame] = []

    def receive(self) -> wire.Frame | None:
        """The next frame; None: the client has closed."""
        while not self._frames:
            data = self.sock.recv(1 << 16)
            if not data:
                return None
            self._frames.extend(self._reader.feed(data))
        return self._frames.pop(0)

    def expect(self, kind: bytes) -> bytes:
        frame = self.receive()
        assert frame is not None, f"closed instead of {kind!r}"
        assert frame.kind == kind
        return frame.payload

    def request(self) -> wire.CommandRequest:
        return wire.CommandRequest.from_payload(self.expect(wire.REQUEST))

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        self.sock.sendall(wire.encode(kind, payload))

    def exit(self, code: int = 0) -> None:
        self.sock.sendall(wire.encode_int(wire.EXIT, code))


class Server:
    """Listens on a unix socket; the next function of `plays` serves each connection."""

    def __init__(self, path: Path, *plays: Callable[[Peer], object]) -> None:
        self.path = path
        self.error: BaseException | None = None
        self._listener = socket.socket(socket.AF_UNIX)
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path.parent, os.O_RDONLY)
        self._listener.bind(f"/proc/self/fd/{fd}/{path.name}")  # so that the path may be long
        os.close(fd)
        self._listener.listen()
        self._listener.settimeout(WAIT_S)
        self._threads = [threading.Thread(target=self._play, args=(plays,), daemon=True)]
        self._threads[0].start()

    def _play(self, plays: tuple[Callable[[Peer], object], ...]) -> None:
        for play in plays:
            sock, _ = self._listener.accept()
            sock.settimeout(WAIT_S)
            thread = threading.Thread(target=self._one, args=(play, sock), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _one(self, play: Callable[[Peer], object], sock: socket.socket) -> None:
        try:
            with sock:
                play(Peer(sock))
        except BaseException as error:
            self.error = error

    def finish(self) -> None:
        for thread in self._threads:
            thread.join(WAIT_S)
        self._listener.close()
        if self.error is not None:
            raise self.error


def argv(command: str, *args: str, root: Path = ROOT) -> list[str]:
    return [sys.executable, "-I", "-S", str(root / "slurmsky" / "client.py"), str(root), command, *args]


def call(tmp_path: Path, *command: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    env = {"SLURMSKY_HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    env |= options.pop("env", {})  # type: ignore[arg-type]
    settings: dict[str, object] = {"stdin": subprocess.DEVNULL, "capture_output": True, "timeout": WAIT_S}
    if "input" in options:
        del settings["stdin"]
    return subprocess.run(argv(*command), env=env, **(settings | options))  # type: ignore[call-overload,no-any-return]


def catches(pid: int, number: int) -> bool:
    """Whether the process has a handler for this signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(mask, 16) >> (number - 1) & 1)


def running(pid: int) -> list[tuple[int, str]]:
    """The children of a process, each with the name of its program."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [(int(child), Path(f"/proc/{child}/comm").read_text().strip()) for child in children]


def child_named(pid: int, name: str) -> int:
    """Wait for the child that runs this program."""
    wait_for(lambda: name in dict(map(reversed, running(pid))))
    return next(child for child, program in running(pid) if program == name)


def resize(fd: int, rows: int, columns: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def spawn_frame(args: list[str], env: dict[str, str] | None = None) -> bytes:
    variables = {"PATH": os.environ["PATH"]} | (env or {})
    fields = [b"%d" % len(args), *map(os.fsencode, args)]
    return wire.encode_list([*fields, *(os.fsencode(f"{k}={v}") for k, v in variables.items())])
