"""Health of this machine's nodes: DOWN until an agent answers.

Source: slurmctld set_node_down_ptr and node_did_resp; ReturnToService decides whether a node returns automatically.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from ...model.states import NodeFlag, NodeState
from .job_table import JobTable

log = logging.getLogger("slurmsky.controller")

#: the user that is shown as setting such a node down; slurmctld shows SlurmUser
_USER = "slurm"


class NodeHealth:
    """Applies the states that an engine reports for its nodes. ``changed(name, word)`` runs after each change."""

    def __init__(self, job_table: JobTable, changed: Callable[[str, str], None]) -> None:
        self._job_table = job_table
        self._changed = changed
        self._drained: set[str] = set()  # nodes that an engine drained

    def down(self, name: str, reason: str) -> None:
        """Set a node DOWN. A node that is already DOWN keeps its reason, also if a user set it."""
        node = self._job_table.nodes.get(name)
        if node is None or node.state is NodeState.DOWN:
            return
        log.error("node %s is down: %s", name, reason)
        node.state = NodeState.DOWN
        node.flags |= NodeFlag.NOT_RESPONDING
        if not node.flags & NodeFlag.DRAIN or not node.reason:
            node.reason, node.reason_user, node.reason_time = reason, _USER, self._job_table.clock()
        self._job_table.refresh_node(node)
        self._changed(name, "DOWN")

    def drain(self, name: str, reason: str) -> None:
        """Drain a node until an engine reports it as up. A node that a user drained stays drained."""
        node = self._job_table.nodes.get(name)
        if node is None or node.flags & NodeFlag.DRAIN:
            return
        log.info("node %s is drained: %s", name, reason)
        self._drained.add(name)
        node.flags |= NodeFlag.DRAIN
        node.reason, node.reason_user, node.reason_time = reason, _USER, self._job_table.clock()
        self._job_table.refresh_node(node)
        self._changed(name, "DRAINED")

    def _undrain(self, name: str) -> None:
        node = self._job_table.nodes.get(name)
        self._drained.discard(name)
        if node is None or node.reason_user != _USER:
            return  # a user drained it meanwhile
        node.flags &= ~NodeFlag.DRAIN
        node.reason, node.reason_user, node.reason_time = "", "", 0.0
        self._job_table.refresh_node(node)
        self._changed(name, "UP")

    def up(self, name: str) -> None:
        """Return a node with an answering agent to service. With ReturnToService=0 the administrator does this."""
        node = self._job_table.nodes.get(name)
        if name in self._drained:
            self._undrain(name)
        if node is None or not node.flags & NodeFlag.NOT_RESPONDING:
            return
        node.flags &= ~NodeFlag.NOT_RESPONDING
        if node.state is NodeState.DOWN and dict(self._job_table.cluster.parameters).get("ReturnToService", "2") != "0":
            log.info("node %s responds again", name)
            node.state = NodeState.IDLE
            if not node.flags & NodeFlag.DRAIN:
                node.reason, node.reason_user, node.reason_time = "", "", 0.0
        self._job_table.refresh_node(node)
        self._changed(name, "UP")
