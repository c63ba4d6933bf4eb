"""Nodes, licences and limits with the planned starts applied."""

from __future__ import annotations

from collections.abc import Callable

from ...language import licenses
from ...model.allocation import NodeShare
from ...model.job import Job
from ..jobs.job_table import JobTable
from ..jobs.plan import Start
from ..rules.node_use import NodeUse


class Trial:
    """Use of nodes and licences with planned starts.

    The job table does not change: a node is copied before a change. A fork (a trial on top of a trial) holds the
    components of a het job, of which all or none start.
    """

    def __init__(
        self, job_table: JobTable, shared: Callable[[str, list[NodeUse]], list[NodeUse]], parent: Trial | None = None
    ) -> None:
        self._job_table = job_table
        self._shared = shared
        self._parent = parent
        self._uses: dict[str, NodeUse] = {}
        self._lists: dict[str, list[NodeUse]] = {}  # nodes by partition
        self._licenses: dict[str, int] = {}
        #: planned starts, with their shares of real nodes
        self.starts: list[tuple[Start, list[NodeShare]]] = []

    def fork(self) -> Trial:
        """Return a trial on top of this one. ``merge`` adds its starts to this one."""
        return Trial(self._job_table, self._shared, self)

    def merge(self, fork: Trial) -> None:
        """Add the starts of a fork to this trial."""
        self._uses.update(fork._uses)
        self._lists.clear()
        for name, count in fork._licenses.items():
            self._licenses[name] = self._licenses.get(name, 0) + count
        self.starts += fork.starts

    def use_of_node(self, name: str) -> NodeUse:
        """The use of one node."""
        found = self._uses.get(name)
        if found is not None:
            return found
        return self._job_table.uses[name] if self._parent is None else self._parent.use_of_node(name)

    def uses(self, partition: str) -> list[NodeUse]:
        """Nodes of a partition, without the resources of other users."""
        found = self._lists.get(partition)
        if found is None:
            found = self._lists[partition] = [
                self.use_of_node(node.name) for node in self._job_table.partition_nodes[partition]
            ]
        return self._shared(partition, found)

    def lacks_license(self, text: str) -> bool:
        """True if the requested licences are not free."""
        total = dict(self._job_table.cluster.licenses)
        if self._job_table.cluster.open and not total:
            return False
        return licenses.parse(text).first_available(self._free_licenses) is None

    def _free_licenses(self, name: str) -> int:
        below = self._job_table.free_licenses if self._parent is None else self._parent._free_licenses
        return below(name) - self._licenses.get(name, 0)

    def add(self, start: Start) -> None:
        """Book the nodes and licences of a start."""
        job_table, job = self._job_table, start.job
        machine = job_table.virtual.machine
        held = (
            start.shares
            if machine is None
            else job_table.virtual.real_shares(start.shares, self.use_of_node(machine.name))
        )
        exclusive = job.spec.whole_nodes
        for share in held:
            if share.name in job_table.uses:
                self._own(share.name).allocate(start.job_id, share, exclusive, start.partition)
        if job.spec.licenses:
            self._take_licenses(job)
        self.starts.append((start, held))

    def _take_licenses(self, job: Job) -> None:
        assert job.spec.licenses is not None
        wanted = licenses.parse(job.licenses_alloc or job.spec.licenses)
        taken = wanted if job.licenses_alloc else wanted.first_available(self._free_licenses)
        for name, count in (taken or wanted).counts:
            self._licenses[name] = self._licenses.get(name, 0) + count

    def _own(self, name: str) -> NodeUse:
        found = self._uses.get(name)
        if found is None:
            found = self._uses[name] = self.use_of_node(name).copy()
            self._lists.clear()
        return found
