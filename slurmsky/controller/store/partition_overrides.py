"""Stores scontrol's changes of partitions, which override the site file.

A restarted controller applies the changes; ``scontrol reconfigure`` drops them unless ReconfigFlags has KeepPartInfo.
Until then a partition that is added to the site file keeps scontrol's changes, too. Source: partition_mgr.c
load_all_part_state.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from typing import Any

from ...model.cluster import ClusterConfig, PartitionConfig
from .database import Store

_NOTE = "partitions"


def applied(store: Store, cluster: ClusterConfig) -> ClusterConfig:
    """The cluster with the partitions as scontrol changed them."""
    kept = _kept(store)
    known = {node.name for node in cluster.nodes}
    for name in kept["deleted"]:
        cluster = without(cluster, name)
    for row in kept["changed"].values():
        config = _read(row)
        if known.issuperset(config.nodes):
            cluster = with_partition(cluster, config)
    return cluster


def with_partition(cluster: ClusterConfig, config: PartitionConfig) -> ClusterConfig:
    """The cluster with a partition changed or added; at most one partition is the default."""
    found = [replace(part, default=False) if config.default else part for part in cluster.partitions]
    place = next((at for at, part in enumerate(found) if part.name == config.name), None)
    if place is None:
        found.append(config)
    else:
        found[place] = config
    return replace(cluster, partitions=tuple(found))


def without(cluster: ClusterConfig, name: str) -> ClusterConfig:
    """The cluster without a partition."""
    return replace(cluster, partitions=tuple(part for part in cluster.partitions if part.name != name))


def keep(store: Store, config: PartitionConfig) -> None:
    """Commit a partition's current configuration. Raises StoreError."""
    kept = _kept(store)
    if config.default:
        for row in kept["changed"].values():
            row["default"] = False
    kept["changed"][config.name] = asdict(config)
    kept["deleted"] = [name for name in kept["deleted"] if name != config.name]
    store.put_note(_NOTE, json.dumps(kept))


def keep_deleted(store: Store, name: str) -> None:
    """Commit that a partition was deleted. Raises StoreError."""
    kept = _kept(store)
    kept["changed"].pop(name, None)
    kept["deleted"] = sorted({*kept["deleted"], name})
    store.put_note(_NOTE, json.dumps(kept))


def any_kept(store: Store) -> bool:
    """Whether scontrol changed partitions."""
    return any(_kept(store).values())


def forget(store: Store) -> None:
    """Commit the partitions of the site file. Raises StoreError."""
    store.put_note(_NOTE, json.dumps({"changed": {}, "deleted": []}))


def _kept(store: Store) -> dict[str, Any]:
    def read(kept: Any) -> dict[str, Any]:
        for row in kept["changed"].values():
            _read(row)
        return {"changed": dict(kept["changed"]), "deleted": list(kept["deleted"])}

    return store.damage.note(_NOTE, read) or {"changed": {}, "deleted": []}


_FIELDS = frozenset(one.name for one in fields(PartitionConfig))


def _read(row: dict[str, Any]) -> PartitionConfig:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
    return PartitionConfig(**{key: value for key, value in values.items() if key in _FIELDS})
