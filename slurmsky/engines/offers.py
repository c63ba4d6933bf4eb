"""Nodes that infras offer, as Slurm's nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..model.cluster import NodeConfig
from ..model.job import Node
from ..model.states import NodeFlag, NodeState


@dataclass(frozen=True)
class Offer:
    """A node of an infra, or an instance type. ``gpus``: (SkyPilot's name, count, in use)."""

    infra: str  # "slurm/oracle", "kubernetes/ctx", "aws/us-east-1"
    name: str
    state: str = "idle"  # idle | mixed | allocated | down | cloud: created on demand
    cpus: int = 1
    used_cpus: int = 0
    memory_mib: int = 1
    used_memory_mib: int = 0
    gpus: tuple[tuple[str, int, int], ...] = ()
    zones: tuple[str, ...] = ()  # partitions of a Slurm cluster
    load: float = 0.0
    price: float | None = None  # dollars an hour

    def matches_infra(self, infra: str) -> bool:
        """True if a site file's ``infra`` includes this node. ``infra``: cloud[/region[/zone]], * for any."""
        wanted = [part.lower() for part in infra.split("/")]
        have = [part.lower() for part in self.infra.split("/")]
        if wanted and wanted[0] == "k8s":
            wanted[0] = "kubernetes"
        zone = wanted[2:3]
        same = all(part in ("*", other) for part, other in zip(wanted[:2], have, strict=False))
        return same and (not zone or zone[0] == "*" or not self.zones or zone[0] in map(str.lower, self.zones))


class Inventory(NamedTuple):
    """Nodes of the enabled infras, and enabled infras without nodes."""

    offers: Sequence[Offer] = ()
    unlisted: Sequence[str] = ()


def nodes(offers: Iterable[Offer], taken: Iterable[str], partitions: Mapping[str, Sequence[str]]) -> dict[str, Node]:
    """Return Slurm's nodes by name.

    A name that a node of this machine already uses (``taken``) is prefixed with its infra. ``partitions``: the site's
    partitions and their infras; none means any.
    """
    busy, found = set(taken), {}
    for offer in offers:
        name = offer.name if offer.name not in busy else f"{offer.infra.rpartition('/')[2]}-{offer.name}"
        name = name if name not in busy else f"{offer.infra.replace('/', '-')}-{offer.name}"
        if name in busy:
            continue
        busy.add(name)
        words = tuple(part for part in dict.fromkeys((*offer.infra.split("/"), *offer.zones)) if part)
        config = NodeConfig(
            name=name,
            address=offer.name,
            host_name=offer.name,
            cpus=offer.cpus,
            sockets=offer.cpus,
            memory_mib=offer.memory_mib,
            features=words,
            gres=tuple(("gpu", kind.lower(), count) for kind, count, _ in offer.gpus),
        )
        price = f", ${offer.price:.4f} an hour" if offer.price is not None else ""
        found[name] = Node(
            config,
            state=NodeState.IDLE if offer.state == "cloud" else NodeState(offer.state),
            flags=NodeFlag.CLOUD | NodeFlag.POWERED_DOWN if offer.state == "cloud" else NodeFlag.NONE,
            alloc_cpus=offer.used_cpus,
            alloc_memory_mib=offer.used_memory_mib,
            alloc_gres={f"gpu:{kind.lower()}": used for kind, _, used in offer.gpus if used},
            alloc_gres_ids={f"gpu:{kind.lower()}": tuple(range(used)) for kind, _, used in offer.gpus if used},
            load=offer.load,
            comment=f"SkyPilot infra {offer.infra}{price}",
            partitions=tuple(
                part for part, infras in partitions.items() if not infras or any(map(offer.matches_infra, infras))
            ),
        )
    return found
