"""Access to partitions by user, group, account and QOS.

Source: slurmctld/partition_mgr.c part_policy_valid_acct and similar functions.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from ...model.cluster import PartitionConfig
from ...model.job import Job
from ...model.spec import INFINITE, JobSpec
from ..slurm_errors import Errno, SlurmError
from .demand import demand_of

#: QOS flag -> the partition's limit that its jobs may exceed, and the value that allows any size
_EXEMPTIONS: dict[str, dict[str, Any]] = {
    "PartitionMinNodes": {"min_nodes": 0},
    "PartitionMaxNodes": {"max_nodes": INFINITE},
    "PartitionTimeLimit": {"max_time_min": INFINITE},
}


def exempted(partition: PartitionConfig, flags: Collection[str]) -> PartitionConfig:
    """Return the partition without the limits that QOS flags lift.

    Source: job_mgr.c _qos_part_check.
    """
    lifted = {name: value for flag in flags for name, value in _EXEMPTIONS.get(flag, {}).items()}
    return replace(partition, **lifted) if lifted else partition


def not_permitted(job: Job, partition: PartitionConfig) -> tuple[str, str] | None:
    """Return the pending reason if account or QOS are not allowed, in slurmctld's words."""
    rules = (
        ("AccountNotAllowed", "account", partition.allow_accounts, job.account),
        ("QOSNotAllowed", "QOS", partition.allow_qos, job.qos),
    )
    for reason, what, allowed, has in rules:
        if allowed and has not in allowed:
            says = f"{partition.name} allows {','.join(allowed)} not {has}"
            return (reason, f"Job's {what} not permitted to use this partition ({says})")
    return ("MaxMemPerLimit", "") if exceeds_memory(job.spec, partition) else None


def exceeds_memory(spec: JobSpec, partition: PartitionConfig) -> bool:
    """Return whether the job requests more memory per node than MaxMemPerNode."""
    most = partition.max_mem_per_node_mib
    return most is not None and demand_of(spec).least_memory_mib > most


def check_caller(partition: PartitionConfig, uid: int, groups: frozenset[str]) -> None:
    """Raise SlurmError if the submitter may not use the partition. root may use each partition."""
    if uid == 0:
        return
    if partition.root_only:
        raise SlurmError(Errno.ACCESS_DENIED)
    if partition.allow_groups and not groups & set(partition.allow_groups):
        raise SlurmError(Errno.PARTITION_GROUP)
