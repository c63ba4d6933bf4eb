"""Accounting index: SQL sums and filters equal those of records."""

from __future__ import annotations

import random
import sqlite3
from collections import defaultdict
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

from slurmsky.commands.accounting import run_selection as accounted
from slurmsky.controller.store import accounting_index
from slurmsky.controller.store.database import Store
from slurmsky.model.allocation import NodeShare
from slurmsky.model.job import Job
from slurmsky.model.spec import JobSpec
from slurmsky.model.states import JobState
from slurmsky.options.query import SacctQuery
from slurmsky.report.text.spending import part_in

NOW = 100_000.0
PERIODS = ((0.0, 200_000.0), (99_000.0, 99_500.0), (99_990.0, 100_010.0), (150_000.0, 160_000.0))
ODD = "n\udcff\udc80"


def made(number: int, chance: random.Random) -> Job:
    """A job in a random state, with the times that belong to the state."""
    state = chance.choice(list(JobState))
    submit = NOW - chance.choice((5.25, 700.5, 3000, 90_000))
    eligible = chance.choice((0.0, submit, submit + 0.5, NOW + 900)) if state is JobState.PENDING else submit + 0.25
    start = eligible + chance.choice((0, 1.75, 200))
    end = start + chance.choice((0, 0.25, 30.5, 400))
    if state is JobState.PENDING:
        start, end = chance.choice((0.0, NOW + 50)), 0.0
    elif state.active:
        end = NOW + 500  # the end of its limit
    elif chance.random() < 0.2:
        start, eligible, end = 0.0, 0.0, submit + 1  # cancelled before it began
    shares = [NodeShare(f"n{n}", cpu_ids=(0, 1), memory_mib=chance.choice((0, 700))) for n in range(number % 3)]
    spec = JobSpec(wckey=chance.choice((None, "w")), constraint=chance.choice((None, "gpu", "big&gpu", "big,fast")))
    return Job(
        number, spec, chance.choice(("a", "b", ODD)),
        chance.choice(("ada", "bob")), chance.choice((1, 2)), 1, "g", chance.choice(("x", "y")),
        chance.choice(("p", "p,q")),
        qos=chance.choice(("normal", "high")), state=state, submit_time=submit, eligible_time=eligible,
        start_time=start, end_time=end, suspended_s=chance.choice((0.0, 0.0, 7.0, 1000.0)), restarts=number % 4 // 3,
        num_cpus=chance.choice((1, 2, 64)), num_nodes=max(1, len(shares)), shares=shares,
        time_limit_min=chance.choice((None, 10, 30, 4294967295)), sched_main=chance.random() < 0.5,
        reason=chance.choice(("None", "Priority", ODD)), cost=chance.choice((0.0, 0.0, 2.5)),
        managed_job_id=chance.choice((None, 9)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def jobs() -> list[Job]:
    chance = random.Random(7)
    return [made(number, chance) for number in range(1, 600)]


@pytest.fixture
def store(tmp_path: Path, jobs: list[Job]) -> Store:
    opened = Store(tmp_path / "queue.db")
    opened.write(jobs, (), (), {})
    return opened


def use_in(job: Job, start: float, end: float) -> float:
    """Whole seconds that a job ran within a period; suspended time is subtracted in proportion."""
    if not job.start_time or job.start_time > NOW or job.state is JobState.PENDING:
        return 0.0
    began, until = int(job.start_time), int(job.end_time if job.state.finished else NOW)
    inside = min(until, end) - max(began, start)
    if until <= began or inside <= 0:
        return 0.0
    return inside * max(0.0, until - began - job.suspended_s) / (until - began)


def wait_in(job: Job, start: float, end: float) -> float:
    """Seconds of a period in which a job was eligible without nodes."""
    if not job.eligible_time or (not job.start_time and job.state.finished):
        return 0.0
    started = NOW if job.state is JobState.PENDING else job.start_time
    return max(0.0, min(started, end, NOW) - max(job.eligible_time, start))


def overlaps(job: Job, start: float, end: float) -> bool:
    return job.submit_time <= end and (not job.state.finished or job.end_time >= start)


@pytest.mark.parametrize(("start", "end"), PERIODS)
def test_sums_are_what_the_jobs_add_up_to(store: Store, jobs: list[Job], start: float, end: float) -> None:
    expected: dict[tuple[str, ...], list[float]] = defaultdict(lambda: [0.0] * 5)
    first: dict[tuple[str, ...], float] = {}
    for job in jobs:
        if overlaps(job, start, end):
            key = (job.account, job.user, job.qos, job.spec.wckey or "", str(job.num_cpus))
            seconds, memory = use_in(job, start, end), sum(share.memory_mib for share in job.shares)
            more = (seconds > 0, seconds, job.num_nodes * seconds, memory * seconds, wait_in(job, start, end))
            expected[key] = [old + new for old, new in zip(expected[key], more, strict=True)]
            first[key] = min(first.get(key, job.submit_time), job.submit_time)
    uses = store.uses(start, end, NOW, accounting_index.ANY)
    assert {(*use[:4], str(use.cpus)) for use in uses} == set(expected)
    for use in uses:
        key = (*use[:4], str(use.cpus))
        assert use[6:] == pytest.approx(tuple(expected[key])) and use.submitted == first[key]
    some = store.uses(
        start, end, NOW, accounting_index.among("user", ["ada"]) & accounting_index.among("job_id", range(9))
    )
    assert sum(use.ran for use in some) == sum(
        use_in(job, start, end) > 0 for job in jobs[:8] if job.user == "ada" and overlaps(job, start, end)
    )


@pytest.mark.parametrize(("start", "end"), PERIODS)
def test_costs_are_what_the_jobs_add_up_to(store: Store, jobs: list[Job], start: float, end: float) -> None:
    expected: dict[tuple[str, ...], list[float]] = defaultdict(lambda: [0.0] * 3)
    for job in jobs:
        part = part_in(job, start, end, NOW) if overlaps(job, start, end) else 0.0
        if part and (job.cost or job.managed_job_id is not None):
            until = job.end_time if job.state.finished else NOW
            hours = max(0.0, until - job.start_time) * part / 3600 if job.start_time else 0.0
            key = (job.account, job.user, job.qos, job.partition)
            more = (1, hours, job.cost * part)
            expected[key] = [old + new for old, new in zip(expected[key], more, strict=True)]
    found = {charge[:4]: list(charge[4:]) for charge in store.charges(start, end, NOW, accounting_index.ANY)}
    assert found.keys() == expected.keys()
    for key, amounts in found.items():
        assert amounts == pytest.approx(expected[key])


def test_a_requeued_run_counts_until_its_end(tmp_path: Path) -> None:
    store = Store(tmp_path / "queue.db")
    shares = [NodeShare("n1", cpu_ids=(0, 1))]
    run = Job(1, JobSpec(), "a", "ada", 1, 1, "g", "ada", "p", submit_time=NOW - 90, eligible_time=NOW - 90,
              start_time=NOW - 80, end_time=NOW - 20, num_cpus=2, shares=shares)  # fmt: skip
    again = replace(
        run, restarts=1, submit_time=NOW - 20, eligible_time=NOW - 18, start_time=0.0, end_time=0.0, shares=[]
    )
    store.write([again], (), [run], {})
    (use,) = store.uses(NOW - 1000, NOW + 1000, NOW, accounting_index.ANY)
    assert (use.ran, use.seconds, use.waited) == (1, 60.0, 10.0 + 18.0)


def test_conditions_select_by_committed_values(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    store = Store(path)
    job = Job(1, JobSpec(), "before", "ada", 1, 1, "g", "ada", "p", submit_time=5.0)

    def named(name: str, duplicates: bool = False) -> list[tuple[int, int]]:
        return [run[:2] for run in store.runs(0, NOW, duplicates, accounting_index.among("name", [name]))]

    store.write([job], (), (), {})
    assert named("before") == [(1, 0)]
    job.name = ODD
    store.write([job], (), (), {})
    assert named("before") == [] and named(ODD) == [(1, 0)]
    earlier = replace(job, end_time=9.0)
    job.restarts, job.state, job.end_time = 1, JobState.FAILED, 12.0
    store.write([job], (), [earlier], {})
    assert named(ODD) == [(1, 1)] and named(ODD, duplicates=True) == [(1, 0), (1, 1)]
    store.charge([(1, 1, 4.5)])
    assert [charge.dollars for charge in store.charges(0, NOW, NOW, accounting_index.ANY)] == [4.5]
    store = Store(path)  # as after SIGKILL: the other one was never closed
    assert named(ODD) == [(1, 1)] and [run.finish for run in store.runs(0, NOW)] == [12.0]


def test_jobs_older_than_the_index_get_index_rows(tmp_path: Path, jobs: list[Job], store: Store) -> None:
    earlier = [replace(jobs[n], restarts=jobs[n].restarts + 1, end_time=NOW) for n in range(0, 60, 7)]
    store.write((), (), earlier, {})
    wanted = sqlite3.connect(store.path).execute("SELECT * FROM facts").fetchall()
    store.close()
    assert len(wanted) == len(jobs) + len(earlier)
    migrations = resources.files("slurmsky.controller.store") / "migrations"
    path = tmp_path / "old.db"
    old = sqlite3.connect(path)
    for name in ("0001_queue.sql", "0002_managed.sql", "0003_series.sql"):
        old.executescript((migrations / name).read_text())
    old.execute("ATTACH ? AS new", (str(store.path),))
    for table in ("jobs", "specs"):
        old.execute(f"INSERT INTO main.{table} SELECT * FROM new.{table}")
    old.execute("PRAGMA user_version=3")
    old.commit()
    old.close()
    Store(path).close()
    assert sqlite3.connect(path).execute("SELECT * FROM facts").fetchall() == wanted


#: what sacct may be requested, each alone or with others
REQUESTED: dict[str, tuple[object, ...]] = {
    "states": (("FAILED", "TIMEOUT"), ("PENDING",), ("RUNNING",), ("REQUEUED",), ("RESIZING",), ("SUSPENDED",),
               ("COMPLETED", "RUNNING"), ("PENDING", "NODE_FAIL"), ("all",)),
    "names": (("a",), (ODD, "b"), ("none",)), "accounts": (("x",), ("x", "y")), "qos": (("high",),),
    "wckeys": (("w",),), "partitions": (("p",), ("q",), ("q", "z"), ("z",)), "nodelist": ("n[1-2]", "n2", "n0", "m1"),
    "constraints": (("gpu",), ("big", "gpu"), ("none",)), "reasons": (("Priority",), ("None", "Resources"), (ODD,)),
    "flags": (("NotSet",), ("SchedMain",), ("SchedBackfill",), ("StartReceived",), ("SchedSubmit",)),
    "associations": (("0",), ("7",)), "nnodes": ((1, 0), (1, 1), (2, 9)), "ncpus": ((2, 2), (2, 64), (3, 0)),
    "timelimit_min": (10, 4294967295), "timelimit_max": (60,),
}  # fmt: skip


def queries() -> list[SacctQuery]:
    """Each option alone, and two hundred random combinations."""
    chance = random.Random(11)
    some: list[dict[str, object]] = [{name: value} for name, values in REQUESTED.items() for value in values]
    for _ in range(200):
        some.append({name: chance.choice(REQUESTED[name]) for name in chance.sample(list(REQUESTED), 2)})
    return [replace(SacctQuery(), allusers=True, **fields) for fields in some]  # type: ignore[arg-type]


@pytest.mark.parametrize(("start", "end"), PERIODS)
def test_the_index_chooses_what_the_records_would(store: Store, jobs: list[Job], start: float, end: float) -> None:
    inside = {(job.job_id, job.restarts): job for job in jobs if overlaps(job, start, end)}
    over = {key for key, job in inside.items() if job.state.finished and job.end_time > 0}
    met = 0
    for requested in queries():
        query = replace(requested, starttime=int(start), endtime=int(end))
        found = {run[:2] for run in store.runs(start, end, True, accounted.sql_conditions(query, start, end))}
        test = accounted.test(query, NOW)
        meant = {key for key, job in inside.items() if test(job)}
        assert meant & over == found & over, query
        assert meant <= found <= set(inside), query
        met += len(meant & over)
    assert met or not over
