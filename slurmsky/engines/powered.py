"""Interface of an engine whose nodes are powered up and down."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .base import Engine


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
    notes: dict[str, Any] = field(default_factory=dict)  # used only by the provider
    price: float = 0.0  # dollars an hour and node; 0.0: unknown
    place: str = ""  # infra, region and instance type at SkyPilot
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


def description(order: Order) -> str:
    """A node's infra, region and instance type as SkyPilot names them, and its price."""
    price = f"${order.price:.2f}/h" if order.price else ""
    return ", ".join(filter(None, (order.place, price)))


def detected_size(facts: Mapping[str, Any]) -> dict[str, Any]:
    """CPUs, memory and devices of a node as its agent detected them."""
    cpus, gpus = int(facts.get("cpus", 1)), len(facts.get("gpus") or ())
    return {
        "cpus": cpus,
        "cores": cpus,
        "memory_mib": int(facts.get("memory_mib", 1)),
        "gres": (("gpu", "", gpus),) if gpus else (),
    }


class NodeFleet(Protocol):
    """The nodes that are up or coming, by order."""

    @property
    def orders(self) -> Mapping[str, Order]:
        """All orders, by order id."""

    def order_of(self, node: str) -> Order | None:
        """The order that a node belongs to; None: the node is off."""

    def order(self, nodes: list[str]) -> Order:
        """Power up nodes by one order."""

    def down(self, order: Order) -> None:
        """Power down the nodes of an order."""

    def is_up(self, node: str) -> bool:
        """Whether the node's agent answers."""

    def usual_s(self, partition: str) -> float:
        """Seconds that nodes of a partition usually need to come up."""


class PoweredEngine(Engine, Protocol):
    """An engine whose nodes are powered up on demand and stay warm."""

    @property
    def fleet(self) -> NodeFleet:
        """The nodes that are up or coming."""

    def neighbourhood(self, node: str) -> int:
        """A number shared by nodes that are known to reach each other; 0: the node is off."""

    async def price(self, partition: str) -> float:
        """Dollars an hour of a node that comes up in a partition; 0.0: unknown. Raises EngineError."""
