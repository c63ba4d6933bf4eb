"""Opening a database of an older schema migrates it with its jobs."""

from __future__ import annotations

import sqlite3
from importlib import resources
from pathlib import Path

from slurmsky.controller.store.database import Store
from slurmsky.controller.store.record_codec import Managed
from slurmsky.model.job import Job
from slurmsky.model.spec import JobSpec
from slurmsky.model.states import JobState


def test_the_first_schema_gets_costs(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    first = resources.files("slurmsky.controller.store") / "migrations" / "0001_queue.sql"
    old = sqlite3.connect(path)
    old.executescript(first.read_text() + "PRAGMA user_version=1;")
    old.execute("INSERT INTO specs VALUES (1, 'x', '{}')")
    record = f'{{"job_id":7,"name":"a","user":"ada","uid":1,"gid":1,"group":"g","account":"ada","partition":"p",' \
             f'"state":{JobState.COMPLETED.value},"flags":0,"shares":[],"pending_tasks":[]}}'  # fmt: skip
    old.execute("INSERT INTO jobs VALUES (7,0,0,3,0,'ada',1.0,2.0,3.0,1,?)", (record,))
    old.commit()
    old.close()
    store = Store(path)
    (job,) = store.history(0, 10)
    assert (job.job_id, job.state, job.cost) == (7, JobState.COMPLETED, 0.0)
    store.charge([(7, 0, 1.5)])
    assert [(job.job_id, job.cost) for job in store.charged(0)] == [(7, 1.5)]
    assert list(store.charged(4)) == []
    store.close()
    assert [job.cost for job in Store(path).history(0, 10)] == [1.5]


def test_managed_jobs_are_kept_by_server(tmp_path: Path) -> None:
    store = Store(tmp_path / "queue.db")
    row = Managed(63, 60_000_063, "train", "RUNNING", 0.0, ("train-63",), 0.5, 2.0)
    store.put_managed("one", [row, Managed(64)])
    store.put_managed("two", [Managed(63, 65_000_000)])
    assert store.managed("one") == {63: row, 64: Managed(64)}
    assert store.managed_ids() == {60_000_063, 65_000_000}


def test_a_job_keeps_its_cost_through_later_writes(tmp_path: Path) -> None:
    store = Store(tmp_path / "queue.db")
    job = Job(7, JobSpec(), "a", "ada", 1, 1, "g", "ada", "p", state=JobState.COMPLETED, end_time=5.0, cost=2.25)
    store.write([job], [], [], {})
    job.exit_code = 3
    store.write([job], [], [], {})
    assert [(job.cost, job.exit_code) for job in store.history(0, 10)] == [(2.25, 3)]
