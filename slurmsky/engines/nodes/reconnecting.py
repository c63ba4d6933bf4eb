"""Restores broken connections to warm nodes, and detects lost nodes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ..base import EngineError, background
from ..local.agent_link import AgentLink
from ..powered import Order
from .fleet import Fleet
from .provider import Provider, TemporarilyUnavailable

log = logging.getLogger("slurmsky.nodes")

#: SlurmdTimeout: seconds of silence after which a node is lost
SILENCE_S = 300.0
RETRY_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Reconnecting:
    """One task per node without a connection.

    ``connect`` returns the connection to a node, which may break again. ``on_state`` receives the node's state: silent,
    then up. ``lose`` handles an order that is lost.
    """

    def __init__(
        self,
        fleet: Fleet,
        provider: Provider,
        connect: Callable[[str], Awaitable[AgentLink]],
        on_state: Callable[[str, str], None],
        lose: Callable[[Order, str], None],
    ) -> None:
        self._fleet = fleet
        self._provider = provider
        self._connect = connect
        self._on_state = on_state
        self._lose = lose
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, node: str) -> None:
        """Connect to a node in the background, once."""
        task = self._tasks.get(node)
        if task is None or task.done():
            self._tasks[node] = background(self._run(node))

    def drop(self, node: str) -> None:
        """Stop reconnecting to a node that is lost or powers down."""
        task = self._tasks.pop(node, None)
        if task is not None:
            task.cancel()

    def running(self) -> list[asyncio.Task[None]]:
        """The tasks."""
        return list(self._tasks.values())

    async def _run(self, node: str) -> None:
        loop = asyncio.get_running_loop()
        began, reported, checked = loop.time(), False, 0.0
        for attempt in range(1 << 30):
            order = self._fleet.order_of(node)
            if order is None or order.phase != "up":
                return
            try:
                link = await self._connect(node)
                if link.alive:
                    if reported:
                        self._on_state(node, "up")
                    return
            except (EngineError, OSError, asyncio.TimeoutError) as error:
                log.info("node %s: %s", node, error)
            silent = loop.time() - began
            if not reported:
                reported = True
                self._on_state(node, "silent")
            if loop.time() - checked > min(30.0, 2.0 + silent / 4):
                checked = loop.time()
                try:
                    alive = await self._provider.alive(order)
                except TemporarilyUnavailable as error:
                    log.info("node %s: %s", node, error)
                    alive, began = True, max(began, loop.time() - SILENCE_S / 2)  # the fault may be on this machine
                if not alive or silent > SILENCE_S:
                    self._lose(order, "Not responding" if alive else "SkyPilot has lost the node")
                    return
            await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
