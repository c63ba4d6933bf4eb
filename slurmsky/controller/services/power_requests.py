"""Requests to power down or reboot a node once it is idle. The store keeps them over a restart of the controller."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass

from ...model import plain
from ...model.states import NodeFlag
from ..jobs.job_table import JobTable

_NOTE = "power_requests"


@dataclass
class PowerRequest:
    """A request: ``flag`` is POWER_DOWN or REBOOT.

    ``drained``: the request drains the node until it is completed. ``down``: the node is DOWN afterwards.
    """

    flag: str
    drained: bool = False
    down: bool = False


class PowerRequests:
    """The open requests by node, shown as flags of the nodes."""

    def __init__(self, job_table: JobTable, nodes: Collection[str]) -> None:
        self._job_table = job_table
        rows = json.loads(job_table.store.read_note(_NOTE) or "{}")
        self._of = {name: plain.read(PowerRequest, row) for name, row in rows.items() if name in nodes}
        for name, request in self._of.items():
            self._show(name, request)

    def __contains__(self, name: str) -> bool:
        return name in self._of

    @property
    def names(self) -> list[str]:
        """Nodes with a request."""
        return list(self._of)

    def is_reboot(self, name: str) -> bool:
        """True if a node's request is a reboot."""
        return name in self._of and self._of[name].flag == NodeFlag.REBOOT.name

    def add(self, name: str, flag: NodeFlag, drain: bool, down: bool = False) -> None:
        """Record a request. ``drain``: no job starts on the node before."""
        self.remove(name)
        drained = drain and not self._job_table.nodes[name].flags & NodeFlag.DRAIN
        self._of[name] = PowerRequest(str(flag.name), drained, down)
        self._show(name, self._of[name])
        self._save()

    def remove(self, name: str) -> PowerRequest | None:
        """Remove and return a node's request, with its flags; None: no request."""
        request = self._of.pop(name, None)
        if request is not None:
            node = self._job_table.nodes[name]
            node.flags &= ~(NodeFlag[request.flag] | (NodeFlag.DRAIN if request.drained else NodeFlag.NONE))
            self._save()
            self._job_table.store_states()  # the stored states may include the drain
        return request

    def _show(self, name: str, request: PowerRequest) -> None:
        node = self._job_table.nodes[name]
        node.flags |= NodeFlag[request.flag] | (NodeFlag.DRAIN if request.drained else NodeFlag.NONE)

    def _save(self) -> None:
        rows = {name: plain.write(request) for name, request in self._of.items()}
        self._job_table.store.put_note(_NOTE, json.dumps(rows))
