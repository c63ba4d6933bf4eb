"""Groups of nodes with network connections to each other. Only nodes of one group may share a job."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from ..base import EngineError
from ..powered import Order
from .fleet import Fleet

log = logging.getLogger("slurmsky.nodes")


class Neighbourhoods:
    """Numbers of the orders that are up, equal for connected orders.

    ``reach`` makes the nodes of one order probe those of another. Raises EngineError if they do not answer.
    """

    def __init__(self, fleet: Fleet, reach: Callable[[Order, Order], Awaitable[bool]]) -> None:
        self._fleet = fleet
        self._reach = reach
        self._numbers: dict[str, int] = {}  # by order
        self._last = 0

    def of(self, node: str) -> int:
        """Return the number of a node's group; 0: the node is not up."""
        order = self._fleet.order_of(node)
        return self._numbers.get(order.name, 0) if order is not None else 0

    def add(self, order: Order) -> bool:
        """Number an order that is up; False if it has a number."""
        if order.name in self._numbers:
            return False
        self._last += 1
        self._numbers[order.name] = self._last
        return True

    def prune(self) -> None:
        """Remove orders that have ended."""
        self._numbers = {name: number for name, number in self._numbers.items() if name in self._fleet.orders}

    async def connect_peers(self, order: Order) -> None:
        """Probe connections between an order and the partition's other nodes, in both directions."""
        for other in list(self._fleet.orders.values()):
            number = self._numbers.get(other.name)
            same = other is order or other.partition != order.partition or number == self._numbers.get(order.name)
            if same or number is None:
                continue
            try:
                if await self._reach(order, other) and await self._reach(other, order):
                    self._merge(order, other)
            except EngineError as error:
                log.info("orders %s and %s: %s", order.name, other.name, error)

    def _merge(self, order: Order, other: Order) -> None:
        mine, theirs = self._numbers.get(order.name), self._numbers.get(other.name)
        for name, number in self._numbers.items():
            if number == theirs and mine is not None:
                self._numbers[name] = mine
