"""Relays commands of warm nodes, by a socket and a parked connection each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from ...protocol import wire
from ..base import background
from ..relay.proxy_socket import ProxySocket
from ..relay.relay_client import keep_parked
from .node_lines import Streams

Adapt = Callable[[str, wire.CommandRequest], wire.CommandRequest]


class NodeSockets:
    """Sockets and parked connections of warm nodes.

    ``connect(node, role)`` opens a connection to an agent; ``adapt`` rewrites a request for the node.
    """

    def __init__(
        self, folder: Path, controller: Path, connect: Callable[[str, str], Awaitable[Streams]], adapt: Adapt
    ) -> None:
        self._folder = folder
        self._controller = controller
        self._connect = connect
        self._adapt = adapt
        self._sockets: dict[str, ProxySocket] = {}
        self._parked: dict[str, asyncio.Task[None]] = {}
        self._reconnected: dict[str, asyncio.Event] = {}  # set when a node is connected again

    def path(self, node: str) -> Path:
        """Path of the socket that forwards to a node's agent."""
        return self._folder / node

    def has(self, node: str) -> bool:
        """True if the node's socket is open."""
        return node in self._sockets

    async def open(self, node: str) -> None:
        """Open the socket to a node's agent, and the node's relay.

        Commands inside jobs reach the controller through the relay.
        """
        if node in self._sockets:
            self._reconnected[node].set()
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

        async def to_agent(hello: dict[str, Any]) -> Streams:
            return await self._connect(node, hello["role"])

        async def to_relay(_hello: dict[str, Any]) -> Streams:
            return await self._connect(node, "desk")

        def adapt(request: wire.CommandRequest) -> wire.CommandRequest:
            return self._adapt(node, request)

        back = self._reconnected[node] = asyncio.Event()
        socket = ProxySocket(self.path(node), to_agent, self._controller, adapt=adapt, role="session")
        self._sockets[node] = socket
        await socket.open()
        self._parked[node] = background(keep_parked(to_relay, self._controller, back))

    def drop(self, node: str) -> None:
        """Close sockets and connections of a node that is lost or powers down."""
        parked = self._parked.pop(node, None)
        if parked is not None:
            parked.cancel()
        socket = self._sockets.pop(node, None)
        if socket is not None:
            socket.close()

    def close(self) -> list[asyncio.Task[None]]:
        """Close all sockets; return the cancelled tasks."""
        tasks = list(self._parked.values())
        for node in list(self._sockets):
            self.drop(node)
        return tasks
