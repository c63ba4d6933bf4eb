"""Inventory of the enabled infras' nodes, existing or on demand, for sinfo and scontrol.

Read rarely and in the background: /enabled_clouds, and for each infra its nodes with their free resources
(/slurm_node_info, /kubernetes_node_info) or, for clouds, the catalog's instance types with GPUs (/list_accelerators).
Sources: sky/utils/slurm_utils.py, sky/models.py, sky/catalog/common.py of SkyPilot 0.14.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...model.cluster import NodeConfig
from ...model.job import Node
from ...model.states import NodeFlag, NodeState
from .api_client import Client, Rejected

_GIB = 1024


@dataclass(frozen=True)
class Offer:
    """A node of an infra, or an instance type that it can create. ``gpus``: (SkyPilot's name, count, in use)."""

    infra: str  # "slurm/oracle", "kubernetes/ctx", "aws/us-east-1"
    name: str
    state: str = "idle"  # idle | mixed | allocated | down | cloud: created when a job needs it
    cpus: int = 1
    used_cpus: int = 0
    memory_mib: int = 1
    used_memory_mib: int = 0
    gpus: tuple[tuple[str, int, int], ...] = ()
    zones: tuple[str, ...] = ()  # partitions of a Slurm cluster
    load: float = 0.0
    price: float | None = None  # dollars an hour

    def within(self, infra: str) -> bool:
        """Whether a site file's ``infra`` (cloud[/region[/zone]], * for any) includes this node."""
        wanted = [part.lower() for part in infra.split("/")]
        have = [part.lower() for part in self.infra.split("/")]
        if wanted and wanted[0] == "k8s":
            wanted[0] = "kubernetes"
        zone = wanted[2:3]
        same = all(part in ("*", other) for part, other in zip(wanted[:2], have, strict=False))
        return same and (not zone or zone[0] == "*" or not self.zones or zone[0] in map(str.lower, self.zones))


async def read(client: Client) -> tuple[list[Offer], list[str]]:
    """All nodes of all enabled infras, and the infras without any. Raises SkyError."""
    infras = [str(name) for name in await client.call("/enabled_clouds?expand=true", {}, method="GET") or ()]
    clouds, found = [], []
    for infra in dict.fromkeys(name.lower() if "/" not in name else name for name in infras):
        kind, _, rest = infra.partition("/")
        try:
            if kind == "slurm":
                found += slurm_offers(await client.call("/slurm_node_info", {}))
            elif kind in ("kubernetes", "ssh"):
                context = f"ssh-{rest}" if kind == "ssh" and rest else rest or None
                found += kubernetes_offers(infra, await client.call("/kubernetes_node_info", {"context": context}))
            else:
                clouds.append(kind)
        except Rejected:
            continue
    if clouds:
        body = {"gpus_only": True, "clouds": clouds, "all_regions": False, "require_price": True}
        try:
            found += catalog_offers(await client.call("/list_accelerators", body))
        except Rejected:
            pass  # a server without that catalogue: the other offers remain
    unique = {(offer.infra, offer.name): offer for offer in found}
    offers = list(unique.values())
    return offers, [infra for infra in dict.fromkeys(infras) if not any(offer.within(infra) for offer in offers)]


def slurm_offers(rows: Any) -> list[Offer]:
    """Offers from /slurm_node_info: one row per node; a node in two partitions may have one row with both."""
    found: dict[tuple[str, str], Offer] = {}
    for row in _rows(rows):
        name, cluster = str(row.get("node_name") or ""), str(row.get("slurm_cluster_name") or "")
        if not name:
            continue
        zones = tuple(part.rstrip("*") for part in str(row.get("partition") or "").split(",") if part)
        cpus, free = _number(row, "vcpu_count", 1), _number(row, "free_vcpus", 0)
        memory = int(_real(row, "memory_gb", 0.0) * _GIB)
        kind, total = str(row.get("gpu_type") or ""), _number(row, "total_gpus", 0)
        gpus = ((kind, total, total - _number(row, "free_gpus", total)),) if total else ()
        word = re.split(r"[^a-z]", str(row.get("node_state") or "").lower())[0]
        state = _STATES.get(word[:5], "down")
        before = found.get((cluster, name))
        found[cluster, name] = Offer(
            f"slurm/{cluster}", name, state, cpus, max(0, cpus - free), max(1, memory),
            max(0, memory - int(_real(row, "free_alloc_memory_gb", memory / _GIB) * _GIB)), gpus,
            tuple(dict.fromkeys((*(before.zones if before else ()), *zones))), _real(row, "cpu_load", 0.0),
        )  # fmt: skip
    return list(found.values())


_STATES = {"idle": "idle", "mix": "mixed", "mixed": "mixed", "alloc": "allocated", "compl": "mixed", "plann": "idle"}


def kubernetes_offers(infra: str, answer: Any) -> list[Offer]:
    """Offers from /kubernetes_node_info of one context."""
    nodes = answer.get("node_info_dict") if isinstance(answer, Mapping) else None
    found = []
    for name, row in (nodes or {}).items():
        total = _first(row.get("total"))
        free = _first(row.get("free"))
        cpus, cpu_free = int(_real(row, "cpu_count", 1.0)), _real(row, "cpu_free", -1.0)
        memory, memory_free = _real(row, "memory_gb", 0.0), _real(row, "memory_free_gb", -1.0)
        used = max(0, cpus - int(cpu_free)) if cpu_free >= 0 else 0
        gpus = ((str(row.get("accelerator_type") or "gpu"), total, max(0, total - free)),) if total else ()
        state = "idle" if not used and not any(count for _, _, count in gpus) else "mixed"
        if row.get("is_ready") is False or row.get("is_cordoned"):
            state = "down"
        elif used >= cpus:
            state = "allocated"
        kept = max(0, int((memory - memory_free) * _GIB)) if memory_free >= 0 else 0
        found.append(Offer(infra, str(name), state, max(1, cpus), used, max(1, int(memory * _GIB)), kept, gpus))
    return found


def catalog_offers(answer: Any) -> list[Offer]:
    """Offers from /list_accelerators.

    The answer maps a GPU name to rows of (cloud, instance type, name, count, CPUs, device memory, memory, price, spot
    price, region); machines without a price or a name are not available as nodes.
    """
    found: list[Offer] = []
    for rows in answer.values() if isinstance(answer, Mapping) else ():
        best: dict[tuple[str, float], Offer] = {}
        for row in rows or ():
            if not isinstance(row, Sequence) or len(row) < 10 or not row[1] or not isinstance(row[7], (int, float)):
                continue
            cloud, instance, kind, count, cpus, _, memory, price, _, region = row[:10]
            if price != price or not count or count < 1:  # NaN: no price; or a fraction of a GPU
                continue
            key = (str(cloud).lower(), float(count))
            if key in best and (best[key].price or 0.0) <= price:
                continue
            best[key] = Offer(
                f"{key[0]}/{region}", re.sub(r"[^\w.-]+", "-", f"{key[0]}-{instance}").lower(), "cloud",
                max(1, int(cpus or 1)), 0, max(1, int((memory or 0) * _GIB)), 0, ((str(kind), int(count), 0),),
                (), 0.0, float(price),
            )  # fmt: skip
        found += sorted(best.values(), key=lambda offer: offer.price or 0.0)
    return found


def nodes(offers: Iterable[Offer], taken: Iterable[str], partitions: Mapping[str, Sequence[str]]) -> dict[str, Node]:
    """Slurm's nodes by name. A name that a node of this machine already uses (``taken``) is prefixed with its infra.

    ``partitions``: the site's partitions and their infras; none means any.
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
                part for part, infras in partitions.items() if not infras or any(map(offer.within, infras))
            ),
        )
    return found


def to_data(offers: Iterable[Offer]) -> list[dict[str, Any]]:
    """JSON-ready, for the store."""
    return [asdict(offer) for offer in offers]


def from_data(data: Iterable[Mapping[str, Any]]) -> list[Offer]:
    """Inverse of to_data."""
    return [Offer(**{**row, "gpus": tuple(map(tuple, row["gpus"])), "zones": tuple(row["zones"])}) for row in data]


def _rows(value: Any) -> list[Mapping[str, Any]]:
    return [row for row in value or () if isinstance(row, Mapping)]


def _real(row: Mapping[str, Any], key: str, default: float) -> float:
    value = row.get(key)
    return float(value) if isinstance(value, (int, float)) else default


def _number(row: Mapping[str, Any], key: str, default: int) -> int:
    return int(_real(row, key, default))


def _first(counts: Any) -> int:
    """A node's accelerator count, under any key name: ``{"accelerator_count": 8}``."""
    values = [value for value in (counts or {}).values() if isinstance(value, (int, float))]
    return int(values[0]) if values else 0
