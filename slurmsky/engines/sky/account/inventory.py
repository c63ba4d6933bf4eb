"""Reads the offers of the enabled infras from SkyPilot.

Reads are rare and in the background: /enabled_clouds, and for each infra its nodes with their free resources
(/slurm_node_info, /kubernetes_node_info) or, for clouds, the catalog's instance types with GPUs (/list_accelerators).
Sources: sky/utils/slurm_utils.py, sky/models.py, sky/catalog/common.py of SkyPilot 0.14.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...offers import Inventory, Offer
from ..api.api_client import Client
from ..api.api_errors import Rejected

_GIB = 1024


async def read(client: Client) -> Inventory:
    """Read all nodes of all enabled infras, and the infras without nodes. Raises SkyError."""
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
    unlisted = [infra for infra in dict.fromkeys(infras) if not any(offer.matches_infra(infra) for offer in offers)]
    return Inventory(offers, unlisted)


def slurm_offers(rows: Any) -> list[Offer]:
    """Convert /slurm_node_info to offers. One row per node; a node in two partitions may have one row with both."""
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
    """Convert /kubernetes_node_info of one context to offers."""
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
    """Convert /list_accelerators to offers.

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


def _rows(value: Any) -> list[Mapping[str, Any]]:
    return [row for row in value or () if isinstance(row, Mapping)]


def _real(row: Mapping[str, Any], key: str, default: float) -> float:
    value = row.get(key)
    return float(value) if isinstance(value, (int, float)) else default


def _number(row: Mapping[str, Any], key: str, default: int) -> int:
    return int(_real(row, key, default))


def _first(counts: Any) -> int:
    """Return a node's accelerator count, under any key: ``{"accelerator_count": 8}``."""
    values = [value for value in (counts or {}).values() if isinstance(value, (int, float))]
    return int(values[0]) if values else 0
