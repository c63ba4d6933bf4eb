"""Stores scontrol's changes of partitions, which override the site file.

A restarted controller applies the changes; ``scontrol reconfigure`` drops them unless ReconfigFlags has KeepPartInfo.
Until then a partition that is added to the site file keeps scontrol's changes, too. Source: partition_mgr.c
load_all_part_state.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

from ...model import plain
from ...model.cluster import ClusterConfig, PartitionConfig
from .database import Store

_NOTE = "partitions"


@dataclass(frozen=True)
class _StoredChanges:
    changed: dict[str, PartitionConfig] = field(default_factory=dict)
    deleted: tuple[str, ...] = ()


def applied(store: Store, cluster: ClusterConfig) -> ClusterConfig:
    """Return the cluster with scontrol's partitions."""
    kept = _kept(store)
    known = {node.name for node in cluster.nodes}
    for name in kept.deleted:
        cluster = without(cluster, name)
    for config in kept.changed.values():
        if known.issuperset(config.nodes):
            cluster = with_partition(cluster, config)
    return cluster


def with_partition(cluster: ClusterConfig, config: PartitionConfig) -> ClusterConfig:
    """Return the cluster with a changed or added partition. At most one partition is the default."""
    found = [replace(part, default=False) if config.default else part for part in cluster.partitions]
    place = next((at for at, part in enumerate(found) if part.name == config.name), None)
    if place is None:
        found.append(config)
    else:
        found[place] = config
    return replace(cluster, partitions=tuple(found))


def without(cluster: ClusterConfig, name: str) -> ClusterConfig:
    """Return the cluster without a partition."""
    return replace(cluster, partitions=tuple(part for part in cluster.partitions if part.name != name))


def store_partition(store: Store, config: PartitionConfig) -> None:
    """Commit a partition's current configuration. Raises StoreError."""
    kept = _kept(store)
    others = (replace(one, default=one.default and not config.default) for one in kept.changed.values())
    changed = {**{one.name: one for one in others}, config.name: config}
    _put(store, _StoredChanges(changed, tuple(name for name in kept.deleted if name != config.name)))


def store_deletion(store: Store, name: str) -> None:
    """Commit the deletion of a partition. Raises StoreError."""
    kept = _kept(store)
    kept.changed.pop(name, None)
    _put(store, _StoredChanges(kept.changed, tuple(sorted({*kept.deleted, name}))))


def any_kept(store: Store) -> bool:
    """True if scontrol changed partitions."""
    return _kept(store) != _StoredChanges()


def forget(store: Store) -> None:
    """Drop all changes of partitions. Raises StoreError."""
    _put(store, _StoredChanges())


def _kept(store: Store) -> _StoredChanges:
    return store.damage.parse_note(_NOTE, lambda kept: plain.read(_StoredChanges, kept)) or _StoredChanges()


def _put(store: Store, kept: _StoredChanges) -> None:
    store.put_note(_NOTE, json.dumps(plain.write(kept)))
