"""Runs are selected by index columns; a record that is damaged is found when it is read."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from slurmsky.commands.accounting.run_selection import load_jobs
from slurmsky.controller.store.accounting_cache import CachePage
from slurmsky.controller.store.database import Store
from slurmsky.model.job import Job
from slurmsky.model.spec import JobSpec
from slurmsky.model.states import JobState

JOB = Job(job_id=1, spec=JobSpec(), name="a", user="ada", uid=1, gid=1, group="g", account="ada", partition="p",
          state=JobState.COMPLETED, submit_time=1.0, end_time=2.0)  # fmt: skip


def test_damaged_records_are_omitted(tmp_path: Path) -> None:
    store = Store(tmp_path / "queue.db")
    store.write([replace(JOB, job_id=number) for number in (1, 2, 3)], [], [], {"next_job_id": 4})
    sqlite3.connect(tmp_path / "queue.db", isolation_level=None).execute("UPDATE jobs SET record='{' WHERE job_id=2")
    runs = store.runs(0, 10)
    assert [run.job_id for run in runs] == [1, 2, 3]
    ctx: Any = SimpleNamespace(controller=SimpleNamespace(store=store, job_table=SimpleNamespace(jobs={})))
    assert [job.job_id for job in load_jobs(ctx, runs, with_steps=True)] == [1, 3]
    page = CachePage.of([(1, 0), (3, 0)], [1, 1], {"name": ["a", "b"]})
    assert page.rows(runs) == ([1, 1], None)
    store.close()
