"""Nodes, partitions and accounting entities of the cluster.

Changes by scontrol and sacctmgr are kept in the store and override the site file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from ...model.cluster import ClusterConfig, NodeConfig, PartitionConfig
from ...model.job import Job, Node
from ...model.release import RELEASE
from ...model.states import NodeFlag, NodeState
from ...report.text.utilization import Use
from ...site import assumed
from ..rules.advance_reservations import Reservations
from ..rules.job_placement import partition_nodes
from ..rules.limit_policy import Policy
from ..rules.node_use import NodeUse
from ..rules.usage_limits import UsageLimits
from ..rules.virtual_nodes import VirtualNodes, cluster_of
from ..store import account_overrides, node_overrides, partition_overrides
from ..store.accounting_index import ANY
from ..store.database import Store

_NOT_AVAILABLE = NodeFlag.DRAIN | NodeFlag.FAIL | NodeFlag.NOT_RESPONDING | NodeFlag.POWERING_DOWN
_BY_HAND = NodeFlag.DRAIN | NodeFlag.FAIL
#: ReconfigFlags that keep the states of partitions
_KEEP_STATES = {"keeppartinfo", "keeppartstate"}


class ClusterTable:
    """Configuration and state of the cluster, and the booked resources."""

    def __init__(
        self, cluster: ClusterConfig, store: Store, clock: Callable[[], float], accounts: tuple[str, ...]
    ) -> None:
        #: the site file's cluster and account names, without later changes
        self._site_cluster, self._site_accounts = cluster, accounts
        #: sacctmgr's changes of accounting entities, and scontrol's changes of nodes
        self.overrides = account_overrides.load(store)
        self.node_changes = node_overrides.load(store)
        cluster = node_overrides.applied(partition_overrides.applied(store, cluster), self.node_changes)
        self.cluster = cluster = self.overrides.applied(cluster)
        self.virtual = VirtualNodes(cluster)
        self.accounts = self._account_names()
        self.store = store
        self.clock = clock
        self.jobs: dict[int, Job] = {}
        self.active: set[int] = set()  # hold an allocation (running, suspended, completing)
        self.uses: dict[str, NodeUse] = {node.name: NodeUse(node) for node in cluster.nodes}
        self.nodes: dict[str, Node] = {node.name: Node(node) for node in cluster.nodes}
        self.reservations = Reservations(store, cluster, clock, lambda name: self.uses[name].available)
        self._set_policy(cluster)
        self.partition_states: dict[str, str] = {}
        for node in self.nodes.values():
            node.version = RELEASE
            self._apply_configured_state(node)
        self._set_cluster(cluster)
        self.store.damage.parse_note("states", self._apply_states)
        self._apply_node_changes()

    def _apply_configured_state(self, node: Node) -> None:
        word = node.config.state.upper()
        if word == "DOWN":
            node.state = NodeState.DOWN
        elif word in ("FAIL", "FAILING"):
            node.flags |= NodeFlag.FAIL
        elif word in ("DRAIN", "DRAINED"):
            node.flags |= NodeFlag.DRAIN
        elif word == "FUTURE":
            node.state = NodeState.FUTURE
        node.reason = node.config.reason
        self.refresh_node(node)

    def store_states(self) -> None:
        """Commit the states that users gave to nodes and partitions.

        Raises StoreError. Each controller detects itself whether a node responds.
        """
        nodes = {
            name: [node.state is NodeState.DOWN, flags.value, node.reason, node.reason_time, node.reason_user]
            for name, node in self.nodes.items()
            if ((flags := node.flags & _BY_HAND) or node.state is NodeState.DOWN or node.reason)
            and not node.flags & NodeFlag.NOT_RESPONDING
        }
        self.store.put_note("states", json.dumps({"nodes": nodes, "partitions": self.partition_states}))

    def _set_cluster(self, cluster: ClusterConfig) -> None:
        self.cluster = self.reservations.cluster = self.policy.cluster = cluster
        #: the nodes of each partition, in the cluster's order
        self.partition_nodes = {part.name: partition_nodes(cluster, part) for part in cluster.partitions}
        # Without tiers and QOS only a job's own priority counts, which sorts a long queue faster.
        self.ranked = self.policy.active or any(part.priority_tier != 1 for part in cluster.partitions)
        for name, node in self.nodes.items():
            node.partitions = tuple(part.name for part in cluster.partitions if name in part.nodes)

    def assume(self, names: Iterable[str]) -> None:
        """Add unknown partitions that jobs name, in a cluster that accepts any name."""
        cluster = assumed.with_partitions(self.cluster, names)
        if cluster is not self.cluster:
            self._set_cluster(cluster)

    def with_virtual_nodes(self) -> tuple[dict[str, Node], ClusterConfig]:
        """Return nodes and cluster, with the virtual nodes of running jobs."""
        if self.virtual.machine is None:
            return self.nodes, self.cluster
        names = tuple(part.name for part in self.cluster.partitions)
        nodes = self.virtual.nodes(self.nodes, [self.jobs[job_id] for job_id in sorted(self.active)], names)
        return nodes, cluster_of(self.cluster, nodes)

    def store_accounting(self) -> None:
        """Apply and commit sacctmgr's changes. Raises StoreError."""
        account_overrides.store_overrides(self.store, self.overrides)
        site = self._site_cluster
        cluster = self.overrides.applied(replace(self.cluster, accounts=site.accounts, qos=site.qos))
        self._set_policy(cluster)
        self.accounts = self._account_names()
        self._set_cluster(cluster)

    def _set_policy(self, cluster: ClusterConfig) -> None:
        def uses() -> list[Use]:
            return self.store.uses(0, self.clock(), self.clock(), ANY)

        self.usage = UsageLimits(cluster, uses, self.clock)
        self.policy = Policy(cluster, lambda: [self.jobs[job_id] for job_id in self.active], self.usage)

    def _account_names(self) -> tuple[str, ...]:
        gone = self.overrides.deleted_accounts
        return tuple(
            dict.fromkeys(name for name in (*self._site_accounts, *self.overrides.accounts) if name not in gone)
        )

    def store_partition(self, config: PartitionConfig, state: str = "") -> None:
        """Add or change a partition. Raises StoreError. ``state``: its new state; "": unchanged."""
        partition_overrides.store_partition(self.store, config)
        self._set_cluster(partition_overrides.with_partition(self.cluster, config))
        if state:
            self.partition_states[config.name] = state
            self.store_states()

    def replace_node_config(self, config: NodeConfig) -> None:
        """Replace a node's configuration by one with the values that its agent detected."""
        self.nodes[config.name].config = self.uses[config.name].config = config
        nodes = tuple(config if one.name == config.name else one for one in self.cluster.nodes)
        self._set_cluster(replace(self.cluster, nodes=nodes))

    def store_node_changes(self, changes: node_overrides.Changes) -> None:
        """Apply and commit changes of nodes, by name. Raises StoreError."""
        for name, values in changes.items():
            self.node_changes.setdefault(name, {}).update(values)
        node_overrides.store_changes(self.store, self.node_changes)
        self._set_cluster(node_overrides.applied(self.cluster, self.node_changes))
        self._apply_node_changes()

    def _apply_node_changes(self) -> None:
        for config in self.cluster.nodes:
            for field, value in self.node_changes.get(config.name, {}).items():
                node, use = self.nodes[config.name], self.uses[config.name]
                if field in node_overrides.CONFIGURED:
                    node.config = use.config = replace(node.config, **{field: value})
                else:
                    setattr(node, field, value)

    @property
    def reconfigurable(self) -> bool:
        """True if scontrol reconfigure would reset values that scontrol changed."""
        kept = self._reconfig_flags()
        return (
            any(node_overrides.CONFIGURED & values.keys() for values in self.node_changes.values())
            or ("keeppartinfo" not in kept and partition_overrides.any_kept(self.store))
            or (not kept & _KEEP_STATES and bool(self.partition_states))
        )

    def forget_configuration(self) -> None:
        """Drop scontrol's changes at scontrol reconfigure. Raises StoreError.

        The next controller reads the site file's weights and features of nodes, and its partitions unless ReconfigFlags
        keeps the changed ones.
        """
        kept = self._reconfig_flags()
        for values in self.node_changes.values():
            for field in node_overrides.CONFIGURED:
                values.pop(field, None)
        node_overrides.store_changes(self.store, self.node_changes)
        if "keeppartinfo" not in kept:
            partition_overrides.forget(self.store)
        if not kept & _KEEP_STATES:
            self.partition_states.clear()
            self.store_states()

    def _reconfig_flags(self) -> set[str]:
        return set(self.cluster.parameter("ReconfigFlags").lower().split(","))

    def partition_state(self, partition: PartitionConfig) -> str:
        """UP, DOWN, DRAIN or INACTIVE."""
        return self.partition_states.get(partition.name, partition.state).upper()

    def delete_partition(self, name: str) -> None:
        """Remove a partition. Raises StoreError."""
        partition_overrides.store_deletion(self.store, name)
        self.partition_states.pop(name, None)
        self._set_cluster(partition_overrides.without(self.cluster, name))
        self.store_states()

    def _apply_states(self, kept: Any) -> None:
        names = {partition.name for partition in self.cluster.partitions}
        self.partition_states.update({name: word for name, word in kept["partitions"].items() if name in names})
        for name, (down, flags, reason, since, user) in kept["nodes"].items():
            node = self.nodes.get(name)
            if node is not None:
                node.state = NodeState.DOWN if down else node.state
                node.flags |= NodeFlag(flags)
                node.reason, node.reason_time, node.reason_user = reason, since, user
                self.refresh_node(node)

    def replace_reserved(self) -> bool:
        """Replace lost and used nodes of reservations. Return whether a node was replaced."""
        return self.reservations.replace_nodes(self.jobs.values())

    def mark_reserved(self) -> None:
        """Replace lost nodes of reservations, and set the flags of reserved nodes."""
        self.replace_reserved()
        marks = self.reservations.marks(self.clock())
        for name, node in self.nodes.items():
            flags, node.reservation = marks.get(name, (NodeFlag.NONE, ""))
            node.flags = node.flags & ~(NodeFlag.RESERVED | NodeFlag.MAINT) | flags

    def refresh_node(self, node: Node) -> None:
        """Recompute a node's shown use and state from its bookings."""
        use = self.uses[node.config.name]
        node.alloc_cpus = len(use.cpu_ids)
        node.alloc_memory_mib = use.memory_mib
        node.alloc_gres = {key: len(ids) for key, ids in use.gres.items() if ids}
        node.alloc_gres_ids = {key: tuple(sorted(ids)) for key, ids in use.gres.items() if ids}
        node.jobs = frozenset(use.jobs)
        leaves = NodeFlag.POWER_DOWN in node.flags and not use.jobs
        use.available = (
            node.state is not NodeState.DOWN
            and node.state is not NodeState.FUTURE
            and not node.flags & _NOT_AVAILABLE
            and not leaves
        )
        if node.state in (NodeState.IDLE, NodeState.MIXED, NodeState.ALLOCATED, NodeState.UNKNOWN):
            if use.exclusive or node.alloc_cpus >= node.config.cpus:
                node.state = NodeState.ALLOCATED
            else:
                node.state = NodeState.MIXED if node.alloc_cpus else NodeState.IDLE
