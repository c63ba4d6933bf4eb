"""sshare: shares and usage of the associations.

Without priority/multifactor slurmctld counts no decaying usage: usage is 0 and fair-share factors are empty. This
report does the same.

Source: src/sshare/process.c.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..fields.field_tables import table
from .print_fields import Column, InvalidField, PrintField, TableStyle, table_text
from .sacctmgr_tables import Association

_DEFAULT = "Account,User,RawShares,NormShares,RawUsage,EffectvUsage,FairShare"
_LONG = ("Account,User,RawShares,NormShares,RawUsage,NormUsage,EffectvUsage,FairShare,LevelFS,GrpTRESMins,"
         "TRESRunMins")  # fmt: skip
_NO_RUN_MINS = "cpu=0,mem=0,energy=0,node=0,billing=0,fs/disk=0,vmem=0,pages=0"


def default_format(long: bool, partition: bool) -> str:
    """Fields that are shown without --format."""
    text = _LONG if long else _DEFAULT
    return text.replace("User,", "User,Partition,", 1) if partition else text


def field_names() -> list[str]:
    """Fields that --helpformat lists."""
    return [row["name"] for row in table("sshare_fields")]


def columns(text: str) -> list[Column[Association]]:
    """Columns of a --format text. Raises InvalidField."""
    found = []
    for item in dict.fromkeys(text.lower().split(",")):  # each field appears once
        name, _, size = item.partition("%")
        if not name:
            continue
        row = next((row for row in table("sshare_fields") if row["name"].lower().startswith(name.lower())), None)
        if row is None:
            raise InvalidField(name)
        width = (int(size) if size.lstrip("-").isdecimal() else 0) or int(row["width"])  # %0 means the default width
        found.append(Column(row["name"], width, PrintField(row["kind"], _VALUES[row["name"]])))
    return found


def sshare_text(rows: Iterable[Association], chosen: Sequence[Column[Association]], style: TableStyle) -> str:
    """Table of the associations, with accounts indented below parents."""
    listed = list(rows)
    above = {row.account for row in listed if not row.user}
    deep = [replace(row, account=" " * _depth(row, above) + row.account) for row in listed]
    return table_text(chosen, deep, style)


def _depth(row: Association, above: set[str]) -> int:
    below_root = not row.root and "root" in above
    return int(below_root) + int(bool(row.user) and row.account in above)


_VALUES = {
    "Account": lambda row: row.account,
    "Cluster": lambda row: row.cluster,
    "EffectvUsage": lambda row: "0.000000",
    "FairShare": lambda row: "0.000000" if row.user else None,
    "GrpTRESMins": lambda row: "",
    "GrpTRESRaw": lambda row: _NO_RUN_MINS,
    "ID": lambda row: str(row.number),
    "LevelFS": lambda row: "0.000000",
    "NormShares": lambda row: None,
    "NormUsage": lambda row: None,
    "Partition": lambda row: "",
    "RawShares": lambda row: None if row.account == "root" and not row.user else "1",
    "RawUsage": lambda row: "0",
    "TRESRunMins": lambda row: _NO_RUN_MINS,
    "User": lambda row: row.user,
}
