"""The helper process of an agent."""

from __future__ import annotations

import os
import socket

from slurmsky.agent.net.event_loop import Loop
from slurmsky.agent.process.helper_process import Helper, send_to_agent
from slurmsky.protocol.mpi_messages import MpiMessage, ServerFailed

FAILED = ServerFailed(reason="why")


def test_the_last_message_is_read_before_the_end(loop: Loop) -> None:
    messages: list[object] = []

    def ended() -> None:
        messages.append("ended")
        loop.stop()

    Helper(loop, lambda sock: send_to_agent(sock, FAILED), MpiMessage, messages.append, ended)
    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)  # so that both are ready when the loop looks
    loop.run()
    assert messages == [FAILED, "ended"]


def test_only_the_socket_stays_open(loop: Loop) -> None:
    messages: list[MpiMessage] = []

    def serve(sock: socket.socket) -> None:
        highest = sorted(map(int, os.listdir("/proc/self/fd")))[-2]  # the last one lists them
        send_to_agent(sock, ServerFailed(reason=str(highest)))

    read, write = os.pipe()
    Helper(loop, serve, MpiMessage, messages.append, loop.stop)
    loop.run()
    os.close(read)
    os.close(write)
    assert messages == [ServerFailed(reason="3")]
