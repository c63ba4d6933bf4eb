"""An advance reservation of nodes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Optional


@dataclass(frozen=True)
class Reservation:
    """Nodes reserved for users, groups or accounts, in epoch seconds.

    A ``-`` before a name in ``users``, ``groups``, ``accounts``, ``allowed_partitions`` or ``qos`` denies that name; an
    empty list admits all.
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
    allowed_partitions: tuple[str, ...] = ()
    qos: tuple[str, ...] = ()
    purge_comp_s: int = 300  # with PURGE_COMP: seconds without a job after which it ends
    float_s: Optional[int] = None  # with TIME_FLOAT: seconds from now to the start, at any time
    float_end: Optional[int] = None  # with TIME_FLOAT and a requested end: the end
    cores: int = 0
    #: (node, CPU numbers), where the reservation has only some cores of its nodes
    parts: tuple[tuple[str, tuple[int, ...]], ...] = ()

    def active(self, now: float) -> bool:
        """True if the reservation is active at ``now``."""
        return self.start <= now < self.end

    def admits(self, user: str, groups: frozenset[str], account: str) -> bool:
        """True if a job of this user and account may use the reservation.

        Each list that is not empty must admit the job. No job may use a floating reservation.
        """
        return self.float_s is None and all(
            _admits_any(wanted, have)
            for wanted, have in (
                (self.users, {user}),
                (self.groups, groups),
                (tuple(map(str.lower, self.accounts)), {account}),
            )
            if wanted
        )

    def admits_partition(self, name: str) -> bool:
        """True if jobs of this partition may use the reservation."""
        return not self.allowed_partitions or _admits_any(self.allowed_partitions, {name})

    def admits_qos(self, name: str) -> bool:
        """True if jobs of this QOS may use the reservation."""
        return not self.qos or _admits_any(self.qos, {name})

    def at(self, now: float) -> Reservation:
        """Return a floating reservation with its times at ``now``. Any other reservation is unchanged."""
        if self.float_s is None:
            return self
        start = int(now) + self.float_s
        if self.float_end is None:
            return replace(self, start=start, end=start + self.end - self.start)
        return replace(self, start=min(start, self.float_end))

    def overlaps(self, since: float, until: float) -> bool:
        """True if the reservation is active between these times."""
        return since < self.end and self.start < until


def _admits_any(wanted: tuple[str, ...], have: set[str] | frozenset[str]) -> bool:
    denied = {name[1:] for name in wanted if name.startswith("-")}
    if denied:
        return not denied & have
    return bool(have.intersection(wanted))


@dataclass(frozen=True)
class Flag:
    """A flag of a reservation, and its words in scontrol."""

    name: str
    #: accepted words in place of the name
    letters: int = 1
    words: tuple[str, ...] = ()  # the name that the flag replaces
    signs: tuple[str, ...] = ("", "+", "-")  # words that set the flag
    period_s: int = 0  # seconds after which the reservation recurs

    def matches_word(self, word: str, sign: str) -> bool:
        """True if a word of scontrol names the flag."""
        length = max(len(word), self.letters)
        return (
            self.letters > 0 and sign in self.signs
            and any(name[:length] == word.upper() for name in self.words or (self.name,))
        )  # fmt: skip


DAY_S = 86400

#: Flags in scontrol's order. Source: slurm_protocol_defs.c reservation_flags_string, proc_args.c parse_resv_flags.
FLAGS = (
    Flag("MAINT", 3, ("MAINTENANCE",)),
    Flag("FLEX"),
    Flag("OVERLAP", signs=("", "+")),
    Flag("IGNORE_JOBS"),
    Flag("HOURLY", period_s=3600),
    Flag("DAILY", period_s=DAY_S),
    Flag("WEEKDAY", period_s=DAY_S),
    Flag("WEEKEND", period_s=DAY_S),
    Flag("WEEKLY", period_s=7 * DAY_S),
    Flag("SPEC_NODES", 0),
    Flag("ALL_NODES", 0),
    Flag("ANY_NODES", words=("ANY_NODES", "LICENSE_ONLY")),  # refused: licences cannot be reserved
    Flag("STATIC", words=("STATIC_ALLOC",)),  # nodes are never replaced
    Flag("PART_NODES", 2),
    Flag("TIME_FLOAT", signs=("",)),
    Flag("REPLACE", signs=("", "+")),
    Flag("REPLACE_DOWN", 8, signs=("", "+")),
    Flag("PURGE_COMP", 2),
    Flag("NO_HOLD_JOBS_AFTER_END", signs=("", "+")),
    Flag("MAGNETIC", 3),
    Flag("USER_DELETE"),  # a user of the reservation may delete it
    Flag("FORCE_START", signs=("",)),  # a recurring reservation may begin in the past
)
