"""What is set aside when text of Slurm 22.05 is compared with ours, as 25.11; and what differs still.

Two tables of facts decide what is set aside: `scontrol_show.csv` (its column `change`) and `env_output.csv`
(its column `added`). Nothing else is: what differs beyond them stands in KNOWN, with the reason.
"""

from __future__ import annotations

import csv
import re
from functools import cache
from pathlib import Path

DATA = Path(__file__).resolve().parent.parent / "data"

#: Known differences: "group:case" or "group:case:number of the line, from 0" -> why. A line listed here must
#: fail; once it passes, its entry has to go.
_ONE_HOST = "all nodes of the recording live on one host and are grouped by its name"
KNOWN: dict[str, str] = {
    "show:running-nodes-seen:6": _ONE_HOST,
    "query:sinfo:42": _ONE_HOST,
}

# Reworded between the two releases: pattern in the recorded text -> what 25.11 prints.
REWORDED: tuple[tuple[str, str], ...] = ()

#: Variables that only a cluster of daemons has: name -> why ours do not have it.
NOT_HERE = {"SLURM_CONF": "there is no slurm.conf"}

_TOKEN = re.compile(r"(?:^|(?<=\s))[A-Za-z][\w/:]*=")


@cache
def changed_keys(record: str) -> frozenset[str]:
    """Keys of `scontrol show RECORD` that are in only one of the two releases."""
    with (DATA / "scontrol_show.csv").open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row["record"] == record]
    before = {row["key"] for row in rows if row["source"] == "22.05"}
    # A key that was dropped "or printed elsewhere" is compared with the others, wherever it stands.
    return frozenset(
        row["key"]
        for row in rows
        if row["change"] and not (row["change"].startswith("after") and row["key"] in before)
    )


@cache
def added_variables() -> frozenset[str]:
    with (DATA / "env_output.csv").open(newline="", encoding="utf-8") as lines:
        return frozenset(row["name"] for row in csv.DictReader(lines) if row["added"])


_RECORD = re.compile(r"scontrol (?:-\w+ )*show?\w* (job|step|node|part|config)")


def comparable(line: str, text: list[str]) -> list[str]:
    """The lines of an answer to a command line, without what is set aside."""
    match = _RECORD.search(line)
    if match is None:
        gone = added_variables() | NOT_HERE.keys()
        return [row for row in text if row.partition("=")[0] not in gone]
    record = {"part": "partition"}.get(match[1], match[1])
    gone = changed_keys(record)
    if record == "config":
        return [row for row in text if row not in gone]
    return [row for row in (_without(row, gone) for row in text) if row]


def _without(row: str, gone: frozenset[str]) -> str:
    """The key=value tokens of a line that are not set aside, one blank between them."""
    starts = [match.start() for match in _TOKEN.finditer(row)]
    if not starts:
        return row.strip()
    tokens = [row[at:end].strip() for at, end in zip(starts, [*starts[1:], len(row)], strict=True)]
    kept = [token for token in tokens if token.partition("=")[0] not in gone]
    head = row[: starts[0]].strip()
    return " ".join([head, *kept] if head else kept)
