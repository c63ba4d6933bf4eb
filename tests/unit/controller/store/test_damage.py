"""A damaged record is moved away and the others are read; no id is assigned twice."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from slurmsky.controller.store.database import Store
from slurmsky.controller.store.database_file import StoreError
from slurmsky.model.job import Job, Step
from slurmsky.model.spec import JobSpec
from slurmsky.model.states import JobState

JOB = Job(job_id=1, spec=JobSpec(), name="a", user="ada", uid=1, gid=1, group="g", account="ada", partition="p",
          state=JobState.PENDING, submit_time=1.0)  # fmt: skip


def fill(path: Path, next_id: int = 4) -> None:
    """Three jobs, each with a step and a spec of its own."""
    store = Store(path)
    jobs = [replace(JOB, job_id=number, spec=JobSpec(comment=str(number)), steps={}) for number in range(1, 4)]
    steps = [(job, Step(job_id=job.job_id, step_id="0", name="s")) for job in jobs]
    store.write(jobs, steps, [], {"next_job_id": next_id, "next_priority": 5})
    store.close()


def spoil(path: Path, statement: str) -> None:
    db = sqlite3.connect(path)
    assert db.execute(statement).rowcount == 1
    db.commit()
    db.close()


@pytest.mark.parametrize("value", ["'{'", "X'FF80'", "CAST(X'7BFF80' AS TEXT)", "'[]'", "'{}'", "42",
                                   "replace(record, '\"state\":', '\"state\":9')"])  # fmt: skip
def test_a_damaged_job_is_set_aside(tmp_path: Path, value: str) -> None:
    path = tmp_path / "queue.db"
    fill(path)
    spoil(path, f"UPDATE jobs SET record={value} WHERE job_id=2")
    store = Store(path)
    assert [job.job_id for job in store.current(0)] == [1, 3]
    assert [(one.source, one.key) for one in store.damage.found()] == [("jobs", "2.0")]
    assert [run.job_id for run in store.runs(0, 10)] == [1, 3]
    store.close()
    assert [job.job_id for job in Store(path).current(0)] == [1, 3], "and stays there"


def test_a_damaged_step_leaves_its_job(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    fill(path)
    spoil(path, 'UPDATE steps SET record=\'{"state":"NONSENSE"}\' WHERE job_id=2')
    store = Store(path)
    assert [len(job.steps) for job in store.current(0)] == [1, 0, 1]
    assert [(one.source, one.key) for one in store.damage.found()] == [("steps", "2.0.0")]


def test_a_damaged_spec_makes_only_its_jobs_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    fill(path)
    spoil(path, "UPDATE specs SET spec='{' WHERE spec_id=2")
    store = Store(path)
    assert [job.job_id for job in store.current(0)] == [1, 3]
    assert {one.source for one in store.damage.found()} == {"specs", "jobs"}


def test_a_damaged_note_counts_as_missing(tmp_path: Path) -> None:
    store = Store(tmp_path / "queue.db")
    store.put_note("states", "{")
    assert store.damage.parse_note("states", lambda kept: kept["x"]) is None
    assert store.read_note("states") is None
    assert [(one.source, one.key) for one in store.damage.found()] == [("meta", "states")]


def test_a_damaged_counter_repeats_no_id(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    fill(path)
    spoil(path, "UPDATE meta SET value='x' WHERE name='next_job_id'")
    assert Store(path).counter("next_job_id") >= 4


def _remove(path: Path) -> None:
    path.unlink()


def _old_copy(path: Path) -> None:
    path.write_bytes(path.with_suffix(".old").read_bytes())


@pytest.mark.parametrize("loss", [_remove, _old_copy])
def test_a_lost_database_repeats_no_id(tmp_path: Path, loss: Callable[[Path], None]) -> None:
    path = tmp_path / "queue.db"
    fill(path)
    path.with_suffix(".old").write_bytes(path.read_bytes())
    store = Store(path)
    store.write([replace(JOB, job_id=2500, steps={})], [], [], {"next_job_id": 2501})
    store.close()
    loss(path)
    store = Store(path)
    assert store.counter("next_job_id") > 2500
    store.write([], [], [], {"next_job_id": store.counter("next_job_id") + 1})
    next_id = store.counter("next_job_id")
    store.close()
    assert Store(path).counter("next_job_id") == next_id, "a database that is whole continues from its own"


def test_job_folders_show_ids_too(tmp_path: Path) -> None:
    (tmp_path / "jobs" / "17").mkdir(parents=True)
    assert Store(tmp_path / "queue.db").counter("next_job_id") == 18


def test_a_database_that_is_removed_while_open_is_rewritten(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    fill(path)
    store = Store(path)
    for name in tmp_path.glob("queue.db*"):
        name.unlink()
    store.write([replace(JOB, job_id=4, steps={})], [], [], {"next_job_id": 5})
    store.close()
    assert [job.job_id for job in Store(path).current(0)] == [1, 2, 3, 4]


def test_another_database_in_its_place_is_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    fill(path)
    store = Store(path)
    path.unlink()
    path.touch()
    with pytest.raises(StoreError, match="another file"):
        store.write([JOB], [], [], {})


def _fill_many(path: Path) -> None:
    store = Store(path)
    jobs = [replace(JOB, job_id=number, comment="x" * 500, steps={}) for number in range(1, 201)]
    store.write(jobs, [], [], {"next_job_id": 201, "next_priority": 5})
    store.close()


def _damage_pages(path: Path) -> None:
    """Overwrite two pages in the middle of the table of jobs."""
    db = sqlite3.connect(path)
    page_size = db.execute("PRAGMA page_size").fetchone()[0]
    pages = sorted(row[0] for row in db.execute("SELECT pageno FROM dbstat WHERE name='jobs' AND pagetype='leaf'"))
    db.close()
    with path.open("r+b") as file:
        for page in pages[len(pages) // 2 : len(pages) // 2 + 2]:
            file.seek((page - 1) * page_size)
            file.write(b"\xa5" * page_size)


def _overwrite_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"not a database\n" * 10)


def test_a_database_with_damaged_pages_is_set_aside_and_the_other_records_stay(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    _fill_many(path)
    try:
        _damage_pages(path)
    except sqlite3.OperationalError:
        pytest.skip("this SQLite has no dbstat")
    store = Store(path)
    kept = [job.job_id for job in store.current(0)]
    assert kept[0] == 1 and kept[-1] == 200 and 150 < len(kept) < 200
    assert [run.job_id for run in store.runs(0, 10)] == kept, "the accounting index has the same jobs"
    assert store.counter("next_job_id") >= 201
    assert [one.source for one in store.damage.found()] == ["database"]
    assert (tmp_path / store.damage.found()[0].key).exists()
    store.close()
    assert len(list(Store(path).current(0))) == len(kept), "and the new database is whole"


def test_an_unreadable_database_is_set_aside_and_no_id_is_given_twice(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    fill(path)
    _overwrite_header(path)
    store = Store(path)
    assert list(store.current(0)) == []
    assert store.counter("next_job_id") >= 4
    assert [one.source for one in store.damage.found()] == ["database"]


def test_a_linked_database_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "queue.db").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="is a link"):
        Store(tmp_path / "queue.db")
    assert not (tmp_path / "elsewhere").exists()
