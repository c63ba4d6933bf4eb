"""This machine's nodes without the resources of other users' jobs."""

from __future__ import annotations

from collections.abc import Callable

from ..jobs.job_table import JobTable
from ..rules.node_use import NodeUse
from .machine_ledger import NOTHING, Held, Ledger

#: seconds until the entries of other controllers are read again while jobs wait for their resources
NEXT_PASS_S = 2.0
#: seconds until an entry that holds more than our jobs do is written again
REWRITE_S = 0.3
#: a cluster of more nodes is a simulation, not this machine
MOST_NODES = 64


class MachineShare:
    """Reads and writes the machine-wide ledger in each pass.

    ``cpus`` and ``physical_gpus`` belong to the machine. Several controllers of one user occur in tests only: they do
    not count against each other, except for devices that exist.
    """

    def __init__(
        self, job_table: JobTable, ledger: Ledger | None = None, cpus: int = 0, physical_gpus: int = 0
    ) -> None:
        self._job_table = job_table
        self._ledger = ledger
        self._cpus, self._physical_gpus = cpus, physical_gpus
        self._others = NOTHING
        self._other_users = False  # True if another user holds resources
        self._nodes: list[NodeUse] = []  # nodes of this machine
        self._exclusive_user_partitions: frozenset[str] = frozenset()  # partitions of this machine with ExclusiveUser
        self.entry_current = True  # False: the entry holds more than our jobs do, and a further pass is due soon

    @property
    def contended(self) -> bool:
        """True while other controllers hold resources."""
        return self._others is not NOTHING

    def begin(self, on_this_machine: Callable[[str], bool]) -> None:
        """Begin a pass: lock and read the others' entries until ``end``."""
        if self._ledger is None:
            return
        parts = [name for name in self._job_table.partition_nodes if on_this_machine(name)]
        names = dict.fromkeys(node.name for part in parts for node in self._job_table.partition_nodes[part])
        self._exclusive_user_partitions = frozenset(part.name for part in self._job_table.cluster.partitions
                                   if part.exclusive_user and part.name in parts)  # fmt: skip
        self._nodes = [self._job_table.uses[name] for name in names] if len(names) <= MOST_NODES else []
        self._ledger.enter()
        theirs, ours = self._ledger.others()
        self._other_users = theirs != NOTHING
        gpus = frozenset(index for index in ours.gpus if index < self._physical_gpus)
        self._others = theirs + Held(gpus=gpus) if gpus else theirs

    def end(self) -> None:
        """End a pass: write the resources that our jobs hold now."""
        if self._ledger is not None:
            self.entry_current = self._ledger.leave(self.held_by_jobs())

    def close(self) -> None:
        """Close the ledger at the controller's shutdown; its jobs continue."""
        if self._ledger is not None:
            self._ledger.close(self.held_by_jobs())
            self._ledger = None

    def held_by_jobs(self) -> Held:
        """Resources of this machine that our jobs hold."""
        nodes = self._nodes
        if any(use.partitions.get(name) for use in nodes for name in self._exclusive_user_partitions):
            return self._whole()
        gpus = {index for use in nodes for key, ids in use.gres.items() if key.split(":")[0] == "gpu" for index in ids}
        return Held(
            sum(len(use.cpu_ids) for use in nodes),
            sum(use.memory_mib for use in nodes),
            frozenset(gpus),
            frozenset(nodes[0].cpu_ids) if len(nodes) == 1 else frozenset(),
        )

    def _whole(self) -> Held:
        """All resources of this machine. A job of a partition with ExclusiveUser shares them with no other user."""
        counts = [sum(count for name, _, count in use.config.gres if name == "gpu") for use in self._nodes]
        memory = sum(use.config.memory_mib for use in self._nodes)
        gpus = range(max(self._physical_gpus, *counts))
        return Held(self._cpus, memory, frozenset(gpus), frozenset(range(self._cpus)))

    def open(self, uses: list[NodeUse], partition: str = "") -> list[NodeUse]:
        """Return nodes of this machine without other controllers' resources."""
        others = self._others
        if others is NOTHING or not self._nodes:
            return uses
        cpus = others.cpus - max(0, self._cpus - sum(use.config.cpus for use in self._nodes))
        memory = others.memory_mib
        found = []
        for use in uses:
            left = use.copy()
            free = [index for index in range(use.config.cpus) if index not in use.cpu_ids]
            # First the CPUs that are known to be in use, then the last CPUs.
            free.sort(key=lambda index: (index not in others.cpu_ids, -index))
            taken = set(free[: max(0, cpus)])
            room = max(0, use.config.memory_mib - use.memory_mib)
            left.cpu_ids |= taken
            left.memory_mib += min(memory, room)
            cpus, memory = cpus - len(taken), memory - min(memory, room)
            for name, kind, _count in use.config.gres:
                if name == "gpu" and others.gpus:
                    left.gres.setdefault(f"{name}:{kind}" if kind else name, set()).update(others.gpus)
            if taken or others.gpus:
                left.jobs.add(0)  # no job has this id: no job can have the whole node now
            left.exclusive = left.exclusive or (self._other_users and partition in self._exclusive_user_partitions)
            found.append(left)
        return found
