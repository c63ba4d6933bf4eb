"""Limits of QOS and accounts as cells of sacctmgr's tables."""

from __future__ import annotations

from typing import Optional

from slurmsky.language.tres import format_tres
from slurmsky.model.cluster import ClusterConfig
from slurmsky.model.policy import NORMAL, AccountConfig, Limits, QosConfig
from slurmsky.model.spec import INFINITE

from ..text.named_columns import Cells


def qos(cluster: ClusterConfig) -> list[Cells]:
    """All QOS, which always include ``normal``."""
    return [_qos(one, number) for number, one in enumerate(cluster.qos or (NORMAL,), 1)]


def number(cluster: ClusterConfig, name: str) -> int:
    """The id of a QOS; 1, the id of ``normal``, when the site defines none."""
    names = [one.name for one in cluster.qos]
    return names.index(name) + 1 if name in names else 1


def _qos(one: QosConfig, number: int) -> Cells:
    limits = one.limits
    return {
        "Name": one.name, "Priority": str(one.priority), "GraceTime": "00:00:00", "PreemptMode": "cluster",
        "Flags": ",".join(one.flags), "UsageFactor": "1.000000", "ID": str(number), "Descr": one.description,
        **_shared(limits),
        "MaxTRESPU": format_tres(limits.max_tres_per_user), "MaxTRESPA": format_tres(limits.max_tres_per_account),
        "MaxJobsPU": _count(limits.max_jobs_per_user), "MaxJobsPA": _count(limits.max_jobs_per_account),
        "MaxSubmitPU": _count(limits.max_submit_jobs_per_user),
        "MaxSubmitPA": _count(limits.max_submit_jobs_per_account), "MinTRES": format_tres(limits.min_tres),
    }  # fmt: skip


def account(cluster: ClusterConfig, name: str) -> Cells:
    """Limits of an account's association."""
    found = next((one for one in cluster.accounts if one.name == name), AccountConfig(name))
    names = found.qos or tuple(one.name for one in cluster.qos) or (NORMAL.name,)
    limits = found.limits
    return {
        "QOS": ",".join(sorted(names)), "Def QOS": found.default_qos, **_shared(limits),
        "MaxJobs": _count(limits.max_jobs_per_user), "MaxSubmit": _count(limits.max_submit_jobs_per_user),
    }  # fmt: skip


def _shared(limits: Limits) -> Cells:
    return {
        "GrpTRES": format_tres(limits.grp_tres), "GrpJobs": _count(limits.grp_jobs),
        "GrpSubmit": _count(limits.grp_submit_jobs), "MaxTRES": format_tres(limits.max_tres),
        "MaxTRESPerNode": format_tres(limits.max_tres_per_node), "MaxTRESMins": format_tres(limits.max_tres_mins),
        "MaxWall": _wall(limits.max_wall_min),
    }  # fmt: skip


def _count(number: Optional[int]) -> str:
    return "" if number is None else str(number)


def _wall(minutes: Optional[int]) -> str:
    """Slurm: mins2time_str."""
    if minutes is None or minutes >= INFINITE:
        return ""
    days, rest = divmod(minutes, 24 * 60)
    return (f"{days}-" if days else "") + "%02d:%02d:00" % divmod(rest, 60)
