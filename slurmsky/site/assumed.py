"""Resolves partition and node names without a description.

Without a site file every name of a cluster, partition, QOS, account, feature, licence, reservation or node is accepted
(``ClusterConfig.open``). With one, ``unknown_partition`` maps unknown partitions; all other names must be described.
sbatch, the scheduler and ``slurmsky explain`` all call the functions of this module.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatchcase

from ..model.cluster import ClusterConfig, PartitionConfig

REFUSE = "refuse"
#: a name that can be the name of a folder and of a host
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_NAME = re.compile(r"[^\s,/=\0]{1,255}")


def unknown_cluster(cluster: ClusterConfig, names: str) -> str:
    """First name in ``--clusters`` of another cluster, or ""."""
    wanted = (word for word in names.split(",") if word not in (cluster.name, "all"))
    return next((word for word in wanted if not (cluster.open and _NAME.fullmatch(word))), "")


def partition_for(cluster: ClusterConfig, name: str) -> PartitionConfig | None:
    """Partition for a job: described, mapped, or the default's copy. None: refuse the job."""
    found = cluster.partition(name)
    if found is not None or not name:
        return found
    for pattern, target in cluster.unknown_partition:
        if fnmatchcase(name, pattern):
            return None if target == REFUSE else cluster.partition(target)
    usual = cluster.default_partition
    if not cluster.open or usual is None or not _NAME.fullmatch(name):
        return None
    return replace(usual, name=name, default=False)


def with_partitions(cluster: ClusterConfig, names: Iterable[str]) -> ClusterConfig:
    """Return the cluster with further assumed partitions."""
    new = [partition_for(cluster, name) for name in dict.fromkeys(names) if cluster.partition(name) is None]
    added = tuple(one for one in new if one is not None and cluster.partition(one.name) is None)
    return replace(cluster, partitions=cluster.partitions + added) if added else cluster


def node_name(name: str) -> bool:
    """Return whether a virtual node can have this name."""
    return bool(_HOST.fullmatch(name)) and ".." not in name
