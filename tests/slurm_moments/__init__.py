"""Records of the jobs and nodes with real Slurm output in tests/unit/report/golden, built by hand.

Three moments, a module each, of a Slurm 22.05.8 with the nodes of tests/oracle/site.toml.
"""

from __future__ import annotations

from typing import Any

from slurmsky.model.allocation import NodeShare
from slurmsky.model.cluster import ClusterConfig, NodeConfig, PartitionConfig
from slurmsky.model.job import Job, Step
from slurmsky.model.spec import JobSpec

HOME = "/home/ada/run"

NODES = tuple(
    NodeConfig(
        f"n{i}",
        host_name="vm",
        port=17000 + i,
        cpus=8,
        sockets=1,
        cores=8,
        threads=1,
        memory_mib=4000,
        gres=(("gpu", "h100", 4),),
        arch="x86_64",
        os="Linux 6.18.44-fc-v445 #1 SMP PREEMPT_DYNAMIC @0",
    )
    for i in (1, 2, 3, 4)
)
CLUSTER = ClusterConfig(
    name="oracle",
    nodes=NODES,
    max_array_size=100001,
    partitions=(
        PartitionConfig("debug", ("n1", "n2", "n3", "n4"), default=True, nodes_text="ALL"),
        PartitionConfig("gpu", ("n3", "n4"), max_time_min=1440, nodes_text="n[3-4]"),
    ),
)


def share(name: str, cpu_ids: Any, gpus: Any = None, tasks: int = 1) -> NodeShare:
    return NodeShare(
        name,
        cpu_ids=tuple(cpu_ids),
        gres={"gpu:h100": tuple(gpus)} if gpus else {},
        tasks=tasks,
        cpus_on_node=8,
    )


def job(job_id: int, name: str, spec: JobSpec | None = None, **fields: Any) -> Job:
    pattern = "slurm-%A_%a.out" if "array_job_id" in fields else "slurm-%j.out"
    basics: dict[str, Any] = {
        "user": "root",
        "uid": 0,
        "gid": 0,
        "group": "root",
        "account": "root",
        "partition": "debug",
        "cluster": "oracle",
        "command": f"{HOME}/ok.sh",
        "work_dir": HOME,
        "submit_dir": HOME,
        "stdout": f"{HOME}/{pattern}",
        "alloc_node": "localhost",
        "alloc_sid": 22225,
    }
    return Job(job_id, spec or JobSpec(), name, **{**basics, **fields})


def batch(job_id: int, node: str, start: float, cpus: int, **fields: Any) -> Step:
    return Step(job_id, "batch", "batch", nodes=(node,), cpus=cpus, start_time=start, **fields)
