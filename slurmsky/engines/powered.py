"""Interface of an engine whose nodes are powered up and down."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from ..agent.cloud.node_info import CloudNodeInfo
from ..model import plain
from ..model.cluster import NodeConfig
from .base import Engine


@dataclass
class LaunchNotes:
    """State of an order's launch, as stored for a later controller."""

    sent: bool = False  # the launch request was sent, or is about to be
    request: str = ""  # id of the launch request
    job: int = 0  # id of the cluster's job
    blob: str = ""  # id of the uploaded shipment


@dataclass
class Order:
    """A bring-up of nodes, which start and are released together. They have network connections to each other."""

    name: str  # of the SkyPilot cluster; never reused
    partition: str
    nodes: list[str]
    phase: str = "requested"  # requested | up | leaving
    requested_at: float = 0.0  # epoch second
    accepted_at: float = 0.0  # epoch second of the provider's acceptance; 0.0: not yet
    up_at: float = 0.0
    existing: bool = False  # nodes that existed before the order, and stay
    info: dict[str, CloudNodeInfo] = field(default_factory=dict)  # by node
    notes: LaunchNotes = field(default_factory=lambda: LaunchNotes())
    price: float = 0.0  # dollars an hour and node; 0.0: unknown
    place: str = ""  # infra, region and instance type at SkyPilot
    folder: Path = field(default=Path(), compare=False)

    def address(self, node: str) -> str:
        """host:port of a node's agent, "" until it is known."""
        return self.info[node].address if node in self.info else ""

    def save(self) -> None:
        """Write the record for a later controller. Raises OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = plain.write_fields(Order, {name: value for name, value in self.__dict__.items() if name != "folder"})
        partial = self.folder / ".order.json"
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(data, file)
        os.replace(partial, self.folder / "order.json")

    @classmethod
    def load(cls, folder: Path) -> Order:
        """Load the record from a folder. Raises OSError, ValueError."""
        data = json.loads((folder / "order.json").read_text())
        # names in records of earlier versions
        if "facts" in data:
            data["info"] = data.pop("facts")
        if "asked_at" in data:
            data["requested_at"] = data.pop("asked_at")
        if data.get("phase") == "asked":
            data["phase"] = "requested"
        if "asked" in data.get("notes", {}):
            data["notes"]["sent"] = data["notes"].pop("asked")
        return replace(plain.read(cls, data), folder=folder)


def description(order: Order) -> str:
    """Describe a node: SkyPilot's infra, region, instance type, and price."""
    price = f"${order.price:.2f}/h" if order.price else ""
    return ", ".join(filter(None, (order.place, price)))


def detected_size(config: NodeConfig, info: CloudNodeInfo) -> NodeConfig:
    """A node's configuration with the CPUs, memory and devices that its agent detected."""
    gres = (("gpu", info.gpu_kind, len(info.gpus)),) if info.gpus else ()
    return replace(config, cpus=info.cpus, cores=info.cpus, memory_mib=info.memory_mib, gres=gres)


class NodeFleet(Protocol):
    """Nodes that are up or powering up, by order."""

    @property
    def orders(self) -> Mapping[str, Order]:
        """All orders, by order id."""

    def order_of(self, node: str) -> Order | None:
        """Return a node's order; None: the node is off."""

    def order(self, nodes: list[str]) -> Order:
        """Power up nodes by one order."""

    def down(self, order: Order) -> None:
        """Power down the nodes of an order."""

    def release(self, order: Order) -> None:
        """Treat the nodes of an order as off while they power down."""

    def is_up(self, node: str) -> bool:
        """True if the node's agent answers."""

    def usual_s(self, partition: str) -> float:
        """Usual seconds of a bring-up in a partition."""


class PoweredEngine(Engine, Protocol):
    """An engine whose nodes are powered up on demand and stay warm."""

    @property
    def fleet(self) -> NodeFleet:
        """The nodes that are up or coming."""

    def neighbourhood(self, node: str) -> int:
        """Number of a node's connected group; 0: the node is off."""

    async def price(self, partition: str) -> float:
        """Return the price of a partition's node in dollars an hour. 0.0: unknown. Raises EngineError."""
