"""Output, standard input and signals of a command."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from polling import wait_for
from thin_client import WAIT_S, Peer, Server, argv, call, catches

from slurmsky.protocol import wire

# Output


@pytest.mark.parametrize("code", [0, 1, 137, 255])
def test_output_and_exit_code(serve: Callable[..., Server], tmp_path: Path, code: int) -> None:
    def play(peer: Peer) -> None:
        peer.request()
        peer.send(wire.STDOUT, b"out 1\n")
        peer.send(wire.STDERR, b"err\n")
        peer.send(wire.STDOUT)
        peer.send(wire.STDOUT, b"out 2\xff\n")
        peer.exit(code)

    serve(play)
    done = call(tmp_path, "squeue")
    assert (done.returncode, done.stdout, done.stderr) == (code, b"out 1\nout 2\xff\n", b"err\n")


@pytest.mark.parametrize("relayed", [False, True])
def test_bulk_output_in_frames_of_any_size(serve: Callable[..., Server], tmp_path: Path, relayed: bool) -> None:
    sizes = [0, 1, 4, 5, 65536, 262139, 262144, 262149, 3_000_000, 7]
    pieces = [bytes([65 + n % 26]) * size for n, size in enumerate(sizes)]

    def play(peer: Peer) -> None:
        peer.request()
        if relayed:
            peer.send(wire.HANDLE_SIGNALS)
        for piece in pieces:
            peer.send(wire.STDOUT, piece)
        peer.exit()

    serve(play)
    assert call(tmp_path, "srun").stdout == b"".join(pieces)


def test_frames_split_at_every_byte(serve: Callable[..., Server], tmp_path: Path) -> None:
    stream = wire.encode(wire.STDOUT, b"abc") + wire.encode(wire.HANDLE_SIGNALS) + wire.encode(wire.STDERR, b"de")

    def play(peer: Peer) -> None:
        peer.request()
        for byte in stream + wire.encode_int(wire.EXIT, 12):
            peer.sock.sendall(bytes([byte]))
            time.sleep(0.002)

    serve(play)
    done = call(tmp_path, "srun")
    assert (done.returncode, done.stdout, done.stderr) == (12, b"abc", b"de")


def test_a_slow_nonblocking_stdout_gets_everything(
    serve: Callable[..., Server], started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    data = os.urandom(1 << 20)

    def play(peer: Peer) -> None:
        peer.request()
        peer.send(wire.STDOUT, data)
        peer.exit()

    serve(play)
    read, write = os.pipe2(os.O_NONBLOCK)
    process = started("squeue", stdout=write)
    os.close(write)
    time.sleep(0.3)
    got = b""
    while select.select([read], [], [], WAIT_S)[0] and (piece := os.read(read, 65536)):
        got += piece
    os.close(read)
    assert got == data
    assert process.wait(WAIT_S) == 0


@pytest.mark.parametrize("relayed", [False, True])
def test_a_closed_pipe_ends_it_as_a_filter(
    serve: Callable[..., Server], started: Callable[..., subprocess.Popen[bytes]], relayed: bool
) -> None:
    def play(peer: Peer) -> None:
        peer.request()
        if relayed:
            peer.send(wire.HANDLE_SIGNALS)
        peer.send(wire.STDOUT, b"x" * 10)
        while peer.receive() is not None:
            pass

    serve(play)
    read, write = os.pipe()
    os.close(read)
    process = started("squeue", stdout=write)
    os.close(write)
    assert process.wait(WAIT_S) == -signal.SIGPIPE
    assert process.stderr is not None and process.stderr.read() == b""


def test_a_full_disk_is_one_line(serve: Callable[..., Server], tmp_path: Path) -> None:
    serve(lambda peer: (peer.request(), peer.send(wire.STDOUT, b"x"), peer.receive()))
    with open("/dev/full", "wb") as full:
        done = call(tmp_path, "squeue", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr == b"squeue: error: write error: No space left on device\n"


def test_a_closed_stdout_is_no_error(serve: Callable[..., Server], tmp_path: Path) -> None:
    serve(lambda peer: (peer.request(), peer.send(wire.STDOUT, b"x"), peer.exit()))
    line = ["sh", "-c", 'exec "$@" >&-', "sh", *argv("squeue")]
    env = {"SLURMSKY_HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    done = subprocess.run(line, env=env, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("relayed", [False, True])
def test_a_lost_controller_is_one_line(serve: Callable[..., Server], tmp_path: Path, relayed: bool) -> None:
    def play(peer: Peer) -> None:
        peer.request()
        if relayed:
            peer.send(wire.HANDLE_SIGNALS)
        peer.send(wire.STDOUT, b"half")

    serve(play)
    done = call(tmp_path, "sbatch")
    assert (done.returncode, done.stdout) == (1, b"half")
    assert done.stderr == b"sbatch: error: lost connection to the controller\n"


# Standard input


def test_stdin_goes_out_as_it_is_granted(serve: Callable[..., Server], tmp_path: Path) -> None:
    data = os.urandom(700_000)
    got: list[bytes] = []

    def play(peer: Peer) -> None:
        peer.request()
        grants = [10, 90, 300_000, 1_000_000]
        for grant in grants:
            peer.send(wire.GRANT, b"%d" % grant)
            while grant:
                frame = peer.receive()
                assert frame is not None
                if frame.kind == wire.STDIN_EOF:
                    peer.send(wire.STDOUT, b"EOF")
                    peer.exit()
                    return
                assert frame.kind == wire.STDIN
                assert 0 < len(frame.payload) <= grant
                grant -= len(frame.payload)
                got.append(frame.payload)

    serve(play)
    done = call(tmp_path, "sbatch", input=data)
    assert done.stdout == b"EOF"
    assert b"".join(got) == data


def test_stdin_is_not_read_without_a_grant(
    serve: Callable[..., Server], started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    serve(lambda peer: (peer.request(), peer.send(wire.HANDLE_SIGNALS), peer.exit()))
    read, write = os.pipe()
    os.write(write, b"for the next command\n")
    assert started("srun", stdin=read).wait(WAIT_S) == 0
    assert os.read(read, 100) == b"for the next command\n"
    os.close(read)
    os.close(write)


def test_a_closed_stdin_is_at_its_end(serve: Callable[..., Server], tmp_path: Path) -> None:
    serve(
        lambda peer: (
            peer.request(),
            peer.send(wire.GRANT, b"100"),
            peer.expect(wire.STDIN_EOF),
            peer.exit(4),
        )
    )
    line = ["sh", "-c", 'exec "$@" <&-', "sh", *argv("sbatch")]
    env = {"SLURMSKY_HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    assert subprocess.run(line, env=env).returncode == 4


# Signals


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_a_command_that_does_not_handle_them(
    serve: Callable[..., Server], started: Callable[..., subprocess.Popen[bytes]], signum: int
) -> None:
    waiting = threading.Event()
    serve(lambda peer: (peer.request(), waiting.set(), peer.receive()))
    process = started("squeue")
    assert waiting.wait(WAIT_S)
    process.send_signal(signum)
    assert process.wait(WAIT_S) == -signum
    assert process.stderr is not None and process.stderr.read() == b""


def test_signals_are_sent_once_the_command_handles_them(
    serve: Callable[..., Server], started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    signals = ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "CONT", "ALRM"]
    numbers = [getattr(signal, f"SIG{name}") for name in signals]

    def play(peer: Peer) -> None:
        pid = peer.request().pid
        peer.send(wire.HANDLE_SIGNALS)
        # The answer to a grant shows that the frame before it has been acted on.
        peer.send(wire.GRANT, b"1")
        peer.expect(wire.STDIN_EOF)
        for number in numbers:
            os.kill(pid, number)
            assert int(peer.expect(wire.SIGNAL)) == number
        peer.exit(130)

    serve(play)
    assert started("srun").wait(WAIT_S) == 130


def test_a_signal_is_reported_while_output_is_stuck(
    serve: Callable[..., Server], started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    def play(peer: Peer) -> None:
        pid = peer.request().pid
        peer.send(wire.HANDLE_SIGNALS)
        peer.send(wire.STDOUT, b"x" * 150_000)  # no reader: the pipe holds 65536
        wait_for(lambda: catches(pid, signal.SIGINT))
        os.kill(pid, signal.SIGINT)
        assert int(peer.expect(wire.SIGNAL)) == signal.SIGINT
        peer.exit()

    serve(play)
    process = started("srun")
    assert process.communicate(timeout=WAIT_S)[0] == b"x" * 150_000
