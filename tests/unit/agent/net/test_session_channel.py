"""Sessions survive cut connections, and end with those that the client closes."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from polling import PATIENCE_S

from slurmsky.agent.net import endpoints, session_channel
from slurmsky.agent.net.channel import Channel
from slurmsky.agent.net.event_loop import Loop
from slurmsky.agent.net.session_channel import SessionChannel
from slurmsky.agent.net.tls_channel import accept
from slurmsky.engines.sky.head import certificates
from slurmsky.protocol import wire


class World:
    """A loop with sessions, and clients that connect to it."""

    def __init__(self, folder: Path) -> None:
        names = ("node.crt", "node.key", "ca.crt")
        self.server, self.client = endpoints.tls_contexts(*(str(folder / name) for name in names))
        self.loop = Loop()
        self.sessions: session_channel.Sessions = {}
        self._clients: list[ssl.SSLSocket] = []

    def connect(self) -> tuple[SessionChannel, ssl.SSLSocket]:
        """One connection: the agent's channel and the client's end."""
        here, there = _tcp_pair()
        found: list[Channel] = []
        accept(self.loop, there, self.server, found.append, SessionChannel)
        made: list[ssl.SSLSocket] = []
        thread = threading.Thread(target=lambda: made.append(self.client.wrap_socket(here, server_hostname="node")))
        thread.start()
        self.until(lambda: bool(found))
        thread.join()
        channel = found[0]
        assert isinstance(channel, SessionChannel)
        self._clients += made
        return channel, made[0]

    def close(self) -> None:
        """Close all connections."""
        for channel in list(self.sessions.values()):
            channel.close(at_once=True)
        for client in self._clients:
            client.close()

    def until(self, condition: Callable[[], bool]) -> None:
        """Run the loop until the condition holds."""
        deadline = time.monotonic() + PATIENCE_S

        def check() -> None:
            assert time.monotonic() < deadline
            if condition():
                self.loop.stop()
            else:
                self.loop.after(0.005, check)

        self.loop.after(0, check)
        self.loop.run()
        assert condition()

    def received(self, sock: ssl.SSLSocket, count: int) -> bytes:
        """Read this number of bytes at the client."""
        data = bytearray()
        thread = threading.Thread(target=_read, args=(sock, count, data))
        thread.start()
        self.until(lambda: len(data) == count)
        thread.join()
        return bytes(data)


def _read(sock: ssl.SSLSocket, count: int, data: bytearray) -> None:
    while len(data) < count:
        data += sock.recv(count - len(data))


def _tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = socket.create_connection(listener.getsockname())
        return here, listener.accept()[0]


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with certificates."""
    folder = tmp_path_factory.mktemp("tls")
    certificates.make(folder, "test")
    return folder


@pytest.fixture
def world(tls: Path) -> Iterator[World]:
    world = World(tls)
    yield world
    world.close()


def begun(world: World) -> tuple[SessionChannel, ssl.SSLSocket, list[str]]:
    """A session, its client, and a list that names its end."""
    channel, client = world.connect()
    ended: list[str] = []
    channel.on_close = lambda: ended.append("closed")
    channel.begin(world.sessions)
    return channel, client, ended


def test_unacknowledged_bytes_are_sent_again(world: World) -> None:
    channel, client, ended = begun(world)
    (token,) = world.sessions
    stream = wire.encode(wire.SESSION, token) + wire.encode(wire.STDOUT, b"a" * 100_000)
    channel.send(wire.STDOUT, b"a" * 100_000)
    assert world.received(client, len(stream)) == stream
    taken = 50_000
    client.sendall(wire.encode(wire.ACK, b"40000"))
    client.sendall(wire.encode(wire.STDIN, b"typed"))
    frames: list[tuple[bytes, bytes]] = []
    channel.on_frame = lambda kind, payload: frames.append((kind, payload))
    world.until(lambda: frames == [(wire.STDIN, b"typed")])
    cut(client)
    world.until(lambda: channel._parted)
    channel.send(wire.STDOUT, b"meanwhile")
    again, client = world.connect()
    channel.rejoin(again, taken)
    count = len(wire.encode(wire.ACK, b"40000") + wire.encode(wire.STDIN, b"typed"))
    answer = wire.encode(wire.SESSION, b"%d" % count)
    expected = answer + (stream + wire.encode(wire.STDOUT, b"meanwhile"))[taken:]
    assert world.received(client, len(expected)) == expected
    assert ended == []


def _close(client: ssl.SSLSocket) -> None:
    with contextlib.suppress(OSError):  # the agent may close before it has answered
        client.unwrap()


def cut(client: ssl.SSLSocket) -> None:
    """Close the connection as the kernel does for a killed process."""
    socket.socket(fileno=client.detach()).close()


def test_a_client_that_closes_ends_its_session(world: World) -> None:
    _, client, ended = begun(world)
    closing = threading.Thread(target=lambda: _close(client))
    closing.start()
    world.until(lambda: ended == ["closed"])
    closing.join()
    assert world.sessions == {}


def test_a_client_that_does_not_reconnect_ends_its_session(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_channel, "KEPT_S", 0.01)
    _, client, ended = begun(world)
    cut(client)
    world.until(lambda: ended == ["closed"])
    assert world.sessions == {}


def test_an_exit_code_is_kept_until_the_client_has_it(world: World) -> None:
    channel, client, ended = begun(world)
    (token,) = world.sessions
    channel.send(wire.EXIT, b"3")
    channel.close()
    cut(client)
    world.until(lambda: channel._parted)
    assert ended == []
    again, client = world.connect()
    channel.rejoin(again, 0)
    stream = wire.encode(wire.SESSION, token) + wire.encode(wire.EXIT, b"3")
    expected = wire.encode(wire.SESSION, b"0") + stream
    assert world.received(client, len(expected)) == expected
    client.sendall(wire.encode(wire.ACK, b"%d" % len(stream)))
    world.until(lambda: ended == ["closed"])


def test_a_producer_pauses_while_there_is_no_client(world: World) -> None:
    channel, client, _ = begun(world)
    cut(client)
    world.until(lambda: channel._parted)
    for _ in range(3):
        channel.send(wire.STDOUT, b"x" * (1 << 19))
    assert channel.full
    drained: list[bool] = []
    channel.on_drain = lambda: drained.append(True)
    again, client = world.connect()
    channel.rejoin(again, 0)
    world.received(client, 3 << 19)
    assert drained == [True] and not channel.full
