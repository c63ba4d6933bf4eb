"""Nodes that reservations leave open to a job.

Source: slurmctld/reservation.c job_test_resv.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ...model.job import Job
from ...model.reservation import Reservation
from ...model.spec import INFINITE
from .node_use import NodeUse
from .reservation_access import names_of, own_groups

_YEAR_S = 365 * 86400


def open_nodes(known: Collection[Reservation], job: Job, uses: Sequence[NodeUse], now: float) -> list[NodeUse]:
    """Return the nodes that a job may use if it starts now.

    CPUs that a reservation closes to the job count as used.
    """
    names = names_of(job.spec)
    until = end_of(job, now)
    own: set[str] = set()
    others: set[str] = set()
    own_parts: dict[str, set[int]] = {}
    other_parts: dict[str, set[int]] = {}
    flexible = not names
    for one in known:
        mine = one.name in names or ("MAGNETIC" in one.flags and one.admits(job.user, own_groups(), job.account))
        if mine and one.active(now):
            _note_nodes(one, own, own_parts)
            flexible = flexible or "FLEX" in one.flags
        elif one.overlaps(now, until) and one.name not in names:
            _note_nodes(one, others, other_parts)
    found = []
    for use in uses:
        name = use.config.name
        every = set(range(use.config.cpus))
        inside = every if name in own else own_parts.get(name, set())
        closed = every if name in others else other_parts.get(name, set())
        opened = inside | (every - closed) if flexible else inside
        if opened:
            found.append(use if opened == every else _close_cpus(use, every - opened))
    return found


def _note_nodes(one: Reservation, whole: set[str], parts: dict[str, set[int]]) -> None:
    if not one.parts:
        whole.update(one.nodes)
    for name, cpus in one.parts:
        parts.setdefault(name, set()).update(cpus)


def _close_cpus(use: NodeUse, closed: set[int]) -> NodeUse:
    """Return a node with some CPUs closed to a job. The job cannot have the node exclusively then."""
    found = use.copy()
    found.cpu_ids |= closed
    found.jobs.add(0)  # no job has this id
    return found


def end_of(job: Job, start: float) -> float:
    """Latest end of a job that starts at ``start``, in epoch seconds; without a limit a year later."""
    limit = job.time_limit_min
    return start + (_YEAR_S if limit is None or limit >= INFINITE else limit * 60)
