"""A local engine and a terminal emulator: `slurmsky top` as a user sees it and types at it."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyte
import pytest
from local_engine import BIN, LocalEngine, local_engine
from polling import PATIENCE_S

HERE = Path(__file__).parent

KEYS = {
    "up": "\x1b[A", "down": "\x1b[B", "pageup": "\x1b[5~", "pagedown": "\x1b[6~", "home": "\x1b[H", "end": "\x1b[F",
    "enter": "\r", "escape": "\x1b", "tab": "\t", "ctrl-c": "\x03", "ctrl-l": "\x0c",
}  # fmt: skip
# Requests to terminals of a later day that the emulator would print; a VT100 ignores them.
_LATER = re.compile(rb"\x1b\[[<>=][0-9;:]*[a-zA-Z]")


class Terminal:
    """A command on a pseudo-terminal, and the screen that it would show."""

    def __init__(self, argv: list[str], env: dict[str, str], cwd: Path, columns: int, rows: int) -> None:
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""  # everything that was written
        self._fed = 0
        self.master, slave = os.openpty()
        self._slave = slave  # kept open: its settings can be read after the end
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _ON_THE_TERMINAL, *argv], stdin=slave, stdout=slave, stderr=slave, env=env, cwd=cwd
        )  # fmt: skip

    def read(self, timeout_s: float) -> bool:
        """Read what the command has written; False: nothing within this time."""
        if not select.select([self.master], [], [], timeout_s)[0]:
            return False
        try:
            self.raw += os.read(self.master, 1 << 16)
        except OSError:
            return False  # closed at the other end
        whole = len(self.raw)
        cut = self.raw.rfind(b"\x1b", max(0, whole - 32))
        if cut >= self._fed and not re.match(rb"\x1b(\[[0-?]*[ -/]*[@-~]|[^[])", self.raw[cut:]):
            whole = cut  # a sequence that is not complete yet
        self._stream.feed(_LATER.sub(b"", self.raw[self._fed : whole]))
        self._fed = whole
        return True

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display)

    def until(self, seen: str | Callable[[str], object], what: str = "") -> str:
        """The screen, as soon as it contains this."""
        found = (lambda text: seen in text) if isinstance(seen, str) else seen
        deadline = time.monotonic() + PATIENCE_S
        while not found(self.text):
            if time.monotonic() > deadline:
                pytest.fail(f"not on the screen after {PATIENCE_S} s: {what or seen}\n{self.text}")
            self.read(0.2)
        return self.text

    def press(self, *keys: str) -> None:
        """Type keys, named or characters."""
        for key in keys:
            os.write(self.master, KEYS.get(key, key).encode())

    def line(self, word: str) -> str:
        """The first line of the screen that contains this."""
        return next((line for line in self.text.splitlines() if word in line), "")

    def end(self) -> int:
        """The command's exit code, after all of its output was read."""
        deadline = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            self.read(0.1)
            assert time.monotonic() < deadline, f"still there\n{self.text}"
        while self.read(0.1):
            pass
        return self.process.returncode

    def settings(self) -> list[object]:
        """The terminal's settings now."""
        return termios.tcgetattr(self._slave)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        os.close(self.master)
        os.close(self._slave)


# A session of its own whose terminal this is, as a login shell's.
_ON_THE_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture(scope="session")
def engine() -> Iterator[LocalEngine]:
    """One engine for all tests of the view; each test cleans up its jobs."""
    with local_engine(HERE / "site.toml", SLURMSKY_ENGINE="local") as found:
        yield found


@pytest.fixture
def queue(engine: LocalEngine) -> Iterator[LocalEngine]:
    """The engine with an empty queue before and after."""
    yield engine
    engine.run(["scancel", "--me"])
    deadline = time.monotonic() + PATIENCE_S
    while engine.run(["squeue", "-h"]).stdout:
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture
def top(queue: LocalEngine) -> Iterator[Callable[..., Terminal]]:
    """``top(80, 24)``: the view in a terminal of that size."""
    opened: list[Terminal] = []

    def start(columns: int = 80, rows: int = 24, before: tuple[str, ...] = (), **env: str) -> Terminal:
        whole = {**queue.env, "TERM": "xterm-256color", **env}
        argv = [*before, str(BIN / "slurmsky"), "top", "-i", "0.5"]
        terminal = Terminal(argv, whole, queue.root, columns, rows)
        opened.append(terminal)
        return terminal

    yield start
    for terminal in opened:
        terminal.close()
