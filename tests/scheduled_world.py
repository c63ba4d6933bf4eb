"""A job table and a scheduler with four nodes and a stopped clock, without processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from slurmsky.controller.jobs.job_spool import Payload
from slurmsky.controller.jobs.job_table import JobTable
from slurmsky.controller.jobs.plan import Applied, apply
from slurmsky.controller.jobs.submitter import Submitter, admit
from slurmsky.controller.schedule.scheduler import Scheduler
from slurmsky.controller.store.database import Store
from slurmsky.model.job import Job
from slurmsky.model.spec import JobSpec
from slurmsky.model.states import JobState
from slurmsky.site import load

SITE = """cluster = "small"
[[node]]
names = "n[1-4]"
cpus = 8
cores = 8
memory_mib = 4000
gres = "gpu:h100:4,shard:8"
features = "fast"
[[partition]]
name = "debug"
nodes = "ALL"
default = true
[[partition]]
name = "short"
nodes = "n[3-4]"
max_time = "1:00:00"
[[partition]]
name = "part"
nodes = "n[3-4]"
max_cpus_per_node = 4
[licenses]
matlab = 2
"""


NOT_AVAILABLE = "Requested node configuration is not available"


WHO = Submitter("ada", 1000, "ada", 1000, "ada", "/home/ada", "host", 1, "sbatch x")


class World:
    """A job table with a clock of its own; ``submit`` admits, ``pass_`` schedules and begins what may start."""

    def __init__(self, folder: Path) -> None:
        self.now = 1_000_000.0
        self.folder = folder
        self.store = Store(folder / "queue.db")
        self.job_table = JobTable(load(SITE, "site.toml").cluster, self.store, lambda: self.now)
        self.scheduler = Scheduler(self.job_table)

    def submit(self, *specs: JobSpec, **fields: Any) -> Job:
        wanted = specs or (JobSpec(**fields),)
        payload = Payload(b"#!/bin/sh\n", "x", (), {}, 0o022, {})
        return admit(
            self.job_table,
            [replace(spec, job_name=spec.job_name or "x") for spec in wanted],
            payload,
            WHO,
            self.folder / "jobs",
        )

    def pass_(self) -> Applied:
        self.job_table.mark_reserved()
        return apply(self.scheduler.plan(), self.job_table)

    def end(self, job: Job, state: JobState = JobState.COMPLETED) -> None:
        self.job_table.free_shares(job)
        job.state, job.end_time = state, self.now
        self.job_table.touch(job)
        self.job_table.finished(job)

    def later(self, seconds: float) -> None:
        """Advance the clock; the job table drops jobs older than MinJobAge."""
        self.job_table.flush()
        self.now += seconds
        self.job_table.forget_old()

    def restart_later(self, seconds: float) -> None:
        """Stop the controller for this time."""
        self.job_table.flush()
        self.now += seconds
        self.restart()

    def restart(self) -> None:
        """Replace the controller, over the same store."""
        self.job_table.flush()
        self.store.close()
        self.store = Store(self.folder / "queue.db")
        self.job_table = JobTable(self.job_table.cluster, self.store, lambda: self.now)
        self.scheduler = Scheduler(self.job_table)
