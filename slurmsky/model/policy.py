"""QOS and accounts, and what their jobs may have. Source: sacctmgr's fields of a QOS and of an association."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

#: (name, count) of trackable resources: "cpu", "mem" (MiB), "node", "gres/gpu", "gres/gpu:h100", "license/matlab"
Tres = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Limits:
    """None and () mean: no limit. ``grp`` counts all jobs together, ``max`` each job, user or account."""

    grp_jobs: Optional[int] = None
    grp_submit_jobs: Optional[int] = None
    grp_tres: Tres = ()
    max_jobs_per_user: Optional[int] = None
    max_jobs_per_account: Optional[int] = None
    max_submit_jobs_per_user: Optional[int] = None
    max_submit_jobs_per_account: Optional[int] = None
    max_wall_min: Optional[int] = None
    max_tres: Tres = ()  # per job
    max_tres_per_node: Tres = ()
    max_tres_per_user: Tres = ()
    max_tres_per_account: Tres = ()
    max_tres_mins: Tres = ()  # per job: the resource times the time limit
    min_tres: Tres = ()  # per job


@dataclass(frozen=True)
class QosConfig:
    """A quality of service: what ``--qos`` names."""

    name: str
    description: str = ""
    priority: int = 0  # jobs of a higher one are looked at first
    flags: tuple[str, ...] = ()  # of QOS_FLAGS
    limits: Limits = Limits()


@dataclass(frozen=True)
class AccountConfig:
    """An account: what ``--account`` names. ``qos``: those that its jobs may have; () = all."""

    name: str
    description: str = ""
    default: bool = False  # charged with jobs that name none
    qos: tuple[str, ...] = ()
    default_qos: str = ""
    limits: Limits = Limits()


#: DenyOnLimit: a job over a limit is refused, not kept waiting. OverPartQOS: its limits come before the partition's.
QOS_FLAGS = ("DenyOnLimit", "OverPartQOS")
NORMAL = QosConfig("normal", "Normal QOS default")
