"""The queue on disk: SQLite in WAL mode, numbered migrations, short transactions.

A commit survives the death of any process (synchronous=NORMAL: the last commits may be lost only
when the machine itself loses power). Only the controller that holds the lock file opens the store.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from ...model.job import Job, Step
from ...model.spec import JobSpec
from ...model.states import JobState
from ...report.text.spending import Charge
from ...report.text.utilization import Use
from . import accounting_index
from .record_codec import Managed, job_from_dict, job_to_json, step_from_dict, step_to_dict


class StoreError(Exception):
    """The database cannot be opened or written; the text names the file and the cause."""


#: which facts are kept; another text has those of all jobs made anew
_FACTS = "3"
#: ids of a page, as a power of two
_PAGE_BITS = 8
_NO_PAGE = "DELETE FROM pages WHERE number=?"
#: records that are decoded together
_BATCH = 500


def _decoded(rows: list[tuple[Any, ...]]) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """The rows of a query with their last column read as JSON.

    One text of some hundred records is decoded in two thirds of the time, and its names are kept in memory once.
    """
    for start in range(0, len(rows), _BATCH):
        part = rows[start : start + _BATCH]
        yield from zip(part, json.loads("[%s]" % ",".join([row[-1] for row in part])), strict=True)


class Run(NamedTuple):
    """One run of a job, by its key; ``finish`` is 0.0 while it is not over."""

    job_id: int
    restarts: int
    finish: float
    start: float = 0.0


class Store:
    """All persistent accounting_index about jobs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._spec_ids: dict[JobSpec, int] = {}
        self._specs: dict[int, JobSpec] = {}
        self._editions: Counter[int] = Counter()
        self.commits = 0  # rises with each
        if path.exists() and not path.stat().st_size and any(path.with_name("jobs").glob("[0-9]*")):
            # SQLite would take it for a new one and give ids again that were given.
            raise StoreError(f"{path}: the database is empty, but there are jobs in {path.with_name('jobs')}")
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute("PRAGMA cache_size=-4000")
            for name, function in accounting_index.FUNCTIONS.items():
                self._db.create_function(name, 2, function, deterministic=True)
            self._check()
            self._migrate()
            self._fill_facts()
        except sqlite3.Error as error:
            raise StoreError(f"{path}: {error}") from error
        path.chmod(0o600)

    def _check(self) -> None:
        (verdict,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise StoreError(f"{self.path}: the database is damaged ({verdict.splitlines()[0]})")

    def _migrate(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        folder = resources.files(__package__) / "migrations"
        scripts = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
        if version > len(scripts):
            raise StoreError(f"{self.path}: written by a newer version (schema {version})")
        for number, name in enumerate(scripts, 1):
            if number > version:
                text = (folder / name).read_text("utf-8")
                self._db.executescript(f"BEGIN;\n{text}\nPRAGMA user_version={number};\nCOMMIT;")

    def _fill_facts(self) -> None:
        """Facts of jobs that were committed before there was the table of accounting_index."""
        if self.note("facts") == _FACTS:
            return
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("DELETE FROM facts")
        for superseded in (0, 1):
            found = self._jobs("superseded=?", (superseded,), with_steps=False)
            self._db.executemany(
                accounting_index.INSERT, (accounting_index.row(job, bool(superseded)) for job in found)
            )
        self._db.execute("INSERT OR REPLACE INTO meta VALUES ('facts',?)", (_FACTS,))
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Fold the log into the database and close it."""
        self._db.close()

    # --- counters

    def counter(self, name: str) -> int:
        """The stored value of a counter."""
        (value,) = self._db.execute("SELECT value FROM meta WHERE name=?", (name,)).fetchone()
        return int(value)

    def note(self, name: str) -> str | None:
        """A text kept under a name (put_note), or None."""
        row = self._db.execute("SELECT value FROM meta WHERE name=?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def put_note(self, name: str, text: str) -> None:
        """Keep a small text; raises StoreError."""
        try:
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", (name, text))
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: {error}") from error

    # --- writing

    def write(
        self,
        jobs: Iterable[Job],
        steps: Iterable[tuple[Job, Step]],
        superseded: Iterable[Job],
        counters: dict[str, int],
    ) -> None:
        """Commit new states in one transaction; ``superseded`` are earlier runs of requeued jobs."""
        jobs, steps, superseded = list(jobs), list(steps), list(superseded)
        numbers = {self.page_of(job.job_id) for job in (*jobs, *superseded, *(job for job, _ in steps))}
        self._editions.update(numbers)
        self.commits += 1
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(_NO_PAGE, [(number,) for number in numbers])
            self._db.executemany(
                "UPDATE meta SET value=? WHERE name=?",
                [(str(value), name) for name, value in counters.items()],
            )
            for old, rows in ((1, superseded), (0, jobs)):
                self._db.executemany(
                    "INSERT OR REPLACE INTO jobs VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                    [
                        (
                            job.job_id,
                            job.restarts,
                            job.array_job_id,
                            job.state.value,
                            old,
                            job.user,
                            job.submit_time,
                            job.start_time,
                            job.end_time if job.state.finished or old else 0.0,
                            self._spec_id(job.spec),
                            job_to_json(job),
                            job.cost,
                        )
                        for job in rows
                    ],
                )
                self._db.executemany(accounting_index.INSERT, [accounting_index.row(job, bool(old)) for job in rows])
            self._db.executemany(
                "INSERT OR REPLACE INTO steps VALUES (?,?,?,?)",
                [
                    (
                        job.job_id,
                        job.restarts,
                        step.step_id,
                        json.dumps(step_to_dict(step), separators=(",", ":")),
                    )
                    for job, step in steps
                ],
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO series VALUES (?,?,?,?)",
                [
                    (job.job_id, job.restarts, step.step_id, json.dumps(step.usage.series, separators=(",", ":")))
                    for job, step in steps
                    if step.usage.series
                ],
            )
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise StoreError(f"{self.path}: {error}") from error

    def _spec_id(self, spec: JobSpec) -> int:
        known = self._spec_ids.get(spec)
        if known is not None:
            return known
        text = json.dumps(spec.to_dict(), separators=(",", ":"), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        self._db.execute("INSERT OR IGNORE INTO specs (digest, spec) VALUES (?,?)", (digest, text))
        (spec_id,) = self._db.execute("SELECT spec_id FROM specs WHERE digest=?", (digest,)).fetchone()
        if len(self._spec_ids) > 1000:
            self._spec_ids.clear()
        self._spec_ids[spec] = int(spec_id)
        return int(spec_id)

    # --- reading

    def _found_specs(self, spec_ids: set[int]) -> dict[int, JobSpec]:
        """Specs by their ids."""
        found = {spec_id: self._specs[spec_id] for spec_id in spec_ids & self._specs.keys()}
        missing = list(spec_ids - found.keys())
        for start in range(0, len(missing), _BATCH):
            part = missing[start : start + _BATCH]
            marks = ",".join("?" * len(part))
            rows = self._db.execute(f"SELECT spec_id, spec FROM specs WHERE spec_id IN ({marks})", part).fetchall()
            found.update({spec_id: JobSpec.from_dict(data) for (spec_id, _), data in _decoded(rows)})
        if len(found) < 1000:
            if len(self._specs) > 1000:
                self._specs.clear()
            self._specs.update(found)
        return found

    def _jobs(self, where: str, values: tuple[object, ...], with_steps: bool = True) -> Iterator[Job]:
        rows = self._db.execute(
            f"SELECT job_id, restarts, spec_id, cost, record FROM jobs WHERE {where} ORDER BY job_id, restarts", values
        ).fetchall()
        specs = self._found_specs({row[2] for row in rows})
        steps: dict[tuple[int, int], list[Step]] = {}
        if with_steps:
            # In this order: SQLite would start with all steps that there are.
            found = self._db.execute(
                "SELECT s.job_id, s.restarts, s.record FROM jobs CROSS JOIN steps s USING (job_id, restarts)"
                f" WHERE {where}", values
            ).fetchall()  # fmt: skip
            for (job_id, restarts, _), record in _decoded(found):
                steps.setdefault((job_id, restarts), []).append(step_from_dict(record))
        for (job_id, restarts, spec_id, cost, _), record in _decoded(rows):
            job = job_from_dict(record, specs[spec_id])
            job.cost = cost
            for step in steps.get((job_id, restarts), ()):
                job.steps[step.step_id] = step
            yield job

    def current(self, finished_since: float) -> Iterator[Job]:
        """Jobs that are not over, and those that ended at or after an epoch second."""
        yield from self._jobs("superseded=0 AND (state<? OR finish>=?)", (JobState.COMPLETED.value, finished_since))

    def history(
        self,
        since: float,
        until: float,
        job_ids: Iterable[int] | None = None,
        duplicates: bool = False,
        with_steps: bool = True,
    ) -> Iterator[Job]:
        """Jobs whose life overlaps [since, until], or those of the given ids (array base ids included)."""
        if job_ids is None:
            chosen = accounting_index.window(since, until, duplicates)
            keys = f"(job_id, restarts) IN (SELECT job_id, restarts FROM facts WHERE {chosen.text})"
            yield from self._jobs(keys, chosen.values, with_steps)
            return
        ids = tuple(job_ids)
        seen: set[tuple[int, int]] = set()  # an element may be found by its own id and by its array's
        for start in range(0, len(ids), _BATCH // 2):
            part = ids[start : start + _BATCH // 2]
            marks = ",".join("?" * len(part))
            where = f"{'1' if duplicates else 'superseded=0'} AND (job_id IN ({marks}) OR array_id IN ({marks}))"
            for job in self._jobs(where, part + part, with_steps):
                if (job.job_id, job.restarts) not in seen:
                    seen.add((job.job_id, job.restarts))
                    yield job

    def uses(self, start: float, end: float, now: float, where: accounting_index.Where) -> list[Use]:
        """What runs used in a period."""
        return accounting_index.uses(self._db.execute, start, end, now, where)

    def charges(self, start: float, end: float, now: float, where: accounting_index.Where) -> list[Charge]:
        """What runs cost in a period."""
        return accounting_index.charges(self._db.execute, start, end, now, where)

    def known(self, column: str) -> set[str]:
        """All values of a fact that is a text."""
        return {str(value) for (value,) in self._db.execute(f"SELECT DISTINCT {column} FROM facts")}

    # --- the past in pages

    @staticmethod
    def page_of(job_id: int) -> int:
        """The number of the page that a job id is on."""
        return job_id >> _PAGE_BITS

    @staticmethod
    def ids_of(page: int) -> accounting_index.Where:
        """The condition that a run is on this page."""
        return accounting_index.Where(("job_id BETWEEN ? AND ?",), (page << _PAGE_BITS, ((page + 1) << _PAGE_BITS) - 1))

    def edition(self, page: int) -> int:
        """Changes when anything of a job on this page is committed."""
        return self._editions[page]

    def page(self, number: int, words: bytes) -> bytes | None:
        """What ``put_page`` kept under this name."""
        found = self._db.execute("SELECT packed FROM pages WHERE number=? AND words=?", (number, words)).fetchone()
        return None if found is None else bytes(found[0])

    def put_page(self, number: int, words: bytes, packed: bytes) -> None:
        """Keep a page until anything of a job on it is committed. Raises StoreError."""
        self._commit(("INSERT OR REPLACE INTO pages VALUES (?,?,?)", [(number, words, packed)]))

    def size_of_pages(self, overhead: int) -> int:
        """Bytes of all pages."""
        (size,) = self._db.execute("SELECT total(length(packed)+?) FROM pages", (overhead,)).fetchone()
        return int(size)

    def trim_pages(self, room: int, overhead: int) -> None:
        """Drop the pages that were kept first, beyond so many bytes in all. Raises StoreError."""
        kept = ("SELECT rowid FROM (SELECT rowid, sum(length(packed)+?) OVER (ORDER BY rowid DESC) AS size FROM pages)"
                " WHERE size>?")  # fmt: skip
        if self.size_of_pages(overhead) > room:
            self._commit((f"DELETE FROM pages WHERE rowid IN ({kept})", [(overhead, room)]))

    def settled(self, number: int) -> bool:
        """Whether all runs on a page are over, and no more will come."""
        (last,) = self._db.execute("SELECT max(job_id) FROM facts").fetchone()
        if last is None or number >= self.page_of(last):
            return False
        here = self.ids_of(number)
        (over,) = self._db.execute(
            f"SELECT min(superseded OR finish>0) FROM facts WHERE {here.text}", here.values
        ).fetchone()
        return bool(over)

    def printed(self, words: bytes) -> set[int]:
        """Pages that are kept under this name."""
        return {number for (number,) in self._db.execute("SELECT number FROM pages WHERE words=?", (words,))}

    def runs_on(self, number: int) -> list[Run]:
        """All runs on a page, in the order of sacct."""
        return self.runs(0, float("inf"), duplicates=True, where=self.ids_of(number))

    def runs(
        self, since: float, until: float, duplicates: bool = False, where: accounting_index.Where = accounting_index.ANY
    ) -> list[Run]:
        """Runs in a window of which all conditions hold, in the order of sacct (``accounting_order``)."""
        chosen = accounting_index.window(since, until, duplicates) & where
        rows = self._db.execute(
            f"SELECT job_id, restarts, finish, start FROM facts WHERE {chosen.text} ORDER BY {accounting_index.ORDER}",
            chosen.values,
        )
        return list(map(Run._make, rows))

    def jobs_of(self, runs: Sequence[Run], with_steps: bool = True) -> Iterator[Job]:
        """The jobs of some hundred runs."""
        marks = ",".join(["(?,?)"] * len(runs))
        ids = [run.job_id for run in runs]
        keys = (min(ids), max(ids), *[value for run in runs for value in run[:2]])
        # SQLite finds rows by the first condition, and would look at all of them for the second alone.
        yield from self._jobs(f"job_id BETWEEN ? AND ? AND (job_id, restarts) IN (VALUES {marks})", keys, with_steps)

    def add_series(self, jobs: Iterable[Job]) -> None:
        """What the steps of these jobs used over time, which ``history`` leaves out."""
        for job in jobs:
            for step_id, text in self._db.execute(
                "SELECT step_id, series FROM series WHERE job_id=? AND restarts=?", (job.job_id, job.restarts)
            ):
                step = job.steps.get(step_id)
                if step is not None and not step.usage.series:
                    step.usage.series = json.loads(text)

    # --- what SkyPilot's jobs are and cost

    def charged(self, since: float) -> Iterator[Job]:
        """Runs of jobs that cost something and were not over before an epoch second."""
        yield from self._jobs("cost>0 AND (finish=0 OR finish>=?)", (since,))

    def charge(self, costs: Iterable[tuple[int, int, float]]) -> None:
        """Commit (job id, restarts, dollars) of runs that may have left memory. Raises StoreError."""
        costs = list(costs)
        numbers = {self.page_of(job_id) for job_id, _, _ in costs}
        self._editions.update(numbers)
        self.commits += 1
        rows = [(dollars, job_id, restarts) for job_id, restarts, dollars in costs]
        update = "UPDATE %s SET cost=? WHERE job_id=? AND restarts=?"
        self._commit((_NO_PAGE, [(number,) for number in numbers]), (update % "jobs", rows), (update % "facts", rows))

    def managed(self, server: str) -> dict[int, Managed]:
        """SkyPilot's managed jobs of a server as they were read last, by SkyPilot's id."""
        columns = "managed_job_id, job_id, name, status, over, clusters, cost, hourly, settled"
        rows = self._db.execute(f"SELECT {columns} FROM managed WHERE server=?", (server,))
        return {
            number: Managed(number, job_id, name, status, over, tuple(json.loads(names)), cost, hourly, bool(settled))
            for number, job_id, name, status, over, names, cost, hourly, settled in rows
        }

    def put_managed(self, server: str, rows: Iterable[Managed]) -> None:
        """Commit what was read. Raises StoreError."""
        self._many("INSERT OR REPLACE INTO managed VALUES (?,?,?,?,?,?,?,?,?,?)",
                   [(server, row.managed_job_id, row.job_id, row.name, row.status, row.over,
                     json.dumps(row.clusters), row.cost, row.hourly, int(row.settled)) for row in rows])  # fmt: skip

    def managed_ids(self) -> set[int]:
        """Job ids under which managed jobs of any server are shown."""
        return {row[0] for row in self._db.execute("SELECT job_id FROM managed WHERE job_id>0")}

    def _many(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        if rows:
            self._commit((statement, rows))

    def _commit(self, *parts: tuple[str, Sequence[tuple[object, ...]]]) -> None:
        """Commit statements, each with each of its rows. Raises StoreError."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for statement, rows in parts:
                self._db.executemany(statement, rows)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise StoreError(f"{self.path}: {error}") from error

    def count(self) -> int:
        """Rows of jobs, earlier runs included."""
        (number,) = self._db.execute("SELECT count(*) FROM jobs").fetchone()
        return int(number)
