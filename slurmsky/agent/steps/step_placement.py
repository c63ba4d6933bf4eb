"""Chooses the nodes of a step in its job.

Pure functions. Source: stepmgr.c _pick_step_nodes, observed on the oracle.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import AbstractSet, Iterable, Optional, Sequence, Union


class PlacementVerdict(Enum):
    """Reason for refusing a step's nodes, in Slurm's words."""

    BUSY = "Requested nodes are busy"  # the only temporary one
    TOO_MANY = "More processors requested than permitted"
    UNAVAILABLE = "Requested node configuration is not available"
    BAD_GRES = "Invalid generic resource (gres) specification"
    TOO_MUCH_MEMORY = "Memory required by task is not available"


@dataclass(frozen=True)
class NodeOffer:
    """Resources of a job's node, and their use by other steps."""

    cpus: int  # allocated to the job
    used: int = 0  # of these, in use by other steps
    idle: bool = True  # no step runs here
    gpus: int = 0  # allocated to the job
    gpus_free: int = 0


@dataclass(frozen=True)
class StepDemand:
    """The resources that a step requests."""

    least: int  # minimum of nodes
    most: int
    cpus: int = 0  # total over all nodes; 0: any number (--overcommit)
    whole: bool = False  # all of the job's CPUs on each node
    overlap: bool = False
    named: AbstractSet[int] = field(default_factory=frozenset)  # nodes of -w, as indices
    arbitrary: bool = False  # exactly the named ones
    relative: int = 0  # number of nodes skipped at the beginning
    pack: bool = False
    gpus_here: int = 0  # GPUs that each node must have; 0: none are requested
    gpus_in_all: int = 0


def pick(rooms: Sequence[NodeOffer], allowed: Iterable[int], demand: StepDemand) -> Union[list[int], PlacementVerdict]:
    """Choose the step's nodes, as indices, in order.

    >>> wide = StepDemand(1, 1, cpus=3)
    >>> pick([NodeOffer(3), NodeOffer(1)], range(2), wide), pick([NodeOffer(1), NodeOffer(3)], range(2), wide)
    ([0], [1])
    >>> pick([NodeOffer(2), NodeOffer(2)], range(2), wide)
    <PlacementVerdict.TOO_MANY: 'More processors requested than permitted'>
    """
    search = _Search(rooms, demand)
    return search.check_nodes(allowed) or search.apply_node_names() or search.choose_nodes()


class _Search:
    def __init__(self, rooms: Sequence[NodeOffer], demand: StepDemand) -> None:
        self.rooms = rooms
        self.demand = demand
        self.least, self.most = demand.least, demand.most
        self.usable: dict[int, int] = {}  # CPUs of a node that the step can use
        self.free: list[int] = []  # nodes that may be chosen, in order
        self.picked: list[int] = []
        # Resources held by other steps; non-zero means busy, not impossible.
        self.blocked_cpus = self.blocked_nodes = 0
        self.cpus_without_gpus = self.nodes_without_gpus = 0  # unusable because other steps hold their GPUs

    def check_nodes(self, allowed: Iterable[int]) -> Optional[PlacementVerdict]:
        """Compute the CPUs that the step can use on each node."""
        demand, hopeless = self.demand, 0
        for index in allowed:
            room = self.rooms[index]
            usable = room.cpus
            if not demand.overlap:
                self.blocked_cpus += room.used
                usable = 0 if demand.whole and room.used else max(0, room.cpus - room.used)
                if not usable:
                    self.blocked_nodes += 1
                    continue
            if demand.gpus_here:
                ever = usable if room.gpus >= demand.gpus_here else 0
                now = usable if (room.gpus if demand.overlap else room.gpus_free) >= demand.gpus_here else 0
                hopeless += not ever
                self.cpus_without_gpus += ever - now
                if not now:
                    if demand.least == len(self.rooms):
                        return PlacementVerdict.BUSY if ever else PlacementVerdict.BAD_GRES
                    self.nodes_without_gpus += 1
                    continue
            self.usable[index] = usable
            self.free.append(index)
        return PlacementVerdict.BAD_GRES if hopeless > len(self.rooms) - demand.least else None

    def apply_node_names(self) -> Optional[PlacementVerdict]:
        """Apply -w and -r. -w: choose the named nodes first, or only among them if they suffice; -r skips nodes."""
        demand = self.demand
        if demand.named:
            if not demand.named <= set(self.free):
                waits = self.blocked_nodes or self.nodes_without_gpus
                return PlacementVerdict.BUSY if waits else PlacementVerdict.TOO_MUCH_MEMORY
            if demand.arbitrary:
                self.least = len(demand.named)
            if len(demand.named) > self.most:
                return PlacementVerdict.UNAVAILABLE
            if len(demand.named) > self.least:
                self.free = sorted(demand.named)
            else:
                self._take(sorted(demand.named))
        self._only_with_gpus()
        self.free = [index for index in self.free if index >= demand.relative]
        return None

    def _only_with_gpus(self) -> None:
        """Restrict --gpus steps to nodes with GPUs. First to nodes with an equal share, then to those with fewer."""
        left = self.demand.gpus_in_all
        if not left:
            return
        limit = -(-left // max(1, self.least))
        found: list[int] = []
        while limit >= 0:
            fewer = -1
            for index in self.free:
                have = self.rooms[index].gpus if self.demand.overlap else self.rooms[index].gpus_free
                if index in found:
                    continue
                if have >= limit:
                    found.append(index)
                    left -= have
                else:
                    fewer = max(fewer, have)
                if left <= 0 and len(found) >= self.least:
                    self.free = sorted(found)
                    return
            limit = fewer

    def choose_nodes(self) -> Union[list[int], PlacementVerdict]:
        """Choose from the idle nodes if they suffice, else from all free ones."""
        demand = self.demand
        sizes = {room.cpus for room in self.rooms}
        if demand.cpus and len(sizes) == 1:
            self.least = max(self.least, -(-demand.cpus // max(1, *sizes, 1)))
            if demand.pack:
                self.most = self.least
            if self.most < self.least:
                return PlacementVerdict.TOO_MANY
        if len(self.free) + len(self.picked) < self.least:
            return PlacementVerdict.BUSY
        # With -r, Slurm does not prefer idle nodes.
        idle = [] if demand.relative else [index for index in self.free if self.rooms[index].idle]
        needed = self.least - len(self.picked)
        if needed > 0 and not (self._choose_from(idle, needed) or self._choose_from(self.free, needed)):
            return self._missing(len(self.picked) + (len(self.free) if len(self.free) >= needed else 0))
        return self._add_cpus()

    def _choose_from(self, pool: Sequence[int], needed: int) -> bool:
        """Choose nodes of ``pool`` with enough CPUs, at most the step's maximum of nodes; False: too few."""
        if len(pool) < needed:
            return False
        cpus = max(0, self.demand.cpus - sum(self.usable[index] for index in self.picked))
        nodes = min(max(self.most, self.least) - len(self.picked), len(pool))
        found = _by_cpus([(index, self.usable[index]) for index in pool], nodes, cpus)
        if found is None:
            return False
        self._take(found)
        return True

    def _missing(self, nodes: int) -> PlacementVerdict:
        if self.most <= nodes and not self.cpus_without_gpus and not self.blocked_cpus:
            return PlacementVerdict.TOO_MANY
        if self.cpus_without_gpus or self.least <= nodes + self.nodes_without_gpus + self.blocked_nodes:
            return PlacementVerdict.BUSY
        return PlacementVerdict.UNAVAILABLE

    def _add_cpus(self) -> Union[list[int], PlacementVerdict]:
        """Add nodes until the step has enough CPUs."""
        wanted = self.demand.cpus
        have = sum(self.usable[index] for index in self.picked)
        while wanted > have and self.free and len(self.picked) < self.most:
            have += self.usable[self.free[0]]
            self._take(self.free[:1])
        if wanted > have:
            waits = wanted <= have + self.cpus_without_gpus + self.blocked_cpus
            return PlacementVerdict.BUSY if waits else PlacementVerdict.UNAVAILABLE
        return sorted(self.picked)

    def _take(self, nodes: Sequence[int]) -> None:
        self.picked += nodes
        self.free = [index for index in self.free if index not in nodes]


def _by_cpus(pool: Sequence[tuple[int, int]], nodes: int, cpus: int) -> Optional[list[int]]:
    """Choose at most ``nodes`` of ``pool`` with ``cpus`` CPUs, or None.

    ``pool``: (index, CPUs). Nodes with an equal share are chosen first, then the largest of the others.
    """
    if nodes <= 0:
        return []
    if cpus <= nodes:
        return [index for index, _ in pool[:nodes]]
    share = -(-cpus // nodes)
    found, left = [], cpus
    for index, size in pool:
        if size >= share:
            found.append(index)
            left -= size
            if left <= 0 and len(found) == nodes:
                return found
            if len(found) == nodes:
                return None
    for index, size in sorted((entry for entry in pool if entry[1] < share), key=lambda entry: -entry[1]):
        found.append(index)
        left -= size
        if left <= 0 and len(found) >= nodes:
            return found
        if len(found) == nodes:
            return None
    return None
