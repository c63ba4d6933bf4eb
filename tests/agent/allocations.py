"""Allocations in which a test calls srun."""

from __future__ import annotations

import re
from collections.abc import Iterator

from slurmsky.model.allocation import Launch
from slurmsky.model.spec import JobSpec

from .driver import Cluster

Allocation = tuple[Cluster, Launch]


def allocation(cluster: Cluster, tasks: tuple[int, ...]) -> Iterator[Allocation]:
    """Yield an allocation with these tasks on the nodes; end it afterwards."""
    launch = cluster.start(cluster.prepare(None, tasks=tasks, spec=JobSpec(ntasks=sum(tasks))))
    yield cluster, launch
    cluster.head(launch).send({"op": "terminate", "job_id": launch.job_id, "state": "COMPLETED", "signal": 15})
    cluster.finish(launch)


def run(allocation: Allocation, *argv: str, stdin: str = "") -> tuple[str, str, int]:
    """stdout, stderr (ids and times replaced) and exit code."""
    cluster, launch = allocation
    done = cluster.command(launch, ["srun", *argv], input=stdin)
    error = re.sub(r"StepId=\d+\.\d+", "StepId=J.S", done.stderr)
    error = re.sub(r"STEP \d+\.\d+ ON", "STEP J.S ON", error)
    error = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", "TIME", error)
    return done.stdout, error.replace("job %d" % launch.job_id, "job J"), done.returncode
