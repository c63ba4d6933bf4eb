"""Access to partitions by user, group, account and QOS.

Source: slurmctld/partition_mgr.c, part_policy_valid_acct and its siblings.
"""

from __future__ import annotations

from ...model.cluster import PartitionConfig
from ...model.job import Job
from ..slurm_errors import Errno, SlurmError


def not_permitted(job: Job, partition: PartitionConfig) -> tuple[str, str] | None:
    """Why a job of this account and QOS waits in a partition: the reason and slurmctld's text for it."""
    rules = (
        ("AccountNotAllowed", "account", partition.allow_accounts, job.account),
        ("QOSNotAllowed", "QOS", partition.allow_qos, job.qos),
    )
    for reason, what, allowed, has in rules:
        if allowed and has not in allowed:
            says = f"{partition.name} allows {','.join(allowed)} not {has}"
            return (reason, f"Job's {what} not permitted to use this partition ({says})")
    most = partition.max_mem_per_node_mib
    if most is not None and (job.spec.mem_mib or 0) > most:
        return ("MaxMemPerLimit", "")
    return None


def check_caller(partition: PartitionConfig, uid: int, groups: frozenset[str]) -> None:
    """Raise SlurmError where the submitter may not use the partition; root always may."""
    if uid == 0:
        return
    if partition.root_only:
        raise SlurmError(Errno.ACCESS_DENIED)
    if partition.allow_groups and not groups & set(partition.allow_groups):
        raise SlurmError(Errno.PARTITION_GROUP)
