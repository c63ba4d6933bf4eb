"""An advance reservation of nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Reservation:
    """Nodes reserved for some users, groups or accounts from ``start`` to ``end`` (epoch seconds).

    A ``-`` before a name in ``users``, ``groups`` or ``accounts`` denies that name; an empty list admits all.
    """

    name: str
    start: int
    end: int
    nodes: tuple[str, ...]
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()  # in Slurm's order
    partition: str = ""
    features: str = ""
    comment: str = ""
    max_start_delay_s: Optional[int] = None
    cores: int = 0
    #: (node, CPU numbers), where the reservation has only some cores of its nodes
    parts: tuple[tuple[str, tuple[int, ...]], ...] = ()

    def active(self, now: float) -> bool:
        """Whether the reservation is active at ``now``."""
        return self.start <= now < self.end

    def admits(self, user: str, groups: frozenset[str], account: str) -> bool:
        """Whether a job of this user and account may use the reservation: each non-empty list must admit the job."""
        return all(
            _lets_in(wanted, have)
            for wanted, have in ((self.users, {user}), (self.groups, groups), (self.accounts, {account}))
            if wanted
        )

    def overlaps(self, since: float, until: float) -> bool:
        """Whether the reservation is active at any time between ``since`` and ``until``."""
        return since < self.end and self.start < until


def _lets_in(wanted: tuple[str, ...], have: set[str] | frozenset[str]) -> bool:
    denied = {name[1:] for name in wanted if name.startswith("-")}
    if denied:
        return not denied & have
    return bool(have.intersection(wanted))


@dataclass(frozen=True)
class Flag:
    """A flag of a reservation, its shortest abbreviation, and whether slurmsky applies it."""

    name: str
    letters: int = 3
    honoured: bool = True
    period_s: int = 0  # seconds after which the reservation recurs


DAY_S = 86400

#: Flags in the order in which scontrol shows them. Source: slurm_protocol_defs.c reservation_flags_string, proc_args.c
#: parse_resv_flags. SPEC_NODES and ALL_NODES are set by Slurm itself.
FLAGS = (
    Flag("MAINT"),
    Flag("FLEX", 1),
    Flag("OVERLAP", 1),
    Flag("IGNORE_JOBS", 1),
    Flag("HOURLY", 1, period_s=3600),
    Flag("DAILY", 1, period_s=DAY_S),
    Flag("WEEKDAY", 5, period_s=DAY_S),
    Flag("WEEKEND", 5, period_s=DAY_S),
    Flag("WEEKLY", 5, period_s=7 * DAY_S),
    Flag("SPEC_NODES", 2),
    Flag("ALL_NODES", 2),
    Flag("ANY_NODES", 2, honoured=False),
    Flag("STATIC", 1),  # nodes are never replaced
    Flag("PART_NODES", 2),
    Flag("FIRST_CORES", 2, honoured=False),
    Flag("TIME_FLOAT", 1, honoured=False),
    Flag("REPLACE", 1, honoured=False),
    Flag("REPLACE_DOWN", 8),
    Flag("PURGE_COMP", 2, honoured=False),
    Flag("NO_HOLD_JOBS_AFTER_END", 2),
    Flag("MAGNETIC", 3),
    Flag("USER_DELETE", 1),  # a user of the reservation may delete it
)
