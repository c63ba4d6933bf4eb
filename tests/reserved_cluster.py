"""Four nodes, two reservations, and jobs that may use their nodes."""

from __future__ import annotations

from dataclasses import replace

from slurmsky.model.allocation import NodeShare
from slurmsky.model.cluster import ClusterConfig, NodeConfig, PartitionConfig
from slurmsky.model.job import Job
from slurmsky.model.reservation import Reservation
from slurmsky.model.spec import JobSpec
from slurmsky.model.states import JobState

NOW = 1_800_000_000.0


NODES = tuple(NodeConfig(f"n{number}", cpus=8, threads=2) for number in range(1, 5))


CLUSTER = ClusterConfig(
    nodes=NODES, partitions=(PartitionConfig("all", tuple(node.name for node in NODES), default=True),)
)


ONE = Reservation("one", int(NOW), int(NOW) + 3600, ("n1", "n2"), users=("ada",))


LATER = Reservation("later", int(NOW) + 7200, int(NOW) + 10800, ("n3",), users=("ada",))


def job_of_ada(minutes: int = 60, reservation: str | None = None) -> Job:
    return Job(7, JobSpec(reservation=reservation), "j", "ada", 1, 1, "g", "acct", "all", time_limit_min=minutes)


def busy_job(job_id: int, node: str) -> Job:
    job = replace(job_of_ada(), job_id=job_id, state=JobState.RUNNING, start_time=NOW, spec=JobSpec(reservation="one"))
    job.shares = (NodeShare(node, 1, cpu_ids=(0,)),)
    return job
