"""Sessions with a token continue over another connection, at the same byte."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from thin_client import WAIT_S, Peer, Server, call

from slurmsky.protocol import wire


def redirect_frame(path: Path, *extra: str) -> bytes:
    return wire.encode_list([os.fsencode(path), *map(os.fsencode, extra)])


def controller(node: Path) -> Callable[[Peer], None]:
    """A controller that redirects to a node and repeats its exit code."""

    def play(peer: Peer) -> None:
        peer.request()
        peer.send(wire.REDIRECT, redirect_frame(node, "SLURM_JOB_ID=4"))
        peer.exit(int(peer.expect(wire.SESSION_EXIT)))

    return play


def rejoined(peer: Peer, received: int) -> int:
    """Answer a client that reconnects; returns the number of bytes that it has received."""
    token, count = wire.decode_list(peer.expect(wire.SESSION))
    assert token == b"token"
    peer.send(wire.SESSION, b"%d" % received)
    return int(count)


def test_an_output_frame_that_was_cut_continues(serve: Callable[..., Server], tmp_path: Path) -> None:
    node = tmp_path / "doors" / "k1"
    head = wire.encode(wire.SESSION, b"token") + wire.encode(wire.STDOUT, b"one\n")
    frame = wire.encode(wire.STDOUT, b"0123456789")

    def first(peer: Peer) -> None:
        assert peer.request().env["SLURM_JOB_ID"] == "4"
        peer.sock.sendall(head + frame[:9])

    def second(peer: Peer) -> None:
        assert rejoined(peer, 0) == len(head) + 9
        rest = frame[9:] + wire.encode_int(wire.EXIT, 3)
        peer.sock.sendall(rest)
        assert int(peer.expect(wire.ACK)) == len(head) + 9 + len(rest)

    serve(controller(node))
    serve(first, second, path=node)
    done = call(tmp_path, "srun", "true")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"one\n0123456789", b"")


def test_input_and_signals_that_did_not_arrive_are_sent_again(
    serve: Callable[..., Server], started: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    node = tmp_path / "doors" / "k1"
    sent = wire.encode(wire.STDIN, b"12345") + wire.encode(wire.STDIN_EOF)

    def first(peer: Peer) -> None:
        peer.request()
        peer.send(wire.SESSION, b"token")
        peer.send(wire.HANDLE_SIGNALS)
        peer.send(wire.GRANT, b"100")
        assert peer.expect(wire.STDIN) == b"12345"
        peer.expect(wire.STDIN_EOF)

    def second(peer: Peer) -> None:
        rejoined(peer, wire.HEADER_SIZE + 5)  # only the first frame has arrived
        peer.expect(wire.STDIN_EOF)
        process.send_signal(signal.SIGINT)
        assert peer.expect(wire.SIGNAL) == b"2"

    def third(peer: Peer) -> None:
        rejoined(peer, len(sent))
        assert peer.expect(wire.SIGNAL) == b"2"
        peer.send(wire.ACK, b"%d" % (len(sent) + wire.HEADER_SIZE + 1))
        peer.exit(0)
        peer.expect(wire.ACK)

    serve(controller(node))
    serve(first, second, third, path=node)
    process = started("srun", "cat", stdin=subprocess.PIPE)
    out, err = process.communicate(b"12345", timeout=WAIT_S)
    assert (process.returncode, out, err) == (0, b"", b"")


def test_the_next_controller_finds_the_session(serve: Callable[..., Server], tmp_path: Path) -> None:
    """The client names the node and repeats the variables of its job."""
    node, moved = tmp_path / "doors" / "k1", tmp_path / "moved" / "k1"

    def first(peer: Peer) -> None:
        peer.request()
        peer.send(wire.SESSION, b"token")
        node.unlink()

    def successor(peer: Peer) -> None:
        env = peer.request().env
        assert (env["SLURMSKY_SESSION_NODE"], env["SLURM_JOB_ID"]) == ("k1", "4")
        peer.send(wire.REDIRECT, redirect_frame(moved))
        assert peer.expect(wire.SESSION_EXIT) == b"7"
        peer.exit(7)

    def again(peer: Peer) -> None:
        rejoined(peer, 0)
        peer.send(wire.STDOUT, b"late")
        peer.exit(7)
        peer.expect(wire.ACK)

    def leaves(peer: Peer) -> None:
        peer.request()
        peer.send(wire.REDIRECT, redirect_frame(node, "SLURM_JOB_ID=4"))
        assert peer.receive() is None

    serve(leaves, successor)
    serve(first, path=node)
    serve(again, path=moved)
    done = call(tmp_path, "srun", "true")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"late", b"")


def test_a_session_that_its_agent_does_not_know_is_lost(serve: Callable[..., Server], tmp_path: Path) -> None:
    node = tmp_path / "doors" / "k1"

    def first(peer: Peer) -> None:
        peer.request()
        peer.send(wire.SESSION, b"token")

    def other(peer: Peer) -> None:
        peer.expect(wire.SESSION)
        peer.exit(wire.SESSION_LOST)

    def control(peer: Peer) -> None:
        peer.request()
        peer.send(wire.REDIRECT, redirect_frame(node))
        assert int(peer.expect(wire.SESSION_EXIT)) == wire.SESSION_LOST
        peer.exit(1)

    serve(control)
    serve(first, other, path=node)
    assert call(tmp_path, "srun", "true").returncode == 1
