"""Checks of a submission before it becomes a job."""

from __future__ import annotations

import pytest

from slurmsky.controller.rules.submit_checks import partitions_of
from slurmsky.controller.slurm_errors import Errno, SlurmError
from slurmsky.model.cluster import ClusterConfig, PartitionConfig
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
