"""Parked connection at a warm node, for commands inside jobs."""

from __future__ import annotations

import asyncio

from polling import PATIENCE_S

from slurmsky.engines.nodes.node_sockets import NodeSockets
from slurmsky.engines.relay import relay_client


def test_commands_inside_jobs_are_answered_as_soon_as_the_node_is_connected_again(tmp_path, monkeypatch):
    monkeypatch.setattr(relay_client, "FIRST_RETRY_S", 60.0)

    async def what() -> None:
        attempts: asyncio.Queue[str] = asyncio.Queue()

        async def connect(node: str, role: str) -> tuple:
            attempts.put_nowait(role)
            raise OSError("no answer")

        sockets = NodeSockets(tmp_path / "doors", tmp_path / "controller", connect, lambda _, request: request)
        await sockets.open("n1")
        assert await asyncio.wait_for(attempts.get(), PATIENCE_S) == "desk"
        await sockets.open("n1")  # after a connection to the node is restored
        assert await asyncio.wait_for(attempts.get(), PATIENCE_S) == "desk"
        await asyncio.wait(sockets.close(), timeout=PATIENCE_S)

    asyncio.run(what())
