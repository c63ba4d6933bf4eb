"""Accounting cache: bounded, keyed by runs, invalidated by commits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest
from polling import PATIENCE_S

from slurmsky.controller.store.accounting_cache import AccountingCache, CachePage, IdleTime, digest, program
from slurmsky.controller.store.cache_pages import page_of
from slurmsky.controller.store.database import Run, Store
from slurmsky.model.job import Job, Step
from slurmsky.model.spec import JobSpec
from slurmsky.model.states import JobState
from slurmsky.report.text.print_fields import SharedCell
from slurmsky.report.text.sacct_rows import accounting_order


def made(job_id: int, submit: float, array: int = 0, task: int | None = None, restarts: int = 0) -> Job:
    return Job(job_id, JobSpec(), "a", "ada", 1, 1, "ada", "ada", "debug", state=JobState.COMPLETED, submit_time=submit,
               end_time=submit + 9, array_job_id=array, array_task_id=task, restarts=restarts)  # fmt: skip


def paged(*names: str) -> CachePage:
    """A page of two runs with two rows and one."""
    return CachePage.of([(1, 0), (2, 3)], [2, 1], {name: [f"{name}{row}" for row in range(3)] for name in names})


def test_any_cell_round_trips() -> None:
    columns: dict[str, list[str | None]] = {
        "plain": ["a", "b c", "", "|"], "some": [None, "x", None, ""], "none": [None] * 4, "same": ["größe"] * 4,
        "odd": ["n\udcff", "日本", "\ud800", "a"], "odd same": ["n\udcff"] * 4, "signs": ["a\x1fb", "\x1e", "\n", "\0"],
        "empty": [""] * 4,
    }  # fmt: skip
    runs = [(7, 0), (7, 1), (9, 0)]
    page = CachePage.read(CachePage.of(runs, [2, 0, 2], columns).serialised_page())
    assert page.has(columns) and not page.has(["plain", "other"])
    page = CachePage.read(page.with_columns({"other": ["1", "2", "3", "4"]}).serialised_page())

    def cells(name: str, rows: list[int] | None = None) -> list[str | None]:
        found = page.column_cells(name, rows)
        return [found.value] * (4 if rows is None else len(rows)) if isinstance(found, SharedCell) else list(found)

    assert {name: cells(name) for name in columns} == columns and cells("other") == ["1", "2", "3", "4"]
    assert isinstance(page.column_cells("none", None), SharedCell) and isinstance(
        page.column_cells("same", [1]), SharedCell
    )
    # All rows as they stand, those of some runs, those of runs in another order.
    assert page.rows([Run(*run, 1.0) for run in runs]) == ([2, 0, 2], None)
    assert page.rows([Run(9, 0, 1.0)]) == ([2], [2, 3]) and cells("other", [2, 3]) == ["3", "4"]
    assert page.rows([Run(9, 0, 1.0), Run(7, 1, 1.0), Run(7, 0, 1.0)]) == ([2, 0, 2], [2, 3, 0, 1])


def test_pages_are_bounded(tmp_path: Path) -> None:
    pages = AccountingCache(Store(tmp_path / "queue.db"), "cluster", room=4 * 700)
    words = pages.page_key("asked")
    for number in range(200):
        pages.store_page(number, words, paged("name"))
    kept = [number for number in range(200) if pages.get(number, words) is not None]
    # The cache checks its total size now and then: it removes the oldest pages, never the last ones.
    assert kept == list(range(200))[-len(kept) :] and 4 <= len(kept) < 100
    assert pages.full
    page = pages.get(199, words)
    assert page is not None and page.column_cells("name", [2]) == ["name2"]
    assert pages.get(199, pages.page_key("else")) is None, "of something else"


def test_pages_are_of_a_program_and_a_cluster(tmp_path: Path) -> None:
    store = Store(tmp_path / "queue.db")
    words = AccountingCache(store, "cluster").page_key("asked")
    assert (
        AccountingCache(store, "cluster").page_key("asked")
        == words
        != AccountingCache(store, "other").page_key("asked")
    )
    assert any(path.endswith("report/text/sacct_rows.py") for path, _, _ in program())
    assert any(path.endswith("commands/accounting/cached_rows.py") for path, _, _ in program())


@pytest.mark.parametrize("how", ["job", "step", "superseded", "cost"])
def test_a_commit_of_a_pages_job_removes_the_page(tmp_path: Path, how: str) -> None:
    path = tmp_path / "queue.db"
    store = Store(path)
    job, neighbour, other = made(7, 1.0), made(9, 1.0), made(600, 1.0)
    store.write([job, neighbour, other], (), (), {})
    words, numbers = digest("words"), [page_of(one.job_id) for one in (job, other)]
    for number in numbers:
        AccountingCache(store, "").store_page(number, words, paged("name"))
    store = Store(path)  # the other one was never closed, as after SIGKILL
    pages, edition = AccountingCache(store, ""), store.pages.edition(numbers[0])
    assert store.pages.stored(words) == set(numbers) and pages.get(numbers[0], words) is not None
    if how == "job":
        store.write([neighbour], (), (), {})
    elif how == "step":
        store.write((), [(job, Step(7, "0", "a"))], (), {})
    elif how == "superseded":
        store.write((), (), [job], {})
    else:
        store.charge([(7, 0, 1.5)])
    assert store.pages.edition(numbers[0]) != edition
    assert pages.get(numbers[0], words) is None and pages.get(numbers[1], words) is not None
    assert Store(path).pages.stored(words) == {numbers[1]}


def test_a_page_is_complete_when_its_runs_have_ended_and_no_new_one_can_come(tmp_path: Path) -> None:
    store = Store(tmp_path / "queue.db")
    assert not store.pages.complete(0)
    runs = replace(made(900, 1.0), state=JobState.RUNNING)
    store.write([made(number, 1.0) for number in (1, 300, 600, 901, 1100)] + [runs], (), [made(2, 1.0)], {})
    assert [store.pages.complete(number) for number in range(6)] == [True, True, True, False, False, False]
    assert [run[:2] for run in store.runs_on(0)] == [(1, 0), (2, 0)]


def test_idle_work_runs_after_a_commit(tmp_path: Path) -> None:
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
        idle.start_if_due()
        assert not done, "there is no work yet"
        idle.work = work
        idle.start_if_due()
        await asyncio.sleep(0.01)
        assert not done, "nothing was committed"
        store.write([made(2, 1.0)], (), (), {})
        idle.start_if_due()
        while len(done) < 4:
            await asyncio.sleep(0.01)
        for _ in range(9):
            idle.start_if_due()
            await asyncio.sleep(0)
        await idle.close()

    asyncio.run(asyncio.wait_for(live(), PATIENCE_S))
    assert done == ["a", "b"] * 2, "once for each time that something was committed"


def test_runs_are_in_sacct_s_order(tmp_path: Path) -> None:
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
