"""The interface of a node provider, and the record of each bring-up."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..base import EngineError

Say = Callable[[str], None]


class Passing(EngineError):
    """The provider does not answer now; the same request may succeed later."""


class BringUpFailed(EngineError):
    """The nodes cannot be allocated; the text gives the reason in one line."""


@dataclass
class Order:
    """One bring-up of nodes: they start together, reach each other, and are released together."""

    name: str  # of the SkyPilot cluster; never reused
    partition: str
    nodes: list[str]
    phase: str = "asked"  # asked | up | leaving
    asked_at: float = 0.0  # epoch second
    accepted_at: float = 0.0  # when the provider accepted the order; 0.0: not yet
    up_at: float = 0.0
    existing: bool = False  # nodes that existed before the order, and stay
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)  # by node: address, host, cpus, memory_mib, ...
    notes: dict[str, Any] = field(default_factory=dict)  # private to the provider
    price: float = 0.0  # dollars an hour and node; 0.0: unknown
    place: str = ""  # where SkyPilot placed them: infra, region, instance
    folder: Path = field(default=Path(), compare=False)

    def address(self, node: str) -> str:
        """host:port of a node's agent, "" until it is known."""
        return str(self.facts.get(node, {}).get("address", ""))

    def save(self) -> None:
        """Write the record, from which a later controller resumes. Raises OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = {name: value for name, value in self.__dict__.items() if name != "folder"}
        partial = self.folder / ".order.json"
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(data, file)
        os.replace(partial, self.folder / "order.json")

    @classmethod
    def load(cls, folder: Path) -> Order:
        """Load the record from a folder. Raises OSError, ValueError."""
        return cls(**json.loads((folder / "order.json").read_text()), folder=folder)


class Tunnel(Protocol):
    """A tunnel to a node without an address that this machine can reach."""

    async def path(self) -> str:
        """A local unix socket that forwards to the agent. Raises EngineError."""

    def close(self) -> None:
        """End the tunnel."""


class Provider(Protocol):
    """Starts agents on nodes: SkyPilot, or processes in tests."""

    async def up(self, order: Order, say: Say) -> None:
        """Start the order's nodes and fill in its ``facts`` by node, with the address of each agent.

        May be called again for an order that an earlier controller began: nodes already started are found, not started
        twice. ``say`` receives the reasons for delays. Sets ``accepted_at`` once the request is accepted. Raises
        BringUpFailed.
        """

    async def alive(self, order: Order) -> bool:
        """Whether the nodes still exist. Raises Passing when that cannot be known now."""

    async def down(self, order: Order) -> None:
        """Take the nodes down; no error when there are none. Raises Passing."""

    def tunnel(self, order: Order, node: str) -> Tunnel | None:
        """A tunnel to a node's agent, for an address that this machine cannot reach."""
