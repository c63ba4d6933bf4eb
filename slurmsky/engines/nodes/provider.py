"""Interface of a node provider, which starts agents on nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..base import EngineError
from ..powered import Order

Say = Callable[[str], None]


class TemporarilyUnavailable(EngineError):
    """The provider does not answer now. The same request may succeed later."""


class BringUpFailed(EngineError):
    """The nodes cannot be allocated. The text gives the reason in one line."""


class Tunnel(Protocol):
    """A tunnel to a node that this machine cannot reach directly."""

    async def path(self) -> str:
        """Return a local unix socket to the agent. Raises EngineError."""

    def close(self) -> None:
        """End the tunnel."""


class Provider(Protocol):
    """Starts agents on nodes. It is SkyPilot, or processes in tests."""

    async def up(self, order: Order, say: Say) -> None:
        """Start the order's nodes, and set ``info`` with agents' addresses.

        May be called again for an order that an earlier controller began: started nodes are found, not started twice.
        ``say`` receives the reasons for delays. Sets ``accepted_at`` once the request is accepted. Raises
        BringUpFailed.
        """

    async def price(self, partition: str) -> float:
        """Return the price of a node in dollars an hour; 0.0: unknown. Raises EngineError."""

    async def alive(self, order: Order) -> bool:
        """True if the nodes still exist. Raises TemporarilyUnavailable if the state is unknown."""

    async def down(self, order: Order) -> None:
        """Take the nodes down, if any; of an existing cluster, the agents. Raises TemporarilyUnavailable."""

    def tunnel(self, order: Order, node: str) -> Tunnel | None:
        """Return a tunnel to a node whose address is unreachable, or None."""
