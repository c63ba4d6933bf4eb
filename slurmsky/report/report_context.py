"""Settings of a report: time, time format, cluster configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Optional

from slurmsky.model.cluster import ClusterConfig, NodeConfig, PartitionConfig
from slurmsky.model.job import Job
from slurmsky.model.spec import INFINITE

from .record_classes import RecordClasses
from .text.units import EXACT, Clock, Scale


@dataclass(frozen=True)
class ReportContext:
    """Settings passed to every report.

    ``bitstr_len`` is SLURM_BITSTR_LEN, None when unset. ``expand_patterns`` is --expand-patterns, and ``only_state`` is
    squeue's --only-job-state. ``uids`` maps the users who drained nodes to their uids. ``record_classes`` assigns
    record classes to the jobs of this report.
    """

    clock: Clock
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    scale: Scale = EXACT
    bitstr_len: Optional[int] = None
    expand_patterns: bool = False
    only_state: bool = False
    uids: Mapping[str, int] = field(default_factory=lambda: {"root": 0})
    record_classes: RecordClasses = field(default_factory=RecordClasses)

    @property
    def now(self) -> float:
        """Time of the report in epoch seconds."""
        return self.clock.now

    @cached_property
    def parameters(self) -> dict[str, str]:
        """The site's slurm.conf parameters that have no field of ClusterConfig."""
        return dict(self.cluster.parameters)

    @cached_property
    def node_configs(self) -> dict[str, NodeConfig]:
        """The cluster's nodes by name."""
        return {node.name: node for node in self.cluster.nodes}

    @cached_property
    def counted_gres(self) -> frozenset[str]:
        """Devices in TRES texts, such as "gres/gpu". AccountingStorageTRES names them."""
        names = self.parameters.get("AccountingStorageTRES", "").split(",")
        return frozenset(name for name in names if name.startswith("gres/"))

    @cached_property
    def consumes_memory(self) -> bool:
        """Return whether memory is a consumable resource, because SelectTypeParameters names it."""
        return "MEMORY" in self.parameters.get("SelectTypeParameters", "CR_Core_Memory").upper()

    @cached_property
    def tracks_wckey(self) -> bool:
        """Return whether jobs are shown with their workload characterisation key (wckey)."""
        return self.parameters.get("TrackWCKey", "No").lower() == "yes"

    def partition_of(self, job: Job) -> Optional[PartitionConfig]:
        """First partition of a job; None if the cluster lacks it."""
        return self.cluster.partition(job.partition.partition(",")[0])

    def time_limit(self, job: Job) -> int:
        """Time limit in minutes, by default the partition's MaxTime.

        Source: job_mgr.c pack_job.
        """
        if job.time_limit_min is not None:
            return job.time_limit_min
        partition = self.partition_of(job)
        return partition.max_time_min if partition else INFINITE

    def node_memory_mib(self, job: Job) -> int:
        """Memory of a node of the job's partition. A job without a memory request is charged this amount."""
        partition = self.partition_of(job)
        if partition is None:
            return 0
        if partition.def_mem_per_node_mib is not None:
            return partition.def_mem_per_node_mib
        names = set(partition.nodes)
        return next((node.memory_mib for node in self.cluster.nodes if not names or node.name in names), 0)
