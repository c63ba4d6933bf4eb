"""Checks of a submission before it becomes a job."""

from __future__ import annotations

import pytest

from slurmsky.controller.rules.submit_checks import check, partitions_of
from slurmsky.controller.slurm_errors import Errno, SlurmError
from slurmsky.model.cluster import ClusterConfig, NodeConfig, PartitionConfig
from slurmsky.model.spec import JobSpec

_ERRORS = [
    (JobSpec(), Errno.DEFAULT_PARTITION_NOT_SET),
    (JobSpec(partition="gpu"), Errno.INVALID_PARTITION),
    (JobSpec(partition="main,gpu"), Errno.INVALID_PARTITION),
]


@pytest.mark.parametrize(("spec", "errno"), _ERRORS)
def test_a_job_without_a_valid_partition(spec: JobSpec, errno: Errno) -> None:
    """Source: _get_job_parts in slurmctld's job_mgr.c."""
    cluster = ClusterConfig(partitions=(PartitionConfig("main", nodes=("n1",)),))
    with pytest.raises(SlurmError) as error:
        partitions_of(cluster, spec)
    assert error.value.errno is errno


def test_partitions_of_a_job_are_sorted_by_tier() -> None:
    """Source: get_part_list in slurmctld's partition_mgr.c."""
    tiers = {"low": 1, "high": 100, "one": 1}
    cluster = ClusterConfig(partitions=tuple(PartitionConfig(name, priority_tier=tier) for name, tier in tiers.items()))
    assert [part.name for part in partitions_of(cluster, JobSpec(partition="one,low,high"))] == ["high", "one", "low"]


def _enforcing(policy: str) -> ClusterConfig:
    pair, others = ("n1", "n2"), ("n3", "n4")
    return ClusterConfig(
        nodes=tuple(NodeConfig(name, cpus=8, cores=8, memory_mib=4000) for name in pair + others),
        partitions=(
            PartitionConfig("p1", nodes=pair, max_mem_per_node_mib=1, min_nodes=2),
            PartitionConfig("p2", nodes=others),
            PartitionConfig("p3", nodes=pair, allow_accounts=("good",), allow_qos=("fine",)),
            PartitionConfig("p4", nodes=pair, min_nodes=2),
            PartitionConfig("p6", nodes=pair, max_mem_per_node_mib=500, max_cpus_per_node=4),
        ),
        enforce_part_limits=policy,
    )


#: request, account, and the answers of Slurm 25.11.8 with EnforcePartLimits ALL and ANY; None: accepted
_ENFORCED: list[tuple[JobSpec, str, Errno | None, Errno | None]] = [
    (JobSpec(partition="p1,p2", mem_mib=2), "root", Errno.INVALID_NODE_COUNT, None),
    (JobSpec(partition="p1", mem_mib=2, nodes_min=2), "root", Errno.TASK_MEMORY, Errno.TASK_MEMORY),
    (JobSpec(partition="p4"), "root", Errno.INVALID_NODE_COUNT, Errno.INVALID_NODE_COUNT),
    (JobSpec(partition="p4", nodes_min=1, nodes_max=4), "root", Errno.INVALID_NODE_COUNT, Errno.INVALID_NODE_COUNT),
    (JobSpec(partition="p4,p2", nodes_min=1), "root", Errno.INVALID_NODE_COUNT, None),
    (JobSpec(partition="p3"), "good", Errno.INVALID_QOS, Errno.INVALID_QOS),
    (JobSpec(partition="p3", qos="fine"), "root", Errno.INVALID_ACCOUNT, Errno.INVALID_ACCOUNT),
    (JobSpec(partition="p3", qos="fine"), "good", None, None),
    (JobSpec(partition="p3,p2"), "root", Errno.INVALID_QOS, None),
    (JobSpec(partition="p6", mem_mib=501), "root", Errno.TASK_MEMORY, Errno.TASK_MEMORY),
    (JobSpec(partition="p6", mem_per_cpu_mib=200, ntasks=3), "root", None, None),
    (JobSpec(partition="p6", mem_per_cpu_mib=400, cpus_per_task=2), "root", Errno.TASK_MEMORY, Errno.TASK_MEMORY),
    (JobSpec(partition="p6", ntasks=9), "root", Errno.TOO_MANY_NODES, Errno.TOO_MANY_NODES),
    (JobSpec(partition="p6", nodelist="n3"), "root", Errno.NODES_NOT_IN_PARTITION, Errno.NODES_NOT_IN_PARTITION),
]


@pytest.mark.parametrize(("spec", "account", "if_all", "if_any"), _ENFORCED)
def test_enforced_limits_of_partitions(spec: JobSpec, account: str, if_all: Errno | None, if_any: Errno | None) -> None:
    def refusal(policy: str) -> Errno | None:
        try:
            check(_enforcing(policy), spec.evolve(hold=True), 0.0, account=account)
        except SlurmError as error:
            return error.errno
        return None

    assert (refusal("ALL"), refusal("ANY"), refusal("NO")) == (if_all, if_any, None)


def test_an_expedited_requeue_is_refused() -> None:
    with pytest.raises(SlurmError) as error:
        check(_enforcing("NO"), JobSpec(partition="p2", expedited_requeue=True), 0.0)
    assert error.value.errno is Errno.NOT_SUPPORTED
