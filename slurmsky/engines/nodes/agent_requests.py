"""Requests to agents of warm nodes, with answers in events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ...protocol.messages import AgentRequest, Event, HostsAdded, NodeEnvironment, Reached, ReachPeers, SameFolder
from ..local.agent_link import AgentLink
from ..powered import Order
from .node_lines import ConnectionLost

ANSWER_S = 20.0
#: type of an answer -> its subject, and its value
_ANSWERS: dict[type[Event], Callable[[Any], tuple[str, Any]]] = {
    NodeEnvironment: lambda event: ("", event),
    SameFolder: lambda event: (event.path, event.same),
    HostsAdded: lambda event: (",".join(event.names), event.resolve),
    Reached: lambda event: (",".join(event.peers), event.reached),
}


class AgentRequests:
    """Open requests, by node, kind and subject. Equal requests share one answer."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str, str], asyncio.Future[Any]] = {}

    def expect(self, node: str, kind: str, about: str = "") -> asyncio.Future[Any]:
        """Return the future answer of a node."""
        key = (node, kind, about)
        known = self._open.get(key)
        if known is None or known.done():
            known = self._open[key] = asyncio.get_running_loop().create_future()
        return known

    async def send_request(self, link: AgentLink, kind: str, about: str, message: AgentRequest) -> Any:
        """Send a message and wait for its answer. Raises ConnectionLost if the node does not answer."""
        answer = self.expect(link.node, kind, about)
        link.send(message)
        try:
            return await asyncio.wait_for(asyncio.shield(answer), ANSWER_S)
        except asyncio.TimeoutError:
            raise ConnectionLost(f"node {link.node} does not answer") from None

    async def reaches(self, link: AgentLink, order: Order) -> bool:
        """True if a node can connect to all nodes of another order. Raises EngineError."""
        peers = {node: order.address(node) for node in order.nodes}
        answer = await self.send_request(link, "reached", ",".join(sorted(peers)), ReachPeers(peers=peers))
        return set(answer) == set(peers)

    def fail(self, node: str) -> None:
        """Fail the requests to a node after its connection broke."""
        for key in [key for key in self._open if key[0] == node]:
            waiting = self._open.pop(key)
            if not waiting.done():
                waiting.set_exception(ConnectionLost(f"the connection to node {node} broke"))
                waiting.exception()  # a request whose caller has disconnected is not an error

    def resolve_request(self, node: str, event: Event) -> bool:
        """Resolve the request that an event answers; False: none."""
        if type(event) not in _ANSWERS:
            return False
        about, value = _ANSWERS[type(event)](event)
        waiting = self._open.pop((node, event.kind, about), None)
        if waiting is not None and not waiting.done():
            waiting.set_result(value)
        return True
