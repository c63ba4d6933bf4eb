"""An advance reservation of nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Reservation:
    """Nodes that are kept for some users or accounts from ``start`` to ``end`` (epoch seconds).

    A name in ``users``, ``groups`` or ``accounts`` with a ``-`` before it is denied; an empty list denies nobody.
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
    #: (node, its CPUs), where not whole nodes are kept but some cores of them
    parts: tuple[tuple[str, tuple[int, ...]], ...] = ()

    def active(self, now: float) -> bool:
        """Whether it holds now."""
        return self.start <= now < self.end

    def admits(self, user: str, groups: frozenset[str], account: str) -> bool:
        """Whether a job of this user and account may use it: each list that is not empty must let it in."""
        return all(
            _lets_in(wanted, have)
            for wanted, have in ((self.users, {user}), (self.groups, groups), (self.accounts, {account}))
            if wanted
        )

    def overlaps(self, since: float, until: float) -> bool:
        """Whether it holds at any time of a span."""
        return since < self.end and self.start < until


def _lets_in(wanted: tuple[str, ...], have: set[str] | frozenset[str]) -> bool:
    denied = {name[1:] for name in wanted if name.startswith("-")}
    if denied:
        return not denied & have
    return bool(have.intersection(wanted))


@dataclass(frozen=True)
class Flag:
    """A flag of a reservation: how few letters name it, and whether it is honoured here."""

    name: str
    letters: int = 3
    honoured: bool = True
    period_s: int = 0  # it comes again after so long


DAY_S = 86400

#: Flags in the order in which they are shown. Source: slurm_protocol_defs.c reservation_flags_string, proc_args.c
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
    Flag("STATIC", 1),  # no node is ever replaced
    Flag("PART_NODES", 2),
    Flag("FIRST_CORES", 2, honoured=False),
    Flag("TIME_FLOAT", 1, honoured=False),
    Flag("REPLACE", 1, honoured=False),
    Flag("REPLACE_DOWN", 8, honoured=False),
    Flag("PURGE_COMP", 2, honoured=False),
    Flag("NO_HOLD_JOBS_AFTER_END", 2),
    Flag("MAGNETIC", 3),
    Flag("USER_DELETE", 1),  # the owner may delete all
)
