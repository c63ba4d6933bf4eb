"""The file that ``sacctmgr dump`` writes.

It lists the QOS, accounts and users of a cluster.

Source: src/sacctmgr/cluster_functions.c sacctmgr_dump_cluster, file_functions.c.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Optional

from slurmsky.language.tres import format_tres
from slurmsky.model.policy import NORMAL, AccountConfig, Limits, QosConfig, UserAssociation

from .sacctmgr_tables import ENTITIES, Records

#: comment at the head of the file; programs may compare its text
HEADER = """\
# To edit this file start with a cluster line for the new cluster
# Cluster - 'cluster_name':MaxTRESPerJob=node=50
# Followed by Accounts you want in this fashion (root is created by default)...
# Parent - 'root'
# Account - 'cs':MaxTRESPerJob=node=5:MaxJobs=4:MaxTRESMinsPerJob=cpu=20:FairShare=399:MaxWallDurationPerJob=40:\
Description='Computer Science':Organization='LC'
# Any of the options after a ':' can be left out and they can be in any order.
# If you want to add any sub accounts just list the Parent THAT HAS ALREADY
# BEEN CREATED before the account line in this fashion...
# Parent - 'cs'
# Account - 'test':MaxTRESPerJob=node=1:MaxJobs=1:MaxTRESMinsPerJob=cpu=1:FairShare=1:MaxWallDurationPerJob=1:\
Description='Test Account':Organization='Test'
# To add users to a account add a line like this after a Parent - 'line'
# User - 'lipari':MaxTRESPerJob=node=2:MaxJobs=3:MaxTRESMinsPerJob=cpu=4:FairShare=1:MaxWallDurationPerJob=1
"""
_ENTITY = {one.name: one for one in ENTITIES}
#: share of an association with its parent's share. Source: slurmdb.h SLURMDB_FS_USE_PARENT
_OF_PARENT = 0x7FFFFFFF
#: (key of the file, field of Limits), in the order of print_file_add_limits_to_line
_OF_ASSOCIATION = (
    ("GrpTRESMins", "grp_tres_mins"), ("GrpTRES", "grp_tres"), ("GrpJobs", "grp_jobs"),
    ("GrpSubmitJobs", "grp_submit_jobs"), ("GrpWall", "grp_wall_min"), ("MaxTRESMinsPerJob", "max_tres_mins"),
    ("MaxTRESPerJob", "max_tres"), ("MaxTRESPerNode", "max_tres_per_node"), ("MaxJobs", "max_jobs_per_user"),
    ("MaxSubmitJobs", "max_submit_jobs_per_user"), ("MaxWallDurationPerJob", "max_wall_min"),
)  # fmt: skip
#: as _OF_ASSOCIATION, in the order of file_print_qos
_OF_QOS = (
    ("GrpJobs", "grp_jobs"), ("GrpSubmitJobs", "grp_submit_jobs"), ("GrpTRES", "grp_tres"),
    ("GrpTRESMins", "grp_tres_mins"), ("GrpWall", "grp_wall_min"), ("MaxJobsPA", "max_jobs_per_account"),
    ("MaxJobsPU", "max_jobs_per_user"), ("MaxSubmitJobsPA", "max_submit_jobs_per_account"),
    ("MaxSubmitJobsPU", "max_submit_jobs_per_user"), ("MaxTRESMinsPerJob", "max_tres_mins"),
    ("MaxTRESPerAccount", "max_tres_per_account"), ("MaxTRESPerJob", "max_tres"),
    ("MaxTRESPerNode", "max_tres_per_node"), ("MaxTRESPerUser", "max_tres_per_user"),
    ("MaxWallDurationPerJob", "max_wall_min"), ("MinTRESPerJob", "min_tres"),
)  # fmt: skip


def entries(records: Records) -> Iterator[str]:
    """Entries of the file after the header. The QOS of the cluster precede the cluster's own line."""
    cluster = records.cluster
    root = next((one for one in cluster.accounts if one.name == "root"), AccountConfig("root"))
    root_text = _association(root.limits, root.fair_share, root.qos or (NORMAL.name,), root.default_qos)
    quality = "".join(f"{_qos(one)}\n" for one in cluster.qos or (NORMAL,))
    yield f"{quality}Cluster - '{cluster.name}'{root_text}"
    yield from _below(records, "root")


def _below(records: Records, parent: str) -> Iterator[str]:
    """Users and accounts of an account, then their own entries."""
    known = records.associations()
    users = sorted(one.user for one in known if one.user and one.account == parent)
    accounts = sorted({one.account for one in known if not one.root and records.parent(one.account) == parent})
    if not users and not accounts:
        return
    yield f"Parent - '{parent}'"
    yield from (_user(records, parent, name) for name in users)
    yield from (_account(records, name) for name in accounts)
    for name in accounts:
        yield from _below(records, name)


def _user(records: Records, account: str, name: str) -> str:
    cells = next(cells for cells in records.rows(_ENTITY["Users"], False) if cells["User"] == name)
    found = (one for one in records.cluster.associations if (one.account, one.user) == (account, name))
    own = next(found, UserAssociation(account, name))
    level = "" if cells["Admin"] == "None" else f":AdminLevel='{cells['Admin']}'"
    limits = _association(own.limits, own.fair_share, own.qos, own.default_qos)
    return f"User - '{name}':DefaultAccount='{cells['Def Acct']}'{level}{limits}"


def _account(records: Records, name: str) -> str:
    cells = next(cells for cells in records.rows(_ENTITY["Accounts"], False) if cells["Account"] == name)
    own = next((one for one in records.cluster.accounts if one.name == name), AccountConfig(name))
    limits = _association(own.limits, own.fair_share, own.qos, own.default_qos)
    return f"Account - '{name}':Description='{cells['Descr']}':Organization='{cells['Org']}'{limits}"


def _association(limits: Limits, share: Optional[int], qos: Iterable[str], default_qos: str) -> str:
    names = ",".join(sorted(qos))
    pairs = [
        ("DefaultQOS", default_qos and f"'{default_qos}'"),
        ("Fairshare", str(_OF_PARENT if share is None else share)),
        *_limits(limits, _OF_ASSOCIATION),
        ("QOS", names and f"'{names}'"),
    ]
    return _options(pairs)


def _qos(one: QosConfig) -> str:
    pairs = [
        ("Flags", one.flags and f"'{','.join(one.flags)}'"),
        ("GraceTime", str(one.grace_time_s or "")),
        *_limits(one.limits, _OF_QOS),
        ("Preempt", one.preempt and f"'{','.join(one.preempt)}'"),
        ("PreemptMode", one.preempt_mode != "cluster" and f"'{one.preempt_mode.lower()}'"),
        ("Priority", str(one.priority or "")),
        ("UsageFactor", one.usage_factor != 1 and "%f" % one.usage_factor),
    ]
    return f"QOS - '{one.name}':Description='{one.description}'{_options(pairs)}"


def _limits(limits: Limits, fields: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    values = ((key, getattr(limits, field)) for key, field in fields)
    return [(key, format_tres(value) if isinstance(value, tuple) else "" if value is None else str(value))
            for key, value in values]  # fmt: skip


def _options(pairs: Iterable[tuple[str, object]]) -> str:
    return "".join(f":{key}={text}" for key, text in pairs if text)
