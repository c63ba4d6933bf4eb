"""The client on a terminal: raw mode, sizes, Ctrl-C and Ctrl-Z."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
from polling import wait_for
from thin_client import WAIT_S, Peer, Server, argv, catches, child_named, resize, spawn_frame

from slurmsky.protocol import wire


class OnTerminal:
    """A client that leads a session on a separate pseudo terminal."""

    def __init__(self, tmp_path: Path, *command: str) -> None:
        self.master, self._slave = os.openpty()
        self._process = subprocess.Popen(
            ["setsid", "--ctty", *argv(*command)],
            env={"SLURMSKY_HOME": str(tmp_path), "PATH": os.environ["PATH"]},
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
        )

    def raw(self) -> bool:
        return not termios.tcgetattr(self._slave)[3] & termios.ICANON

    def wait(self) -> int:
        return self._process.wait(WAIT_S)

    def shown(self) -> bytes:
        """The whole output, once the client has ended."""
        os.close(self._slave)
        shown = b""
        while True:
            try:
                shown += os.read(self.master, 65536)
            except OSError as error:
                assert error.errno == errno.EIO  # the end, as Linux has it
                os.close(self.master)
                return shown


@pytest.mark.parametrize("end", ["exit", "off", "lost", "SIGTERM", "SIGTERM handled"])
def test_raw_mode_and_its_end(serve: Callable[..., Server], tmp_path: Path, end: str) -> None:
    def play(peer: Peer) -> None:
        pid = peer.request().pid
        if end == "SIGTERM handled":
            peer.send(wire.HANDLE_SIGNALS)
        peer.send(wire.TTY, b"1")
        peer.send(wire.GRANT, b"100")
        peer.send(wire.STDOUT, b"?")
        wait_for(terminal.raw)
        if end == "SIGTERM handled":
            wait_for(lambda: catches(pid, signal.SIGTERM))
        os.write(terminal.master, b"\x03\r")  # neither a signal nor a newline in raw mode
        assert peer.expect(wire.STDIN) == b"\x03\r"
        if end == "SIGTERM":
            os.kill(pid, signal.SIGTERM)
            peer.receive()
        elif end == "SIGTERM handled":
            os.kill(pid, signal.SIGTERM)
            assert peer.expect(wire.SIGNAL) == b"15"
        elif end == "off":
            peer.send(wire.TTY, b"0")
            peer.send(wire.STDOUT, b"!")
            wait_for(lambda: not terminal.raw())
        if end not in ("lost", "SIGTERM"):
            peer.exit(2)

    server = serve(play)
    terminal = OnTerminal(tmp_path, "srun", "--pty", "sh")
    code = terminal.wait()
    left_raw = terminal.raw()
    terminal.shown()
    server.finish()
    assert not left_raw
    assert code == {"SIGTERM": -signal.SIGTERM, "lost": 1}.get(end, 2)


def test_a_resized_terminal_is_reported(serve: Callable[..., Server], tmp_path: Path) -> None:
    def play(peer: Peer) -> None:
        pid = peer.request().pid
        peer.send(wire.HANDLE_SIGNALS)
        peer.send(wire.STDOUT, b"ready\n")
        wait_for(lambda: catches(pid, signal.SIGWINCH))
        resize(terminal.master, 50, 200)
        assert peer.expect(wire.WINSIZE) == b"50x200"
        peer.exit()

    serve(play)
    terminal = OnTerminal(tmp_path, "srun")
    assert (terminal.wait(), terminal.shown()) == (0, b"ready\r\n")


def test_a_spawned_program_gets_the_terminal_until_its_end(serve: Callable[..., Server], tmp_path: Path) -> None:
    asks = "import os; print('foreground', os.tcgetpgrp(0) == os.getpgrp() == os.getpid())"

    def play(peer: Peer) -> None:
        peer.request()
        peer.send(wire.SPAWN, spawn_frame([sys.executable, "-c", asks]))
        assert peer.expect(wire.CHILD_STATUS) == b"0"
        peer.send(wire.GRANT, b"10")  # reading from the background would stop the client
        os.write(terminal.master, b"me\n")
        peer.expect(wire.STDIN)
        peer.exit()

    serve(play)
    terminal = OnTerminal(tmp_path, "salloc")
    assert terminal.wait() == 0
    assert b"foreground True\r\n" in terminal.shown()


def test_ctrl_c_reaches_the_spawned_program_only(serve: Callable[..., Server], tmp_path: Path) -> None:
    def play(peer: Peer) -> None:
        pid = peer.request().pid
        peer.send(wire.HANDLE_SIGNALS)
        peer.send(wire.SPAWN, spawn_frame(["sleep", "30"]))
        child_named(pid, "sleep")
        os.write(terminal.master, b"\x03")
        assert peer.expect(wire.CHILD_STATUS) == b"-2"
        peer.exit(0)

    serve(play)
    terminal = OnTerminal(tmp_path, "salloc", "sleep", "30")
    assert terminal.wait() == 0
    terminal.shown()


def state(pid: int) -> str:
    """The letter that ps prints: T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


def wait_for_state(pid: int, letters: str) -> None:
    wait_for(lambda: state(pid) in letters)


def test_ctrl_z_stops_both_and_they_continue_together(serve: Callable[..., Server], tmp_path: Path) -> None:
    def play(peer: Peer) -> None:
        pid = peer.request().pid
        peer.send(wire.SPAWN, spawn_frame(["sleep", "30"]))
        child = child_named(pid, "sleep")
        os.write(terminal.master, b"\x1a")
        wait_for_state(pid, "T")
        assert state(child) == "T"
        os.kill(pid, signal.SIGCONT)
        wait_for_state(child, "SR")
        os.write(terminal.master, b"\x03")  # it has the terminal again
        assert peer.expect(wire.CHILD_STATUS) == b"-2"
        peer.exit(0)

    serve(play)
    terminal = OnTerminal(tmp_path, "salloc", "sleep", "30")
    assert terminal.wait() == 0
    terminal.shown()
