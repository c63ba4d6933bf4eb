"""Advance reservations: nodes or cores kept for users at given times.

Source: slurmctld/reservation.c create_resv, job_test_resv, job_resv_check.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from ...model import plain
from ...model.cluster import ClusterConfig, PartitionConfig
from ...model.job import Job
from ...model.reservation import Reservation
from ...model.states import JobState, NodeFlag
from ..slurm_errors import Errno, SlurmError
from ..store.database import Store
from . import recurrence
from .job_placement import feature_choices
from .node_use import NodeUse
from .open_nodes import end_of, open_nodes
from .reservation_access import names_of
from .reservation_flags import check_flags
from .submit_checks import check_features

#: seconds in the past at which a reservation may begin (reservation.c MAX_RESV_DELAY)
LATE_S = 600
#: Slurm's reason for a job that only reserved nodes could run
RESERVED = "ReqNodeNotAvail, May be reserved for other job"
_NOTE = "reservations"
_SHARED = frozenset({"MAINT", "OVERLAP"})  # flags of reservations that share nodes with others


@dataclass(frozen=True)
class _StoredReservations:
    made: int
    all: tuple[Reservation, ...]


class Reservations:
    """All reservations, which the store keeps."""

    def __init__(
        self,
        store: Store,
        cluster: ClusterConfig,
        clock: Callable[[], float],
        available: Callable[[str], bool] = lambda name: True,
    ) -> None:
        """``available``: returns True for a node that is up and not drained."""
        self._store, self.cluster, self._clock, self._available = store, cluster, clock, available
        known = {node.name for node in cluster.nodes}
        kept = store.damage.parse_note(
            _NOTE, lambda kept: plain.read(_StoredReservations, kept)
        ) or _StoredReservations(0, ())
        self._made = kept.made
        self._all = {one.name: one for one in kept.all if known.issuperset(one.nodes)}
        self._idle_since: dict[str, float] = {}

    @property
    def all(self) -> dict[str, Reservation]:
        """Reservations by name; floating ones have their present times."""
        now = self._clock()
        for one in self._all.values():
            if one.float_s is not None:
                self._all[one.name] = one.at(now)
        return self._all

    def _keep(self) -> None:
        kept = _StoredReservations(self._made, tuple(self.all.values()))
        self._store.put_note(_NOTE, json.dumps(plain.write(kept)))

    # --- changes by administrators

    def create(
        self, wanted: Reservation, node_count: int, jobs: Iterable[Job], cores: int | None = None
    ) -> Reservation:
        """Create a reservation. Raises SlurmError. ``node_count``: nodes to choose; ``cores``: cores to reserve."""
        now = self._clock()
        if "TIME_FLOAT" in wanted.flags:
            start = max(int(now), wanted.start)
            wanted = replace(wanted, float_s=start - int(now), start=start)
        if (wanted.end if "FORCE_START" in wanted.flags else wanted.start) < now - LATE_S:
            raise SlurmError(Errno.INVALID_TIME)
        check_flags(wanted, cores=cores)
        resolved = self._choose_nodes(wanted, node_count, list(jobs), cores)
        made, self._made = resolved, self._made + 1
        if not made.name:
            owner = (*made.accounts, *made.users, *made.groups)[0].lstrip("-")
            made = replace(made, name=f"{owner}_{self._made}")
        if made.name in self.all:
            raise SlurmError(Errno.RESERVATION_NAME)
        self.all[made.name] = made
        self._keep()
        return made

    def update(self, changed: Reservation, node_count: int, jobs: Iterable[Job]) -> None:
        """Replace the reservation of the same name. Raises SlurmError."""
        if not (changed.users or changed.groups or changed.accounts or changed.allowed_partitions or changed.qos):
            raise SlurmError(Errno.RESERVATION_EMPTY)
        if changed.end <= changed.start:
            raise SlurmError(Errno.INVALID_TIME)
        check_flags(changed, self.all[changed.name])
        if changed.parts:
            self._replace_cores(changed, list(jobs))
            return
        known = list(jobs)
        self.all[changed.name] = self._choose_nodes(self._resized(changed, node_count, known), 0, known)
        self._keep()

    def _resized(self, one: Reservation, count: int, jobs: list[Job]) -> Reservation:
        """Remove idle nodes first, or add free ones. ``count`` 0: no change. Source: reservation.c _resize_resv."""
        surplus = len(one.nodes) - count if count else 0
        if surplus > 0:
            busy = _busy(jobs)
            idle = [name for name in one.nodes if name not in busy and self._available(name)]
            kept = [name for name in one.nodes if name not in idle[:surplus]]
            return replace(one, nodes=tuple(kept[:count]))
        if surplus < 0:
            more = self._choose_nodes(replace(one, nodes=()), -surplus, jobs, beside=one.nodes)
            return replace(one, nodes=self._in_order({*one.nodes, *more.nodes}), partition=more.partition)
        return one

    def _replace_cores(self, changed: Reservation, jobs: list[Job]) -> None:
        """Replace a reservation of cores, which keeps its cores.

        Raises SlurmError if the cores are not free at the new times.
        """
        others = [job for job in jobs if changed.name not in names_of(job.spec)]
        before = self.all.pop(changed.name)
        try:
            for name, cpus in changed.parts:
                if not set(cpus) <= {cpu for core in self._free_cores(changed, name, others) for cpu in core}:
                    raise SlurmError(Errno.NODES_BUSY)
        except SlurmError:
            self.all[changed.name] = before
            raise
        self.all[changed.name] = changed
        self._keep()

    def delete(self, name: str, jobs: Iterable[Job]) -> None:
        """Delete a reservation. Raises SlurmError while a job uses it or waits for it."""
        if name not in self.all:
            raise SlurmError(Errno.INVALID_RESERVATION)
        if any(name in names_of(job.spec) and not job.state.finished for job in jobs):
            raise SlurmError(Errno.RESERVATION_BUSY)
        del self.all[name]
        self._idle_since.pop(name, None)
        self._keep()

    def _choose_nodes(
        self, wanted: Reservation, count: int, jobs: list[Job], cores: int | None = None, beside: Collection[str] = ()
    ) -> Reservation:
        """Choose nodes and cores for a reservation, other nodes than those ``beside``.

        A count larger than the partition means all of its nodes. Raises SlurmError if the nodes are not free during
        the reservation's time.
        """
        partition = self.cluster.partition(wanted.partition) if wanted.partition else None
        if wanted.partition and partition is None:
            raise SlurmError(Errno.INVALID_PARTITION)
        if count or (cores is not None and not wanted.nodes):
            chosen = partition or self.cluster.default_partition
            if chosen is None:
                raise SlurmError(Errno.DEFAULT_PARTITION_NOT_SET)
            check_features(self.cluster, wanted.features, Errno.INVALID_FEATURE)
            suited = [name for name in self._candidates(wanted, chosen) if name not in beside]
            if cores is not None:
                return self._reserve_cores(replace(wanted, partition=chosen.name), suited, count, cores, jobs)
            if wanted.features and len(suited) < count:
                raise SlurmError(Errno.NODE_CONFIG_UNAVAILABLE)
            unreserved = self._free(replace(wanted, flags=(*wanted.flags, "IGNORE_JOBS")), suited, jobs)
            count = min(count, len(unreserved))
            nodes = self._with_features(wanted, self._free(wanted, suited, jobs), count)
            if not count or len(nodes) < count:
                raise SlurmError(Errno.NODES_BUSY)
            wanted = replace(wanted, nodes=self._in_order(nodes), partition=chosen.name)
        known = {node.name: node for node in self.cluster.nodes}
        if not wanted.nodes or any(name not in known for name in wanted.nodes):
            raise SlurmError(Errno.INVALID_NODE_NAME)
        if cores is not None:
            if not cores:
                raise SlurmError(Errno.INVALID_CORE_COUNT)
            usual = self.cluster.default_partition
            if not wanted.partition and usual is not None and set(wanted.nodes) <= set(usual.nodes):
                wanted = replace(wanted, partition=usual.name)
            return self._reserve_cores(wanted, list(wanted.nodes), len(wanted.nodes), cores, jobs)
        conflict = self._conflict(wanted, jobs)
        if conflict is not None:
            raise SlurmError(conflict)
        return replace(wanted, cores=sum(known[name].cpus // known[name].threads for name in wanted.nodes))

    def _candidates(self, wanted: Reservation, partition: PartitionConfig) -> list[str]:
        """Return candidate nodes; with MAINT unavailable ones are last. Source: reservation.c _select_nodes."""
        choices = feature_choices(wanted.features)
        names = [
            node.name
            for node in self.cluster.nodes
            if node.name in partition.nodes and any(choice.matches(node.active) for choice in choices)
        ]
        if "MAINT" in wanted.flags:
            return sorted(names, key=lambda name: not self._available(name))
        return [name for name in names if self._available(name)]

    def _with_features(self, wanted: Reservation, names: Sequence[str], count: int) -> list[str]:
        """Select nodes with the requested features, the first of several; counted features come before others."""
        for choice in feature_choices(wanted.features):
            able = [name for name in names if choice.matches(self.cluster.node(name).active)]
            counted = choice.pick([(name, self.cluster.node(name).active) for name in able])
            if counted is not None and len(able) >= count:
                return list(dict.fromkeys((*counted, *able)))[: max(count, len(counted))]
        return []

    def _in_order(self, names: Collection[str]) -> tuple[str, ...]:
        return tuple(node.name for node in self.cluster.nodes if node.name in names)

    def replace_nodes(self, jobs: Iterable[Job]) -> bool:
        """Exchange unsuitable nodes for available idle nodes.

        Unsuitable are nodes that are down or drained, and with REPLACE busy ones. With REPLACE or REPLACE_DOWN any
        number of them is exchanged, else all or none. Return whether nodes were exchanged. Source: reservation.c
        _validate_node_choice and _resv_node_replace.
        """
        if not self._all:
            return False
        exchanged, known = False, list(jobs)
        busy = _busy(known)
        for one in list(self.all.values()):
            lost = [name for name in one.nodes
                    if not self._available(name) or ("REPLACE" in one.flags and name in busy)]  # fmt: skip
            partition = self.cluster.partition(one.partition)
            if not lost or partition is None or one.parts or {"SPEC_NODES", "STATIC", "MAINT"} & set(one.flags):
                continue
            others = [name for name in self._candidates(one, partition) if name not in one.nodes and name not in busy]
            free = self._free(one, others, known)
            kept = [name for name in one.nodes if name not in lost]
            chosen = self._with_features(one, [*kept, *free], min(len(one.nodes), len(kept) + len(free)))
            found = [name for name in chosen if name not in kept]
            if not found or (len(found) < len(lost) and not {"REPLACE", "REPLACE_DOWN"} & set(one.flags)):
                continue
            nodes = self._in_order({*one.nodes, *found} - set(lost[: len(found)]))
            cores = sum(node.cpus // node.threads for node in self.cluster.nodes if node.name in nodes)
            self.all[one.name] = replace(one, nodes=nodes, cores=cores)
            exchanged = True
        if exchanged:
            self._keep()
        return exchanged

    def _reserve_cores(
        self, wanted: Reservation, suited: list[str], count: int, cores: int, jobs: list[Job]
    ) -> Reservation:
        """Reserve ``cores`` cores, at least one on each of ``count`` nodes. ``count`` 0: as few nodes as possible."""
        free = {name: found for name in suited if (found := self._free_cores(wanted, name, jobs))}
        chosen = list(free)[:count] if count else list(free)
        left = max(cores, count)
        if not cores or len(chosen) < count or sum(len(free[name]) for name in chosen) < left:
            raise SlurmError(Errno.NODES_BUSY)
        taken = dict.fromkeys(chosen if count else (), 1)
        left -= len(taken)
        for name in chosen:
            more = min(left, len(free[name]) - taken.get(name, 0))
            if more:
                taken[name], left = taken.get(name, 0) + more, left - more
        order = [node.name for node in self.cluster.nodes if node.name in taken]
        parts = tuple((name, tuple([cpu for core in free[name][: taken[name]] for cpu in core])) for name in order)
        return replace(wanted, nodes=tuple(order), parts=parts, cores=sum(taken.values()))

    def _free_cores(self, wanted: Reservation, name: str, jobs: list[Job]) -> list[range]:
        """Return a node's cores that are free during that time, as CPUs.

        No other reservation and no running job has them.
        """
        node = self.cluster.node(name)
        every = set(range(node.cpus))
        taken: set[int] = set()
        if not _SHARED & set(wanted.flags):
            for other in self.all.values():
                if name in other.nodes and recurrence.overlap(other, wanted, self._clock()):
                    taken |= set(dict(other.parts).get(name, every))
        if "IGNORE_JOBS" not in wanted.flags:
            for job in jobs:
                if job.state.active and end_of(job, job.start_time) > wanted.start:
                    for share in job.shares:
                        if share.name == name:
                            taken |= every if job.spec.whole_nodes else set(share.cpu_ids)
        cores = [range(first, min(first + node.threads, node.cpus)) for first in range(0, node.cpus, node.threads)]
        return [core for core in cores if taken.isdisjoint(core)]

    def _free(self, wanted: Reservation, names: list[str], jobs: list[Job]) -> list[str]:
        """Return the nodes to choose from.

        First those without a reservation, then those of reservations with OVERLAP; with MAINT or OVERLAP all. Source:
        reservation.c _select_nodes and _filter_resv.
        """
        alone = replace(wanted, flags=tuple(flag for flag in wanted.flags if flag not in _SHARED))
        choices = [(alone, frozenset[str]()), (alone, frozenset({"OVERLAP"}))]
        if _SHARED & set(wanted.flags):
            choices.append((wanted, _SHARED))
        return list(dict.fromkeys(
            name for one, beside in choices for name in names
            if self._conflict(replace(one, nodes=(name,)), jobs, beside) is None
        ))  # fmt: skip

    def _conflict(self, wanted: Reservation, jobs: list[Job], beside: Collection[str] = _SHARED) -> Errno | None:
        """Return the error for nodes that cannot be reserved, or None.

        ``shared``: flags of other reservations that share nodes.
        """
        nodes = set(wanted.nodes)
        if not _SHARED & set(wanted.flags):
            for other in self.all.values():
                if other.name == wanted.name or not nodes & set(other.nodes) or set(beside) & set(other.flags):
                    continue
                if recurrence.overlap(other, wanted, self._clock()):
                    return Errno.RESERVATION_OVERLAP
        if "IGNORE_JOBS" in wanted.flags:
            return None
        for job in jobs:
            own = wanted.name in names_of(job.spec)
            if job.state.active and not own and nodes & set(job.nodes) and end_of(job, job.start_time) > wanted.start:
                return Errno.NODES_BUSY
        return None

    # --- effect on jobs

    def waits(self, job: Job, now: float) -> tuple[str, float | None] | None:
        """Return reason and end of a wait for named reservations. None: one of them is active."""
        names = names_of(job.spec)
        known = [self.all[name] for name in names if name in self.all]
        if not names or any(one.active(now) for one in known):
            return None
        if not known:
            return "ReservationDeleted", None
        return "Reservation", min(one.start for one in known)

    def open_to(self, job: Job, uses: Sequence[NodeUse], now: float) -> list[NodeUse]:
        """Return the nodes that a job may use if it starts now."""
        return open_nodes(self.all.values(), job, uses, now) if self.all else list(uses)

    def next_change(self, now: float) -> float | None:
        """Epoch second at which the next reservation begins or ends."""
        fixed = [when for one in self.all.values() if one.float_s is None for when in (one.start, one.end)]
        purged = [since + self._all[name].purge_comp_s for name, since in self._idle_since.items()]
        return min((when for when in (*fixed, *purged) if when > now), default=None)

    def marks(self, now: float) -> dict[str, tuple[NodeFlag, str]]:
        """Flags and reservation of the nodes that are reserved now."""
        found: dict[str, tuple[NodeFlag, str]] = {}
        for one in self.all.values():
            if one.active(now) and not one.parts:
                flag = NodeFlag.RESERVED | (NodeFlag.MAINT if "MAINT" in one.flags else NodeFlag.NONE)
                for name in one.nodes:
                    flags, names = found.get(name, (NodeFlag.NONE, ""))
                    found[name] = flags | flag, f"{names},{one.name}" if names else one.name
        return found

    def advance(self, now: float, jobs: Collection[Job]) -> list[Reservation]:
        """Delete ended reservations, or set their next time. Return the reservations that ended."""
        over = [one for one in self.all.values() if one.end <= now or self._purged(one, now, jobs)]
        for one in over:
            self._idle_since.pop(one.name, None)
            again = recurrence.following(one, max(now, one.end))
            if again is None:
                del self.all[one.name]
            else:
                self.all[one.name] = again
        if over:
            self._keep()
        return over

    def _purged(self, one: Reservation, now: float, jobs: Collection[Job]) -> bool:
        """True if PURGE_COMP ends an active reservation now. Source: reservation.c job_resv_check."""
        idle = "PURGE_COMP" in one.flags and one.active(now)
        if not idle or any(one.name in names_of(job.spec) and not job.state.finished for job in jobs):
            self._idle_since.pop(one.name, None)
            return False
        return now - self._idle_since.setdefault(one.name, now) >= one.purge_comp_s


def _busy(jobs: Iterable[Job]) -> set[str]:
    """Names of the nodes on which jobs are."""
    return {name for job in jobs if job.state.active for name in job.nodes}


def running_in(one: Reservation, jobs: Iterable[Job]) -> list[Job]:
    """Jobs that run in a reservation and end with it."""
    return [job for job in jobs if job.state is JobState.RUNNING and one.name in names_of(job.spec)
            and "FLEX" not in one.flags]  # fmt: skip
