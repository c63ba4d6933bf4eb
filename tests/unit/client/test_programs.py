"""Programs that the client runs or becomes, and redirected sessions."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from polling import wait_for
from thin_client import WAIT_S, Peer, Server, call, child_named, running, spawn_frame

from slurmsky.protocol import wire

# Programs in the caller's terminal


@pytest.mark.parametrize(
    ("args", "status"),
    [
        (["true"], b"0"),
        (["sh", "-c", "exit 7"], b"7"),
        (["sh", "-c", "kill -KILL $$"], b"-9"),
        (["no-such-program"], b"127 ENOENT No such file or directory"),
        (["/no/such"], b"127 ENOENT No such file or directory"),
        (["/etc/passwd"], b"127 EACCES Permission denied"),
    ],
)
def test_spawned_program_and_its_status(
    serve: Callable[..., Server], tmp_path: Path, args: list[str], status: bytes
) -> None:
    got: list[bytes] = []

    def play(peer: Peer) -> None:
        peer.request()
        peer.send(wire.SPAWN, spawn_frame(args))
        got.append(peer.expect(wire.CHILD_STATUS))
        peer.exit()

    serve(play)
    assert call(tmp_path, "salloc").returncode == 0
    assert got == [status]


def test_spawned_program_has_its_environment_and_our_stdio(serve: Callable[..., Server], tmp_path: Path) -> None:
    def play(peer: Peer) -> None:
        peer.request()
        peer.send(wire.HANDLE_SIGNALS)
        script = 'cat; echo "$SLURM_JOB_ID ${SLURMSKY_HOME-unset}"; kill -PIPE $$'
        peer.send(wire.SPAWN, spawn_frame(["sh", "-c", script], {"SLURM_JOB_ID": "12"}))
        assert peer.expect(wire.CHILD_STATUS) == b"-13"  # and not with SIGPIPE ignored, as Python has it
        peer.exit()

    serve(play)
    assert call(tmp_path, "salloc", input=b"typed\n").stdout == b"typed\n12 unset\n"


def test_a_signal_for_the_spawned_program_and_its_group(serve: Callable[..., Server], tmp_path: Path) -> None:
    def play(peer: Peer) -> None:
        pid = peer.request().pid
        peer.send(wire.SPAWN, spawn_frame(["sh", "-c", "echo up; sleep 30 | sleep 30; exit 1"]))
        shell = child_named(pid, "sh")
        wait_for(lambda: [name for _, name in running(shell)] == ["sleep", "sleep"])
        os.kill(pid, signal.SIGINT)  # Ctrl-C is the program's business while it has the terminal
        peer.send(wire.CHILD_SIGNAL, b"15")
        assert peer.expect(wire.CHILD_STATUS) == b"-15"
        peer.exit(0)

    serve(play)
    done = call(tmp_path, "salloc")  # returns only when both sleeps, which hold stdout, have ended
    assert (done.returncode, done.stdout) == (0, b"up\n")


# Redirected sessions


@pytest.mark.parametrize("ending", ["exit 7", "kill -PIPE $$"])
def test_the_client_becomes_a_program(
    serve: Callable[..., Server], started: Callable[..., subprocess.Popen[bytes]], ending: str
) -> None:
    """The program has the client's pid, and its children remain."""
    got: list[int] = []

    def play(peer: Peer) -> None:
        got.append(peer.request().pid)
        script = f"cat; echo $$ $SLURM_JOB_ID; {ending}"
        peer.send(wire.BECOME, spawn_frame(["sh", "-c", script], {"SLURM_JOB_ID": "12"}))
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # closed before, or with this unread
            peer.exit(3)
            assert peer.receive() is None

    serve(play)
    process = started("slurmsky", "top", stdin=subprocess.PIPE)
    out, _ = process.communicate(b"typed ", timeout=WAIT_S)
    assert out == b"typed %d 12\n" % process.pid
    assert got == [process.pid]
    assert process.returncode == (7 if ending == "exit 7" else -signal.SIGPIPE)


def test_a_program_that_cannot_be_executed(serve: Callable[..., Server], tmp_path: Path) -> None:
    def play(peer: Peer) -> None:
        peer.request()
        peer.send(wire.BECOME, spawn_frame(["/no/such"]))
        assert peer.receive() is None

    serve(play)
    done = call(tmp_path, "slurmsky", "top")
    assert (done.returncode, done.stderr) == (127, b"slurmsky: error: /no/such: No such file or directory\n")


def redirect_frame(path: Path, *extra: str) -> bytes:
    return wire.encode_list([os.fsencode(path), *map(os.fsencode, extra)])


def test_a_redirected_session(serve: Callable[..., Server], tmp_path: Path) -> None:
    other = tmp_path / "agent" / "a.sock"

    def first(peer: Peer) -> None:
        peer.request()
        peer.send(wire.STDERR, b"srun: job 1 queued\n")
        peer.send(wire.REDIRECT, redirect_frame(other, "SLURM_JOB_ID=1", "OLD=new"))
        assert peer.expect(wire.SESSION_EXIT) == b"3"
        peer.send(wire.STDERR, b"relinquished\n")
        peer.exit(9)

    def second(peer: Peer) -> None:
        request = peer.request()
        assert (request.command, request.args) == ("srun", ("-n2", "cat"))
        assert (request.env["SLURM_JOB_ID"], request.env["OLD"]) == ("1", "new")
        peer.send(wire.GRANT, b"100")
        peer.send(wire.STDOUT, peer.expect(wire.STDIN))
        peer.exit(3)

    serve(first)
    serve(second, path=other)
    done = call(tmp_path, "srun", "-n2", "cat", input=b"hello\n", env={"OLD": "old"})
    assert (done.returncode, done.stdout, done.stderr) == (
        9,
        b"hello\n",
        b"srun: job 1 queued\nrelinquished\n",
    )


def test_a_redirected_session_that_dies_or_is_missing(serve: Callable[..., Server], tmp_path: Path) -> None:
    other = tmp_path / "agent" / "a.sock"

    def first(peer: Peer) -> None:
        peer.request()
        peer.send(wire.REDIRECT, redirect_frame(other))
        assert int(peer.expect(wire.SESSION_EXIT)) == wire.SESSION_LOST
        peer.send(wire.REDIRECT, redirect_frame(tmp_path / "nowhere.sock"))
        assert int(peer.expect(wire.SESSION_EXIT)) == wire.SESSION_LOST
        peer.exit(1)

    serve(first)
    serve(lambda peer: peer.request(), path=other)
    done = call(tmp_path, "srun")
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_redirected_session_outlives_the_controller(serve: Callable[..., Server], tmp_path: Path) -> None:
    other = tmp_path / "agent" / "a.sock"
    died = threading.Event()

    def first(peer: Peer) -> None:
        peer.request()
        peer.send(wire.REDIRECT, redirect_frame(other))
        time.sleep(0.2)
        peer.sock.close()
        died.set()

    def second(peer: Peer) -> None:
        peer.request()
        assert died.wait(WAIT_S)
        time.sleep(0.1)
        peer.send(wire.STDOUT, b"still here\n")
        peer.exit(7)

    serve(first)
    serve(second, path=other)
    done = call(tmp_path, "srun")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"still here\n", b"")
