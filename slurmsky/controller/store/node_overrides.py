"""Stores scontrol's changes of nodes, which override the site file.

A restarted controller applies the changes. ``scontrol reconfigure`` resets weight and features to the site file, as
slurmctld does. Source: slurmctld/node_mgr.c update_node, dump_all_node_state.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...model.cluster import ClusterConfig
from .database import Store

_NOTE = "nodes"
#: fields of NodeConfig; all others are fields of the Node itself
CONFIGURED = frozenset({"weight", "features", "features_active"})

Changes = dict[str, dict[str, Any]]


def load(store: Store) -> Changes:
    """The changes of each node."""

    def read(kept: Any) -> Changes:
        return {name: {key: _value(value) for key, value in row.items()} for name, row in kept.items()}

    return store.damage.parse_note(_NOTE, read) or {}


def store_changes(store: Store, changes: Mapping[str, Mapping[str, Any]]) -> None:
    """Commit the changes of all nodes. Raises StoreError."""
    store.put_note(_NOTE, json.dumps(changes))


def applied(cluster: ClusterConfig, changes: Mapping[str, Mapping[str, Any]]) -> ClusterConfig:
    """Return the cluster with the changed configuration of its nodes."""
    nodes = tuple(
        replace(node, **{key: value for key, value in changes[node.name].items() if key in CONFIGURED})
        if node.name in changes
        else node
        for node in cluster.nodes
    )
    return replace(cluster, nodes=nodes)


def _value(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
