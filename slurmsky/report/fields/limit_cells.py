"""Limits of QOS and accounts as cells of sacctmgr's tables."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional, Union

from slurmsky.language.tres import format_tres
from slurmsky.model.cluster import ClusterConfig
from slurmsky.model.policy import NORMAL, AccountConfig, Limits, QosConfig, UserAssociation
from slurmsky.model.spec import INFINITE

from ..text.named_columns import Cells


def qos(cluster: ClusterConfig) -> list[Cells]:
    """All QOS, which always include ``normal``."""
    return [qos_cells(one, number) for number, one in enumerate(cluster.qos or (NORMAL,), 1)]


def number(cluster: ClusterConfig, name: str) -> int:
    """Id of a QOS; ``normal`` has 1, even if the site omits it."""
    names = [one.name for one in cluster.qos]
    return names.index(name) + 1 if name in names else 1


def qos_cells(one: QosConfig, number: int) -> Cells:
    """Cells of one QOS with its id."""
    limits = one.limits
    return {
        "Name": one.name, "Priority": str(one.priority), "GraceTime": _clock(one.grace_time_s),
        "PreemptMode": one.preempt_mode, "Preempt": ",".join(one.preempt),
        "Flags": ",".join(one.flags), "UsageFactor": "%f" % one.usage_factor,
        "ID": str(number), "Descr": one.description,
        **_shared(limits),
        "MaxTRESPU": format_tres(limits.max_tres_per_user), "MaxTRESPA": format_tres(limits.max_tres_per_account),
        "MaxJobsPU": _count(limits.max_jobs_per_user), "MaxJobsPA": _count(limits.max_jobs_per_account),
        "MaxSubmitPU": _count(limits.max_submit_jobs_per_user),
        "MaxSubmitPA": _count(limits.max_submit_jobs_per_account), "MinTRES": format_tres(limits.min_tres),
    }  # fmt: skip


def nearest(cluster: ClusterConfig, name: str, user: str) -> Union[AccountConfig, UserAssociation]:
    """Association of an account or user, with inherited limits.

    A limit of jobs is inherited from the nearest association with a limit; limits of groups are not inherited.
    """
    lineage = cluster.lineage(name)
    found = next((one for one in lineage if one.name == name), AccountConfig(name))
    own = next((one for one in cluster.associations if (one.account, one.user) == (name, user)), None)
    record = own or (UserAssociation(name, user) if user else found)
    limits = record.limits
    for above in lineage:
        missing = {field for field, value in vars(limits).items() if value in (None, ()) and field[:4] != "grp_"}
        limits = replace(limits, **{field: getattr(above.limits, field) for field in missing})
    return replace(record, limits=limits)


def qos_names(cluster: ClusterConfig, account: str, user: str) -> list[str]:
    """QOS that jobs of an account or user may use."""
    return sorted(cluster.account(account, user).qos or tuple(one.name for one in cluster.qos) or (NORMAL.name,))


def association(cluster: ClusterConfig, name: str, user: str) -> Cells:
    """Share and limits of an account's or user's association."""
    record = nearest(cluster, name, user)
    default = cluster.account(name, user).default_qos
    limits, share = record.limits, record.fair_share
    return {
        "Share": "parent" if share is None else str(share),
        "QOS": ",".join(qos_names(cluster, name, user)), "Def QOS": default, **association_limits(limits),
    }  # fmt: skip


def association_limits(limits: Limits) -> Cells:
    """Limits of an association as cells."""
    jobs, submitted = limits.max_jobs_per_user, limits.max_submit_jobs_per_user
    return {**_shared(limits), "MaxJobs": _count(jobs), "MaxSubmit": _count(submitted)}


def _shared(limits: Limits) -> Cells:
    return {
        "GrpTRES": format_tres(limits.grp_tres), "GrpTRESMins": format_tres(limits.grp_tres_mins),
        "GrpWall": wall_limit_text(limits.grp_wall_min), "GrpJobs": _count(limits.grp_jobs),
        "GrpSubmit": _count(limits.grp_submit_jobs), "MaxTRES": format_tres(limits.max_tres),
        "MaxTRESPerNode": format_tres(limits.max_tres_per_node), "MaxTRESMins": format_tres(limits.max_tres_mins),
        "MaxWall": wall_limit_text(limits.max_wall_min),
    }  # fmt: skip


def _clock(seconds: int) -> str:
    return "%02d:%02d:%02d" % (seconds // 3600, seconds // 60 % 60, seconds % 60)


def _count(number: Optional[int]) -> str:
    return "" if number is None else str(number)


def wall_limit_text(minutes: Optional[int]) -> str:
    """Wall time limit as text.

    Source: mins2time_str.
    """
    if minutes is None or minutes >= INFINITE:
        return ""
    days, rest = divmod(minutes, 24 * 60)
    return (f"{days}-" if days else "") + "%02d:%02d:00" % divmod(rest, 60)
