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
