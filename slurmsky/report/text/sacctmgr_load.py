"""Tables and lines that ``sacctmgr load`` prints.

Source: src/sacctmgr/file_functions.c (_print_out_assoc, _print_out_qos, _mod_assoc, _check_mod_qos).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Union

from slurmsky.model.policy import AccountConfig, QosConfig, UserAssociation

from ..fields.field_tables import table
from ..fields.limit_cells import association_limits, qos_cells
from . import named_columns
from .named_columns import Cells
from .print_fields import TableStyle, table_text
from .sacctmgr_tables import ENTITIES, TRES

_LIMITS = ("Share,GrpTRESM,GrpTRESR,GrpTRES,GrpJ,GrpJobsA,GrpMEM,GrpN,GrpS,GrpW,MaxTRESM,MaxTRES,MaxTRESPerN,MaxJ,MaxS,"
           "MaxN,MaxW,QOS,DefaultQOS")  # fmt: skip
ACCOUNTS = "Name,Description,Organization,QOS"
ACCOUNT_ASSOCIATIONS = f"Account,ParentName,{_LIMITS}"
USERS = "Name,DefaultA,DefaultW,QOS,Admin,Coord"
USER_ASSOCIATIONS = f"User,Account,{_LIMITS}"
QOS = next(one.format for one in ENTITIES if one.name == "QOS").replace("Name,", "Name%20,", 1)
#: lines below the tables of records, and below those of associations and QOS
RULE, LONG_RULE = "-" * 51 + "\n\n", "-" * 62 + "\n\n"
_DEFAULTS = {"Priority": "0", "GraceTime": "00:00:00", "UsageFactor": "1.000000"}
_USE_PARENT = 0x7FFFFFFF
#: (title, field) of an association's changes, in Slurm's order
ASSOCIATION_CHANGES = (
    ("fairshare", "fair_share"), ("GrpTRESMins", "grp_tres_mins"), ("GrpTRES", "grp_tres"), ("GrpJobs", "grp_jobs"),
    ("GrpSubmitJobs", "grp_submit_jobs"), ("GrpWallDuration", "grp_wall_min"), ("MaxTRESMinsPerJob", "max_tres_mins"),
    ("MaxTRESPerJob", "max_tres"), ("MaxTRESPerNode", "max_tres_per_node"), ("MaxJobs", "max_jobs_per_user"),
    ("MaxSubmitJobs", "max_submit_jobs_per_user"), ("MaxWallDurationPerJob", "max_wall_min"),
)  # fmt: skip
QOS_CHANGES = (
    ("Description", "description"), ("Flags", "flags"), ("GraceTime", "grace_time_s"), ("GrpJobs", "grp_jobs"),
    ("GrpSubmitJobs", "grp_submit_jobs"), ("GrpTRES", "grp_tres"), ("GrpTRESMins", "grp_tres_mins"),
    ("GrpWallDuration", "grp_wall_min"), ("MaxJobsPerAccount", "max_jobs_per_account"),
    ("MaxJobsPerUser", "max_jobs_per_user"), ("MaxSubmitJobsPerAccount", "max_submit_jobs_per_account"),
    ("MaxSubmitJobsPerUser", "max_submit_jobs_per_user"), ("MaxTRESMinsPerJob", "max_tres_mins"),
    ("MaxTRESPerAccount", "max_tres_per_account"), ("MaxTRESPerJob", "max_tres"),
    ("MaxTRESPerNode", "max_tres_per_node"), ("MaxTRESPerUser", "max_tres_per_user"),
    ("MaxWallDurationPerJob", "max_wall_min"), ("MinTRESPerJob", "min_tres"), ("Preempt", "preempt"),
    ("PreemptMode", "preempt_mode"), ("Priority", "priority"), ("UsageFactor", "usage_factor"),
)  # fmt: skip
Record = Union[AccountConfig, UserAssociation, QosConfig]


@dataclass
class Added:
    """Records that a file adds, as rows of the tables."""

    qos: dict[str, QosConfig] = dataclasses.field(default_factory=dict)
    accounts: dict[str, Cells] = dataclasses.field(default_factory=dict)
    account_associations: dict[str, Cells] = dataclasses.field(default_factory=dict)
    users: dict[str, Cells] = dataclasses.field(default_factory=dict)
    user_associations: dict[tuple[str, str], Cells] = dataclasses.field(default_factory=dict)

    def tables(self, style: TableStyle) -> str:
        """Tables of the new records, each with its title."""
        return "".join(
            f"{title}\n{rows(format_text, cells.values(), style)}{rule}"
            for title, format_text, cells, rule in (
                ("Accounts", ACCOUNTS, self.accounts, RULE),
                ("Account Associations", ACCOUNT_ASSOCIATIONS, self.account_associations, LONG_RULE),
                ("Users", USERS, self.users, RULE),
                ("User Associations", USER_ASSOCIATIONS, self.user_associations, LONG_RULE),
            )
            if cells
        )


def rows(format_text: str, cells: Iterable[Cells], style: TableStyle) -> str:
    """Table of new records."""
    columns, _ = named_columns.columns(format_text, table("sacctmgr_fields"))
    return table_text(columns, cells, style)


def association_cells(record: Union[AccountConfig, UserAssociation], given: Mapping[str, Any], qos: str) -> Cells:
    """Cells of a new association: the values that the file gives. ``qos``: the names as typed."""
    share = given.get("fair_share", "")
    account = record.account if isinstance(record, UserAssociation) else record.name
    parent = "" if account == "root" else getattr(record, "parent", "")
    return {
        "Account": account, "User": getattr(record, "user", ""), "ParentName": parent,
        "Share": str(_USE_PARENT if share is None else share), "QOS": qos,
        "Def QOS": record.default_qos if "default_qos" in given else "", **association_limits(record.limits),
    }  # fmt: skip


def new_qos_cells(one: QosConfig) -> Cells:
    """Cells of a new QOS, without default values."""
    return {key: text for key, text in qos_cells(one, 0).items() if text != _DEFAULTS.get(key)}


def changes(kind: str, name: str, old: Record, new: Record, tres_ids: Mapping[str, int]) -> list[str]:
    """Lines about the fields in which two records differ."""
    is_qos = isinstance(old, QosConfig)
    found = []
    for title, field in QOS_CHANGES if is_qos else ASSOCIATION_CHANGES:
        was, becomes = (getattr(one, field, getattr(one.limits, field, None)) for one in (old, new))
        if was != becomes and (field != "description" or str(was).lower() != str(becomes).lower()):
            first, last = (_number_or_text(value, field, is_qos, tres_ids) for value in (was, becomes))
            found.append(change(title, kind, name, first, last))
    return found


def change(title: str, kind: str, name: str, old: str, new: str) -> str:
    """Line about one changed field."""
    return f"{_head(f' Changed {title}', kind, name)}{old:>8} -> {new}"


def assigned(title: str, kind: str, name: str, value: str) -> str:
    """Line about an assigned QOS. ``title``: "Set DefaultQOS" or "Added QOS"."""
    return f"{_head(f' {title}', kind, name)}{value:>8}"


def _head(title: str, kind: str, name: str) -> str:
    return f"{title:<30.30} for {kind:<7.7} {name:<10.10} "


def tres_ids(other: Iterable[str]) -> dict[str, int]:
    """Id of each TRES. ``other``: TRES of the cluster beyond those of every database."""
    known = {f"{kind}/{name}" if name else kind: number for kind, name, number in TRES}
    return {**{name: number for number, name in enumerate((one for one in other if one not in known), 1001)}, **known}


def _number_or_text(value: Any, field: str, unsigned: bool, tres_ids: Mapping[str, int]) -> str:
    if field == "fair_share":
        return str(_USE_PARENT if value is None else value)
    if value is None:
        return str(2**32 - 1 if unsigned else -1)
    if isinstance(value, tuple):
        pairs = (item if isinstance(item, str) else f"{tres_ids.get(item[0], item[0])}={item[1]}" for item in value)
        return ",".join(pairs) or ("" if field == "flags" else "(null)")
    if field == "preempt_mode":
        return "OFF" if value == "cluster" else str(value).upper()
    return f"{value:f}" if isinstance(value, float) else str(value) or "(null)"
