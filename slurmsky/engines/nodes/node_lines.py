"""Connections to the agents of warm nodes: mutual TLS, direct or through the provider's tunnel."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...protocol import wire
from ...protocol.messages import Hello
from ..base import EngineError
from ..powered import Order
from .provider import Provider, Tunnel

CONNECT_S = 5.0
TUNNEL_S = 20.0
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class ConnectionLost(EngineError):
    """A connection to a node broke. The node may be well, and the next connection may succeed."""


class AgentUnreachable(ConnectionLost):
    """The agent does not answer at any of its addresses."""


class NodeConnections:
    """Opens connections; remembers the method for each order. ``how``: auto, direct or ssh."""

    def __init__(self, provider: Provider, how: str) -> None:
        self._provider = provider
        self._how = how
        self._contexts: dict[Path, ssl.SSLContext] = {}
        self._tunnels: dict[tuple[str, str], Tunnel] = {}
        self._tunnelled: set[str] = set()  # orders that need a tunnel

    async def protocol(self, order: Order, node: str, factory: Callable[[], asyncio.Protocol]) -> None:
        """Connect a protocol to a node's agent. Raises AgentUnreachable."""
        loop = asyncio.get_running_loop()

        async def connect_directly(host: str, port: int, context: ssl.SSLContext) -> None:
            await loop.create_connection(factory, host, port, ssl=context, server_hostname=host)

        async def tunnelled(path: str, context: ssl.SSLContext) -> None:
            await loop.create_unix_connection(factory, path, ssl=context, server_hostname="node")

        await self._open(order, node, connect_directly, tunnelled)

    async def streams(self, order: Order, node: str, role: str = "") -> Streams:
        """Open a connection as streams. Raises AgentUnreachable. Sends a hello with ``role`` unless that is ""."""

        async def connect_directly(host: str, port: int, context: ssl.SSLContext) -> Streams:
            return await asyncio.open_connection(host, port, ssl=context, server_hostname=host)

        async def tunnelled(path: str, context: ssl.SSLContext) -> Streams:
            return await asyncio.open_unix_connection(path, ssl=context, server_hostname="node")

        found: Streams = await self._open(order, node, connect_directly, tunnelled)
        if role:
            found[1].write(wire.encode(wire.JSON, json.dumps(Hello(role=role).encode()).encode()))
        return found

    async def _open(self, order: Order, node: str, straight: Any, through: Any) -> Any:
        context = self._context(order.folder / "tls")
        host, _, port = order.address(node).rpartition(":")
        problem = f"node {node} has no address"
        if host and order.name not in self._tunnelled and self._how != "ssh":
            try:
                return await asyncio.wait_for(straight(host.strip("[]"), int(port), context), CONNECT_S)
            except (OSError, asyncio.TimeoutError) as error:
                problem = f"{host}:{port}: {str(error) or 'no answer'}"
        tunnel = self._tunnel(order, node) if self._how != "direct" else None
        if tunnel is None:
            raise AgentUnreachable(problem)
        try:
            found = await asyncio.wait_for(through(await tunnel.path(), context), TUNNEL_S)
        except (OSError, asyncio.TimeoutError, EngineError) as error:
            raise AgentUnreachable(f"{problem}; {str(error) or 'no answer'}") from error
        self._tunnelled.add(order.name)
        return found

    def _tunnel(self, order: Order, node: str) -> Tunnel | None:
        key = (order.name, node)
        if key not in self._tunnels:
            tunnel = self._provider.tunnel(order, node)
            if tunnel is None:
                return None
            self._tunnels[key] = tunnel
        return self._tunnels[key]

    def _context(self, certificates: Path) -> ssl.SSLContext:
        known = self._contexts.get(certificates)
        if known is None:
            known = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(certificates / "ca.crt"))
            known.check_hostname = False  # a node has an arbitrary address, which the cloud assigned
            known.load_cert_chain(certificates / "node.crt", certificates / "node.key")
            self._contexts[certificates] = known
        return known

    def leave(self, order: Order) -> None:
        """Close the tunnels to an order's nodes."""
        for key in [key for key in self._tunnels if key[0] == order.name]:
            self._tunnels.pop(key).close()
        self._tunnelled.discard(order.name)
        self._contexts.pop(order.folder / "tls", None)

    def close(self) -> None:
        """Close all tunnels."""
        for tunnel in self._tunnels.values():
            tunnel.close()
        self._tunnels.clear()
