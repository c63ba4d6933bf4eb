"""Random words of command lines: ids of the jobs of cases_fleet.py, options, lists."""

from __future__ import annotations

import random
from collections.abc import Sequence

Dice = random.Random


Some = Sequence[tuple[float, str]]


#: of the fleet, by what can be queried by their ids
_PLAIN = (
    "slow",
    "done",
    "broken",
    "several",
    "killed",
    "fallen",
    "one",
    "two",
    "whole",
    "devices",
    "both",
    "stopped",
    "again",
    "gone",
    "after",
    "unlucky",
    "never",
    "later",
    "big",
    "wide",
    "dropped",
    "moved",
    "named-3",
    "held-mincpus",
)


_ARRAYS = (
    ("parity", (1, 4, 6, 7)),
    ("sweep", (1, 3, 4, 6, 9, 10)),
    ("list", (2, 5, 9, 4)),
    ("cut", (11, 12, 16, 30)),
    ("later-array", (1, 3)),
)


_HETS = ("pair", "three")


_BAD_IDS = (
    "99999",
    "x",
    "{one}x",
    "{one}_",
    "_1",
    "{sweep}_[3-4",
    "{one}.x",
    "-1",
    "{pair}+",
    "{sweep}_x",
    "{one}+1",
    "{one}_1",
)


def some(dice: Dice, choices: Some) -> list[str]:
    return [dice.choice(options.split(" | ")) for chance, options in choices if dice.random() < chance]


def some_list(dice: Dice, values: Sequence[str], most: int = 3) -> str:
    return ",".join(dice.choice(values) for _ in range(dice.choice((1, 1, 2, most))))


def job_id(dice: Dice) -> str:
    kind = dice.random()
    if kind < 0.5:
        return "{%s}" % dice.choice(_PLAIN)
    if kind < 0.8:
        name, tasks = dice.choice(_ARRAYS)
        one, other = dice.choice(tasks), dice.choice(tasks)
        return "{%s}" % name + dice.choice(
            ("", f"_{one}", f"_{one}", f"_[{min(one, other)}-{max(one, other)}]", f"_[{one},{other}]")
        )
    if kind < 0.92:
        return "{%s}" % dice.choice(_HETS) + dice.choice(("", "+0", "+1", "+2", "+7"))
    return dice.choice(_BAD_IDS)


def job_ids(dice: Dice, most: int = 4) -> str:
    return ",".join(job_id(dice) for _ in range(dice.choice((1, 1, 2, most))))


STATES = (
    "PD",
    "R",
    "S",
    "CD",
    "CA",
    "F",
    "TO",
    "NF",
    "CG",
    "CF",
    "SE",
    "RH",
    "PENDING",
    "RUNNING",
    "SUSPENDED",
    "COMPLETED",
    "CANCELLED",
    "failed",
    "timeout",
    "pending",
    "Running",
    "all",
    "ALL",
    "SPECIAL_EXIT",
    "preempted",
    "OOM",
    "DL",
    "resizing",
    "STOPPED",
)
