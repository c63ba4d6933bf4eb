"""What was printed of the past is kept in bounds, by the runs that it is of and the edition of their ids."""

from __future__ import annotations

from pathlib import Path

from slurmsky.controller.pages import Page, Pages
from slurmsky.controller.store import Store
from slurmsky.model.job import Job, Step
from slurmsky.model.spec import JobSpec
from slurmsky.model.states import JobState
from slurmsky.report.accounting import accounting_order


def made(job_id: int, submit: float, array: int = 0, task: int | None = None, restarts: int = 0) -> Job:
    return Job(job_id, JobSpec(), "a", "ada", 1, 1, "ada", "ada", "debug", state=JobState.COMPLETED, submit_time=submit,
               end_time=submit + 9, array_job_id=array, array_task_id=task, restarts=restarts)  # fmt: skip


def test_pages_are_bounded() -> None:
    pages = Pages(room=3 * 600)
    for number in range(4):
        pages.put(number, Page.of(f"line {number}\n", 5.0))
        assert pages.get(0, 9.0) is not None or number == 3, "asked for again and again"
        if number == 2:
            pages.get(1, 9.0)
            pages.get(2, 9.0)
    assert len(pages) == 3 and pages.get(0, 9.0) is None
    page = pages.get(3, 9.0)
    assert page is not None and page.text() == b"line 3\n"
    assert pages.get(3, 4.0) is None, "of a window that ended before a job could run"
    for _ in range(9):
        pages.put(3, Page.of("the same again", 5.0))
    assert len(pages) == 3


def test_runs_stand_in_sacct_s_order(tmp_path: Path) -> None:
    jobs = [made(1, 50.2), made(2, 40.0), made(3, 50.1, 3, 7), made(4, 50.3, 3, 2), made(5, 50.9), made(6, 50.0, 3)]
    store = Store(tmp_path / "queue.db")
    store.write(jobs, (), [made(2, 40.0, restarts=3)], {})
    store.write([made(2, 40.0, restarts=4)], (), (), {})
    runs = store.runs(0, 99, duplicates=True)
    found = accounting_order(store.history(0, 99, None, True))
    assert [run[:2] for run in runs] == [(job.job_id, job.restarts) for job in found]
    assert {run.job_id for run in store.runs(60, 99)} == {job.job_id for job in store.history(60, 99)}
    assert [(job.job_id, job.restarts) for job in store.jobs_of(runs[:2])] == [run[:2] for run in runs[:2]]
    store.close()


def test_an_edition_rises_with_all_that_is_committed(tmp_path: Path) -> None:
    store = Store(tmp_path / "queue.db")
    job, other = made(7, 1.0), made(600, 1.0)
    page, seen = store.page_of(7), {store.edition(store.page_of(7))}
    for write in (
        lambda: store.write([job], (), (), {}),
        lambda: store.write([], [(job, Step(7, "0", "a"))], (), {}),
        lambda: store.write([], (), [job], {}),
        lambda: store.charge([(7, 0, 1.5)]),
    ):
        write()
        assert store.edition(page) not in seen
        seen.add(store.edition(page))
        before = store.edition(page)
        store.write([other], (), (), {})
        assert store.edition(page) == before
    store.close()
