"""What was printed of the past is kept in bounds, by the runs that it is of, until something of them is committed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest

from slurmsky.controller.pages import IdleTime, Key, Page, Pages, digest, program
from slurmsky.controller.store import Store
from slurmsky.model.job import Job, Step
from slurmsky.model.spec import JobSpec
from slurmsky.model.states import JobState
from slurmsky.report.accounting import accounting_order


def made(job_id: int, submit: float, array: int = 0, task: int | None = None, restarts: int = 0) -> Job:
    return Job(job_id, JobSpec(), "a", "ada", 1, 1, "ada", "ada", "debug", state=JobState.COMPLETED, submit_time=submit,
               end_time=submit + 9, array_job_id=array, array_task_id=task, restarts=restarts)  # fmt: skip


def test_pages_are_bounded(tmp_path: Path) -> None:
    pages = Pages(Store(tmp_path / "queue.db"), "cluster", room=4 * 600)
    words = pages.words("asked")
    keys = [Key(number, words, digest(number)) for number in range(200)]
    for key in keys:
        pages.put(key, Page.of(f"line {key.number}\n", 5.0))
    kept = [key for key in keys if pages.get(key, 9.0) is not None]
    # The size of all is looked at now and then: those made first have gone, the last ones never.
    assert kept == keys[-len(kept) :] and 4 <= len(kept) < 100
    assert pages.full
    page = pages.get(keys[-1], 9.0)
    assert page is not None and page.text() == b"line 199\n"
    assert pages.get(keys[-1], 4.0) is None, "of a window that ended before a job could run"
    assert pages.get(Key(199, words, digest("others")), 9.0) is None, "of other runs"
    assert pages.get(Key(199, pages.words("else"), keys[-1].runs), 9.0) is None, "of another query"


def test_pages_are_of_a_program_and_a_cluster(tmp_path: Path) -> None:
    store = Store(tmp_path / "queue.db")
    words = Pages(store, "cluster").words("asked")
    assert Pages(store, "cluster").words("asked") == words != Pages(store, "other").words("asked")
    assert any(path.endswith("report/accounting.py") for path, _, _ in program())
    assert any(path.endswith("commands/sacct.py") for path, _, _ in program())


@pytest.mark.parametrize("how", ["job", "step", "superseded", "cost"])
def test_a_page_goes_with_what_is_committed(tmp_path: Path, how: str) -> None:
    path = tmp_path / "queue.db"
    store = Store(path)
    job, neighbour, other = made(7, 1.0), made(9, 1.0), made(600, 1.0)
    store.write([job, neighbour, other], (), (), {})
    keys = [Key(Store.page_of(one.job_id), digest("words"), digest("runs")) for one in (job, other)]
    for key in keys:
        Pages(store, "").put(key, Page.of("text", 1.0))
    store = Store(path)  # the other one was never closed, as after SIGKILL
    pages, edition = Pages(store, ""), store.edition(keys[0].number)
    assert [page and page.text() for page in (pages.get(key, 9.0) for key in keys)] == [b"text", b"text"]
    if how == "job":
        store.write([neighbour], (), (), {})
    elif how == "step":
        store.write((), [(job, Step(7, "0", "a"))], (), {})
    elif how == "superseded":
        store.write((), (), [job], {})
    else:
        store.charge([(7, 0, 1.5)])
    assert store.edition(keys[0].number) != edition
    assert pages.get(keys[0], 9.0) is None and pages.get(keys[1], 9.0) is not None
    assert Pages(Store(path), "").get(keys[0], 9.0) is None


def test_what_is_not_printed_yet(tmp_path: Path) -> None:
    store = Store(tmp_path / "queue.db")
    runs = replace(made(900, 1.0), state=JobState.RUNNING)
    store.write([made(number, 1.0) for number in (1, 300, 600, 901, 1100)] + [runs], (), [made(2, 1.0)], {})
    words = digest("words")
    assert store.unprinted(words, 5) == [4, 2, 1, 0], "all that are over, but for the one that grows"
    Pages(store, "").put(Key(2, words, digest("runs")), Page.of("", 1.0))
    assert store.unprinted(words, 4) == [1, 0]


def test_work_is_done_when_something_was_committed(tmp_path: Path) -> None:
    store = Store(tmp_path / "queue.db")
    done: list[str] = []

    async def work() -> AsyncGenerator[None, None]:
        for piece in ("a", "b"):
            yield
            if piece == "a" and not done:
                store.write([made(1, 1.0)], (), (), {})  # seen by the next round
            done.append(piece)

    async def live() -> None:
        idle = IdleTime(store, rest_s=0.0)
        idle.look()
        assert not done, "there is no work yet"
        idle.work = work
        idle.look()
        while len(done) < 4:
            await asyncio.sleep(0.01)
        for _ in range(9):
            idle.look()
            await asyncio.sleep(0)
        await idle.close()

    asyncio.run(asyncio.wait_for(live(), 60))
    assert done == ["a", "b"] * 2, "once for each time that something was committed"


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
