"""A scheduler pass returns a plan and changes nothing; ``apply`` carries it out."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slurmsky.controller.jobs.job_spool import Payload
from slurmsky.controller.jobs.job_table import JobTable
from slurmsky.controller.jobs.plan import apply
from slurmsky.controller.jobs.submitter import Submitter, admit
from slurmsky.controller.schedule.scheduler import Scheduler
from slurmsky.controller.store.database import Store
from slurmsky.model.job import Job
from slurmsky.model.spec import JobSpec
from slurmsky.model.states import JobState
from slurmsky.site import load

SITE = """
[[node]]
names = "n[1-3]"
cpus = 4
memory_mib = 8000
[[partition]]
name = "debug"
default = true
nodes = "n[1-3]"
[[partition]]
name = "cloud"
infra = "aws"
engine = "sky"
[licenses]
matlab = 2
"""
WHO = Submitter("ada", 1000, "ada", 1000, "lab", "/home/ada", "host", 1, "sbatch x")
NOW = 1_000_000.0


class World:
    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / "queue.db")
        self.job_table = JobTable(load(SITE, "site.toml").cluster, self.store, lambda: NOW)
        self.scheduler = Scheduler(self.job_table, lambda partition: partition != "cloud")
        self._folder = folder / "jobs"

    def submit(self, *specs: JobSpec, **fields: Any) -> Job:
        payload = Payload(b"#!/bin/sh\n", "x", (), {}, 0o022, {})
        wanted = [replace(spec, job_name="x") for spec in specs or (JobSpec(**fields),)]
        return admit(self.job_table, wanted, payload, WHO, self._folder)

    def state(self) -> Any:
        """The state that a pass reads."""
        table = self.job_table
        return deepcopy((
            table.jobs, table.pending, table.active, table.members, table.uses, table.nodes, table.licenses_used,
            table.next_job_id, table.next_priority, table.partition_states, table.virtual._held, table._touched,
        ))  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.store.close()


def test_planning_has_no_side_effect(world: World) -> None:
    running = world.submit(ntasks=3)
    apply(world.scheduler.plan(), world.job_table)
    assert running.state is JobState.RUNNING
    world.submit(array="1-9%4", time_limit_min=5)
    world.submit(JobSpec(ntasks=2), JobSpec(ntasks=1, partition="debug"))
    world.submit(partition="cloud", array="0-2")
    world.submit(JobSpec(partition="cloud"), JobSpec(partition="cloud"))
    world.submit(nodes_min=3, exclusive="exclusive")  # finds no room: a planned start
    world.submit(licenses="matlab:2", time_limit_min=1)
    world.submit(dependency=f"after:{running.job_id}")
    world.submit(dependency="afterok:1", hold=True)
    world.submit(begin=NOW + 60)
    before = world.state()
    first, second = world.scheduler.plan(), world.scheduler.plan()
    assert first == second and first.starts and first.waits and not first.broken
    assert world.state() == before
    done = apply(first, world.job_table)
    assert not done.broken and len(done.started) == len(first.starts)
    assert [job.job_id for job in done.started] == [start.job_id for start in first.starts]


def test_elements_components_and_plain_jobs_start_by_one_path(world: World) -> None:
    world.submit(array="1-2")
    world.submit(JobSpec(), JobSpec())
    world.submit()
    plan = world.scheduler.plan()
    done = apply(plan, world.job_table)
    assert [start.task for start in plan.starts] == [1, 2, None, None, None]
    for job in done.started:
        assert (job.state, job.reason, job.start_time, job.engine) == (JobState.RUNNING, "None", NOW, "local")
        assert world.job_table.uses[job.batch_host].jobs >= {job.job_id}
    assert world.job_table.counters.started == 5


def test_components_that_do_not_all_fit_hold_nothing(world: World) -> None:
    parts = JobSpec(nodes_min=2, exclusive="exclusive", licenses="matlab"), JobSpec(nodes_min=2, exclusive="exclusive")
    waiting, small = world.submit(*parts), world.submit(nodes_min=3, exclusive="exclusive", licenses="matlab:2")
    done = apply(world.scheduler.plan(), world.job_table)
    assert done.started == [small] and waiting.reason == "Resources"
    assert world.job_table.licenses_used == {"matlab": 2}


def test_a_start_with_dependents_requests_another_pass(world: World) -> None:
    first = world.submit()
    dependent = world.submit(dependency=f"after:{first.job_id}")
    assert apply(world.scheduler.plan(), world.job_table).awaited and dependent.state is JobState.PENDING
    assert not apply(world.scheduler.plan(), world.job_table).awaited
    assert dependent.state is JobState.RUNNING


def test_a_start_that_raises_concerns_its_job_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    faulty, healthy = world.submit(), world.submit()
    book_shares = world.job_table.book_shares

    def raise_for_one(job: Job) -> None:
        if job is faulty:
            raise RuntimeError("damaged")
        book_shares(job)

    monkeypatch.setattr(world.job_table, "book_shares", raise_for_one)
    done = apply(world.scheduler.plan(), world.job_table)
    assert done.started == [healthy] and [job for job, _ in done.broken] == [faulty]
