"""Resources of one node that jobs hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from ...model.allocation import NodeShare
from ...model.cluster import NodeConfig


@dataclass
class NodeUse:
    """The resources of one node that jobs hold."""

    config: NodeConfig
    available: bool = True  # up and not drained
    cpu_ids: set[int] = field(default_factory=set)
    #: number of further jobs on each CPU that several jobs hold, because a suspended one was resumed
    oversubscribed: Counter[int] = field(default_factory=Counter)
    memory_mib: int = 0
    gres: dict[str, set[int]] = field(default_factory=dict)
    jobs: set[int] = field(default_factory=set)  # 0: other users or reservations
    exclusive: bool = False  # one job holds the node exclusively
    partitions: dict[str, int] = field(default_factory=dict)  # CPUs that each partition's jobs hold

    def copy(self) -> NodeUse:
        """Return an independent copy."""
        return NodeUse(
            self.config,
            self.available,
            set(self.cpu_ids),
            self.oversubscribed.copy(),
            self.memory_mib,
            {key: set(ids) for key, ids in self.gres.items()},
            set(self.jobs),
            self.exclusive,
            dict(self.partitions),
        )

    def allocate(self, job_id: int, share: NodeShare, exclusive: bool, partition: str = "") -> None:
        """Add a job's share."""
        self.jobs.add(job_id)
        self.partitions[partition] = self.partitions.get(partition, 0) + len(share.cpu_ids)
        self.oversubscribed.update(self.cpu_ids.intersection(share.cpu_ids))
        self.cpu_ids.update(share.cpu_ids)
        self.memory_mib += share.memory_mib
        for key, ids in self._consumed(share):
            self.gres.setdefault(key, set()).update(ids)
        self.exclusive = self.exclusive or exclusive

    def release(self, job_id: int, share: NodeShare, partition: str = "") -> None:
        """Remove a job's share."""
        self.jobs.discard(job_id)
        self.partitions[partition] = max(0, self.partitions.get(partition, 0) - len(share.cpu_ids))
        still = self.oversubscribed & Counter(share.cpu_ids)
        self.oversubscribed -= still
        self.cpu_ids.difference_update(set(share.cpu_ids) - still.keys())
        self.memory_mib = max(0, self.memory_mib - share.memory_mib)
        for key, ids in self._consumed(share):
            self.gres.get(key, set()).difference_update(ids)
        if not self.cpu_ids:
            self.exclusive = False

    def _consumed(self, share: NodeShare) -> Iterator[tuple[str, tuple[int, ...]]]:
        """The devices of a share that other jobs cannot hold too."""
        unlimited = self.config.gres_not_consumed
        return ((key, ids) for key, ids in share.gres.items() if key.partition(":")[0] not in unlimited)

    def free_devices(self, name: str, kind: str = "") -> list[tuple[str, int]]:
        """Free devices of a gres as (key, index), lowest index first. Indices run over all types of a name."""
        free = []
        base = 0
        for gres_name, gres_type, count in self.config.gres:
            if gres_name != name:
                continue
            key = f"{gres_name}:{gres_type}" if gres_type else gres_name
            if not kind or kind == gres_type:
                taken = self.gres.get(key, set())
                free += [(key, index) for index in range(base, base + count) if index not in taken]
            base += count
        return free


class DeviceSelection:
    """Free devices of one node that are selected for one job."""

    def __init__(self, use: NodeUse) -> None:
        self._use = use
        self._ids: dict[str, list[int]] = {}
        self.gpus = 0

    def select(self, name: str, kind: str, count: int) -> bool:
        """Select the lowest free devices; return False if too few are free."""
        free = self.free(name, kind)
        if len(free) < count:
            return False
        for key, index in free[:count]:
            self._ids.setdefault(key, []).append(index)
        self.gpus += count if name == "gpu" else 0
        return True

    def free(self, name: str, kind: str = "") -> list[tuple[str, int]]:
        """Devices that no job holds and that are not selected."""
        free = self._use.free_devices(name, kind)
        return [(key, index) for key, index in free if index not in self._ids.get(key, [])]

    @property
    def selected(self) -> dict[str, tuple[int, ...]]:
        """Indices of the selected devices, by gres key."""
        return {key: tuple(sorted(ids)) for key, ids in self._ids.items()}
