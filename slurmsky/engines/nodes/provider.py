"""The interface of a node provider: the program that starts agents on nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..base import EngineError
from ..powered import Order

Say = Callable[[str], None]


class TemporarilyUnavailable(EngineError):
    """The provider does not answer now; the same request may succeed later."""


class BringUpFailed(EngineError):
    """The nodes cannot be allocated; the text gives the reason in one line."""


class Tunnel(Protocol):
    """A tunnel to a node without an address that this machine can reach."""

    async def path(self) -> str:
        """A local unix socket that forwards to the agent. Raises EngineError."""

    def close(self) -> None:
        """End the tunnel."""


class Provider(Protocol):
    """Starts agents on nodes: SkyPilot, or processes in tests."""

    async def up(self, order: Order, say: Say) -> None:
        """Start the order's nodes and fill in its ``info`` by node, with the address of each agent.

        May be called again for an order that an earlier controller began: nodes already started are found, not started
        twice. ``say`` receives the reasons for delays. Sets ``accepted_at`` once the request is accepted. Raises
        BringUpFailed.
        """

    async def price(self, partition: str) -> float:
        """Dollars an hour of a node; 0.0: unknown. Raises EngineError."""

    async def alive(self, order: Order) -> bool:
        """Whether the nodes still exist. Raises TemporarilyUnavailable when that cannot be known now."""

    async def down(self, order: Order) -> None:
        """Take the nodes down; no error when there are none. Raises TemporarilyUnavailable."""

    def tunnel(self, order: Order, node: str) -> Tunnel | None:
        """A tunnel to a node's agent, for an address that this machine cannot reach."""
