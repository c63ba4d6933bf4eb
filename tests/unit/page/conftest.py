"""Records of jobs for page tests."""

from __future__ import annotations

from datetime import timezone
from typing import Any

import pytest

from slurmsky.model.allocation import NodeShare
from slurmsky.model.cluster import ClusterConfig, NodeConfig
from slurmsky.model.job import Job, Step, Usage
from slurmsky.model.spec import JobSpec
from slurmsky.model.states import JobState
from slurmsky.report.report_context import ReportContext
from slurmsky.report.text.units import Clock

NOW = 1795262400.0  # 2026-11-21 12:00 UTC
CLUSTER = ClusterConfig(name="lab", nodes=tuple(NodeConfig(f"n{i}", cpus=8, memory_mib=4000) for i in (1, 2)))


@pytest.fixture
def context() -> ReportContext:
    return ReportContext(Clock(NOW, timezone.utc), CLUSTER)


def a_job(job_id: int = 7, **fields: Any) -> Job:
    """A job of ten minutes on n1 that used half of its four CPUs."""
    spec = fields.pop("spec", JobSpec(mem_mib=1000))
    job = Job(
        job_id, spec, "train", "ada", 1000, 1000, "ada", "lab", "debug", state=JobState.COMPLETED,
        submit_time=NOW - 4500, eligible_time=NOW - 4500, start_time=NOW - 4200, end_time=NOW - 3600, num_cpus=4,
        batch_host="n1", work_dir="/home/ada", stdout="slurm-%j.out",
        shares=[NodeShare("n1", cpu_ids=(0, 1, 2, 3), memory_mib=1000)],
    )  # fmt: skip
    for name, value in fields.items():
        setattr(job, name, value)
    if job.start_time and "steps" not in fields:
        usage = Usage(user_s=1200.0, tasks=1, ave_rss=500 << 20, max_rss=500 << 20)
        job.steps["batch"] = Step(
            job_id, "batch", "batch", state=job.state, nodes=("n1",), cpus=4, start_time=job.start_time,
            end_time=job.end_time, usage=usage,
        )  # fmt: skip
    return job


@pytest.fixture
def make_job() -> Any:
    return a_job
