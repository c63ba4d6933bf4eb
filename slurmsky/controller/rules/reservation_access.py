"""Access of jobs to reservations.

Source: slurmctld/reservation.c _valid_job_access_resv, _valid_job_access_resv_at_sched.
"""

from __future__ import annotations

import grp
import os
from collections.abc import Callable, Mapping, Sequence

from ...model.cluster import ClusterConfig
from ...model.reservation import Reservation
from ...model.spec import JobSpec
from ..slurm_errors import Errno, SlurmError
from .demand import demand_of


def names_of(spec: JobSpec) -> tuple[str, ...]:
    """The reservations that a job may use."""
    return tuple(filter(None, (spec.reservation or "").split(",")))


def own_groups() -> frozenset[str]:
    """Names of the groups of the queue's owner."""
    found = set()
    for gid in {os.getegid(), *os.getgroups()}:
        try:
            found.add(grp.getgrgid(gid).gr_name)
        except KeyError:
            found.add(str(gid))
    return frozenset(found)


def reserved_spec(
    known: Mapping[str, Reservation],
    cluster: ClusterConfig,
    spec: JobSpec,
    user: str,
    account: str,
    qos: Callable[[], Sequence[str]],
) -> JobSpec:
    """Return the spec, in the reservation's partition if it names none.

    Of several partitions the allowed ones stay. ``qos`` returns the job's QOS, of which one must be admitted. Raises
    SlurmError if the job may not use its reservations.
    """
    if not spec.reservation:
        return spec
    found = [known.get(name) for name in names_of(spec)]
    if cluster.open and not any(found):
        return spec.evolve(reservation=None)
    if any(one is None for one in found):
        raise SlurmError(Errno.INVALID_RESERVATION)
    groups = own_groups()
    admitted = [one for one in found if one is not None and one.admits(user, groups, account)]
    if not admitted:
        raise SlurmError(Errno.RESERVATION_ACCESS)
    admitted = [one for one in admitted if not one.qos or any(map(one.admits_qos, qos()))]
    if not admitted:
        raise SlurmError(Errno.INVALID_QOS)
    wished = spec.partition.split(",") if spec.partition else []
    names = [name for name in wished if any(one.admits_partition(name) for one in admitted)]
    if wished and not names:
        raise SlurmError(Errno.INVALID_PARTITION)
    if names != wished:
        spec = spec.evolve(partition=",".join(names))
    demand = demand_of(spec)
    inside = [one for one in admitted if set(demand.required) <= set(one.nodes) or "FLEX" in one.flags]
    if not inside:
        raise SlurmError(Errno.NODE_CONFIG_UNAVAILABLE, "Problem using reservation")
    if all(demand.min_nodes > len(one.nodes) and "FLEX" not in one.flags for one in inside):
        raise SlurmError(Errno.NODE_CONFIG_UNAVAILABLE)
    partition = inside[0].partition
    return spec.evolve(partition=partition) if partition and spec.partition is None else spec
