"""A process of our own beside the agent."""

from __future__ import annotations

import os
import socket

from slurmsky.agent.net.event_loop import Loop
from slurmsky.agent.process.helper_process import Helper
from slurmsky.protocol import wire


def test_last_words_are_heard_before_the_end(loop: Loop) -> None:
    told: list[object] = []

    def ended() -> None:
        told.append("ended")
        loop.stop()

    Helper(loop, lambda sock: sock.sendall(wire.encode(wire.JSON, b'{"failed":"why"}')), told.append, ended)
    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)  # so that both are ready when the loop looks
    loop.run()
    assert told == [{"failed": "why"}, "ended"]


def test_only_the_socket_stays_open(loop: Loop) -> None:
    told: list[dict[str, object]] = []

    def serve(sock: socket.socket) -> None:
        highest = sorted(map(int, os.listdir("/proc/self/fd")))[-2]  # the last one lists them
        sock.sendall(wire.encode(wire.JSON, b'{"open":%d}' % highest))

    read, write = os.pipe()
    Helper(loop, serve, told.append, loop.stop)
    loop.run()
    os.close(read)
    os.close(write)
    assert told == [{"open": 3}]
