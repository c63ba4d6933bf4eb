"""After a failed transaction memory has no state that the database lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurmsky.controller.store.database import Store
from slurmsky.controller.store.database_file import StoreError
from slurmsky.model.job import Job
from slurmsky.model.spec import JobSpec


def test_the_spec_of_a_failed_commit_is_stored_by_the_next_one(tmp_path: Path) -> None:
    spec = JobSpec(job_name="sweep")
    job = Job(1, spec, "sweep", "me", 1, 1, "me", "", "debug", submit_time=1.0)
    store = Store(tmp_path / "queue.db")
    counters = {"next_job_id": 2, "next_priority": 9}
    store._db.execute("CREATE TEMP TRIGGER full BEFORE INSERT ON main.jobs BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    with pytest.raises(StoreError, match="disk full"):
        store.write([job], [], [], counters)
    store._db.execute("DROP TRIGGER full")
    store.write([job], [], [], counters)
    store.close()
    again = Store(tmp_path / "queue.db")
    assert [one.spec for one in again.current(0)] == [spec]
    again.close()
