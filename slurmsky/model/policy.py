"""QOS and accounts with their limits.

Source: sacctmgr's fields of a QOS and of an association.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

#: (name, count) of trackable resources: "cpu", "mem" (MiB), "node", "gres/gpu", "gres/gpu:h100", "license/matlab"
Tres = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Limits:
    """Limits of a QOS or account; None and (): no limit.

    ``grp`` limits apply to the sum over all jobs, ``max`` limits to each job, user or account.
    """

    grp_jobs: Optional[int] = None
    grp_submit_jobs: Optional[int] = None
    grp_tres: Tres = ()
    grp_tres_mins: Tres = ()  # of all jobs, ended ones included
    grp_wall_min: Optional[int] = None  # elapsed time of all jobs, ended ones included
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
    """A quality of service, selected by ``--qos``."""

    name: str
    description: str = ""
    priority: int = 0  # jobs with a higher value are scheduled first
    flags: tuple[str, ...] = ()  # of QOS_FLAGS
    # shown without effect, as under PreemptType=preempt/none and PriorityType=priority/basic
    preempt: tuple[str, ...] = ()
    preempt_mode: str = "cluster"
    grace_time_s: int = 0
    usage_factor: float = 1.0
    limits: Limits = Limits()


@dataclass(frozen=True)
class AccountConfig:
    """An account, selected by ``--account``. ``qos``: the QOS that its jobs may use; () = all."""

    name: str
    description: str = ""
    default: bool = False  # the account of jobs that name no account
    qos: tuple[str, ...] = ()
    default_qos: str = ""
    organization: str = ""
    parent: str = "root"
    fair_share: Optional[int] = 1  # shown without effect, as under PriorityType=priority/basic; None: the parent's
    limits: Limits = Limits()


@dataclass(frozen=True)
class UserAssociation:
    """A user's association in an account. Its QOS and its limits of jobs override those of the account."""

    account: str
    user: str
    fair_share: Optional[int] = 1
    limits: Limits = Limits()
    qos: tuple[str, ...] = ()
    default_qos: str = ""


#: DenyOnLimit: a job over a limit is refused, not kept pending. OverPartQOS: the limits override the partition's QOS.
#: Partition...: its jobs may exceed this limit of their partition. NoReserve: a waiting job delays no other job.
#: RequiresReservation: its jobs run in reservations alone.
QOS_FLAGS = (
    "DenyOnLimit", "PartitionMinNodes", "PartitionMaxNodes", "PartitionTimeLimit", "RequiresReservation", "OverPartQOS",
    "NoReserve",
)  # fmt: skip
NORMAL = QosConfig("normal", "Normal QOS default")
