"""Connections between the controller and a job's first node: certificates, relays, proxy sockets."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parent))
from slurmsky.agent.net import endpoints
from slurmsky.engines.relay.head_connection import HeadUnreachable, Line, open_line
from slurmsky.engines.relay.proxy_socket import ProxySocket
from slurmsky.engines.relay.relay_client import keep_parked
from slurmsky.engines.sky.head import certificates


def test_only_a_jobs_own_certificates_are_accepted(tmp_path):
    for name in ("mine", "other"):
        certificates.make(tmp_path / name, name)

    def contexts(name):
        return endpoints.tls_contexts(*(str(tmp_path / name / part) for part in ("node.crt", "node.key", "ca.crt")))

    async def connects(client):
        server = await asyncio.start_server(hello, "127.0.0.1", 0, ssl=contexts("mine")[0])
        port = server.sockets[0].getsockname()[1]
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="x")
        except OSError:
            return False
        finally:
            server.close()
        try:
            return await reader.read(2) == b"hi"
        except OSError:
            return False
        finally:
            writer.close()

    async def hello(reader, writer):
        writer.write(b"hi")
        writer.close()

    assert asyncio.run(connects(contexts("mine")[1]))
    assert not asyncio.run(connects(contexts("other")[1]))


def test_unfinished_connections_are_closed_with_the_loop(tmp_path):
    """A controller that exits has an idle connection to each job's node; a TLS shutdown would wait for each peer."""
    certificates.make(tmp_path / "tls", "job")

    async def welcomed(reader, writer):
        await reader.readline()
        writer.write(b"{}\n")
        await reader.read()
        writer.close()

    async def parked():
        own = [str(tmp_path / "tls" / part) for part in ("node.crt", "node.key", "ca.crt")]
        server = await asyncio.start_server(welcomed, "127.0.0.1", 0, ssl=endpoints.tls_contexts(*own)[0])
        port = server.sockets[0].getsockname()[1]
        opened = asyncio.Event()
        sockets = []

        async def open_one(hello):
            line = await open_line(f"127.0.0.1:{port}", tmp_path / "tls", hello)
            sockets.append(line[1].get_extra_info("socket"))
            opened.set()
            return line

        task = asyncio.ensure_future(keep_parked(open_one, tmp_path / "none"))
        await opened.wait()
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0)  # as much as asyncio.run() leaves to what was begun
        server.close()
        return [left.fileno() for left in sockets]

    assert asyncio.run(parked()) == [-1]


def test_a_session_that_is_cancelled_before_it_reaches_the_controller_closes_its_connection(tmp_path, monkeypatch):
    aborted = []

    async def never(*_):
        await asyncio.Event().wait()

    async def cancelled():
        request = asyncio.StreamReader()
        request.feed_data(b"request")
        writer = SimpleNamespace(transport=SimpleNamespace(abort=lambda: aborted.append("request")))
        lines = [(request, writer)]

        async def open_one(hello):
            return lines.pop() if lines else await never()

        task = asyncio.ensure_future(keep_parked(open_one, tmp_path / "none"))
        while lines:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0.01)

    monkeypatch.setattr(asyncio, "open_unix_connection", never)
    asyncio.run(cancelled())
    assert aborted == ["request"]


def test_a_proxy_socket_that_is_closed_while_it_opens_leaves_nothing_behind(tmp_path: Path) -> None:
    """A socket closed without the loop's knowledge would close the next connection with its descriptor number, too."""

    async def open_one(_hello: dict[str, object]) -> Line:
        raise HeadUnreachable("no answer")

    async def play() -> None:
        loop = asyncio.get_running_loop()
        watched = loop._selector.get_map()  # type: ignore[attr-defined]
        before = set(watched)
        opening = asyncio.ensure_future(ProxySocket(tmp_path / "door.sock", open_one, tmp_path / "none").open())
        while set(watched) == before:
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        assert set(watched) == before

    asyncio.run(play())
