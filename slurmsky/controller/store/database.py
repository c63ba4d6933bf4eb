"""The queue's database: jobs, steps, accounting index, managed jobs."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ...model.job import Job, Step
from ...model.spec import JobSpec
from ...model.states import JobState
from ...report.text.spending import Charge
from ...report.text.utilization import Use
from . import accounting_index
from .cache_pages import CachePages, ids_of
from .damage import UNREADABLE
from .database_file import DatabaseFile, StoreError
from .id_reserve import IdReserve
from .record_codec import Managed, compact, job_from_dict, job_to_json, step_from_dict, step_to_dict

#: version of the index columns; after a change, the index rows of all jobs are recomputed
_INDEX_VERSION = "3"
#: records whose specs are read in one query
_BATCH = 500


class Run(NamedTuple):
    """One run of a job, by its key. ``finish`` is 0.0 until its end."""

    job_id: int
    restarts: int
    finish: float
    start: float = 0.0


class Store(DatabaseFile):
    """The database of jobs, steps and accounting."""

    def __init__(self, path: Path, ids: IdReserve | None = None) -> None:
        self._spec_ids: dict[JobSpec, int] = {}
        self._specs: dict[int, JobSpec] = {}
        self.commits = 0  # number of commits
        self.pages = CachePages(self)
        super().__init__(path, ids)

    def _fill_derived(self) -> None:
        """Compute missing index rows, or rows with missing columns."""
        if self.read_note("facts") == _INDEX_VERSION:
            return
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("DELETE FROM facts")
        for superseded in (0, 1):
            found = self._jobs("superseded=?", (superseded,), with_steps=False)
            self._db.executemany(
                accounting_index.INSERT, (accounting_index.row(job, bool(superseded)) for job in found)
            )
        self._db.execute("INSERT OR REPLACE INTO meta VALUES ('facts',?)", (_INDEX_VERSION,))
        self._db.execute("COMMIT")

    # --- writing

    def write(
        self,
        jobs: Iterable[Job],
        steps: Iterable[tuple[Job, Step]],
        superseded: Iterable[Job],
        counters: dict[str, int],
    ) -> None:
        """Commit jobs and steps in one transaction. ``superseded``: earlier runs of requeued jobs."""
        jobs, steps, superseded = list(jobs), list(steps), list(superseded)
        self._keep_file()
        try:
            covered = self._ids.reserve(counters.get("next_job_id", 0))
        except OSError as error:
            raise StoreError(f"{error.filename}: {error.strerror}") from error
        no_pages = self.pages.begin_edition(job.job_id for job in (*jobs, *superseded, *(job for job, _ in steps)))
        self.commits += 1
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(*no_pages)
            self._db.executemany(
                "UPDATE meta SET value=? WHERE name=?",
                [(str(value), name) for name, value in counters.items()],
            )
            if covered:
                self._db.execute("INSERT OR REPLACE INTO meta VALUES ('id_bound',?)", (str(self._ids.bound),))
            for old, rows in ((1, superseded), (0, jobs)):
                if not rows:
                    continue
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
                        compact(step_to_dict(step)),
                    )
                    for job, step in steps
                ],
            )
            series = [
                (job.job_id, job.restarts, step.step_id, compact(step.usage.series))
                for job, step in steps
                if step.usage.series
            ]
            if series:
                self._db.executemany("INSERT OR REPLACE INTO series VALUES (?,?,?,?)", series)
            self._db.execute("COMMIT")
        except (sqlite3.Error, *UNREADABLE) as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._spec_ids.clear()  # the specs that this transaction stored are not in the database
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
            for (spec_id, _), data in self.damage.decoded("specs", rows, lambda row: row[:1]):
                try:
                    found[spec_id] = JobSpec.from_dict(data)
                except UNREADABLE as error:
                    self.damage.move_to_damaged("specs", (spec_id,), error)
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
            # This order matters: otherwise SQLite starts with all steps of the table.
            found = self._db.execute(
                "SELECT s.job_id, s.restarts, s.step_id, s.record FROM jobs CROSS JOIN steps s USING (job_id, restarts)"
                f" WHERE {where}", values
            ).fetchall()  # fmt: skip
            for (job_id, restarts, step_id, _), record in self.damage.decoded("steps", found, lambda row: row[:3]):
                try:
                    step = step_from_dict(record)
                except UNREADABLE as error:
                    self.damage.move_to_damaged("steps", (job_id, restarts, step_id), error)
                else:
                    steps.setdefault((job_id, restarts), []).append(step)
        for (job_id, restarts, spec_id, cost, _), record in self.damage.decoded("jobs", rows, lambda row: row[:2]):
            try:
                job = job_from_dict(record, specs[spec_id])
                if job.job_id != job_id:
                    raise ValueError(f"the record of job {job.job_id}")
            except UNREADABLE as error:
                self.damage.move_to_damaged("jobs", (job_id, restarts), error)
                continue
            job.cost = cost
            for step in steps.get((job_id, restarts), ()):
                job.steps[step.step_id] = step
            yield job

    def current(self, finished_since: float) -> Iterator[Job]:
        """Jobs that have not ended, or ended since an epoch second."""
        yield from self._jobs("superseded=0 AND (state<? OR finish>=?)", (JobState.COMPLETED.value, finished_since))

    def history(
        self,
        since: float,
        until: float,
        job_ids: Iterable[int] | None = None,
        duplicates: bool = False,
        with_steps: bool = True,
    ) -> Iterator[Job]:
        """Yield jobs in a window, or with these ids.

        The window is [since, until]. The id of an array selects its elements.
        """
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
        """Resources that runs used in a period."""
        return accounting_index.uses(self._db.execute, start, end, now, where)

    def charges(self, start: float, end: float, now: float, where: accounting_index.Where) -> list[Charge]:
        """Cost of runs in a period."""
        return accounting_index.charges(self._db.execute, start, end, now, where)

    def column_values(self, column: str) -> set[str]:
        """All values of a text column of the index."""
        return {str(value) for (value,) in self._db.execute(f"SELECT DISTINCT {column} FROM facts")}

    def runs_on(self, page: int) -> list[Run]:
        """All runs of a cache page, in sacct's order."""
        return self.runs(0, float("inf"), duplicates=True, where=ids_of(page))

    def runs(
        self, since: float, until: float, duplicates: bool = False, where: accounting_index.Where = accounting_index.ANY
    ) -> list[Run]:
        """Runs in a window that meet all conditions, in sacct's order (``accounting_index.ORDER``)."""
        chosen = accounting_index.window(since, until, duplicates) & where
        rows = self._db.execute(
            f"SELECT job_id, restarts, finish, start FROM facts WHERE {chosen.text} ORDER BY {accounting_index.ORDER}",
            chosen.values,
        )
        return list(map(Run._make, rows))

    def jobs_of(self, runs: Sequence[Run], with_steps: bool = True) -> Iterator[Job]:
        """Records of these runs, at most some hundred per query."""
        marks = ",".join(["(?,?)"] * len(runs))
        ids = [run.job_id for run in runs]
        keys = (min(ids), max(ids), *[value for run in runs for value in run[:2]])
        # SQLite uses an index for the first condition; the second alone would scan the whole table.
        yield from self._jobs(f"job_id BETWEEN ? AND ? AND (job_id, restarts) IN (VALUES {marks})", keys, with_steps)

    def add_series(self, jobs: Iterable[Job]) -> None:
        """Add the usage series of these jobs' steps. ``history`` omits them."""
        for job in jobs:
            for step_id, text in self._db.execute(
                "SELECT step_id, series FROM series WHERE job_id=? AND restarts=?", (job.job_id, job.restarts)
            ):
                step = job.steps.get(step_id)
                if step is not None and not step.usage.series:
                    step.usage.series = json.loads(text)

    # --- managed jobs of SkyPilot and their costs

    def charged(self, since: float) -> Iterator[Job]:
        """Runs with a cost that have not ended, or ended since an epoch second."""
        yield from self._jobs("cost>0 AND (finish=0 OR finish>=?)", (since,))

    def charge(self, costs: Iterable[tuple[int, int, float]]) -> None:
        """Commit (job id, restarts, dollars) of runs. Raises StoreError. The runs may have left memory."""
        costs = list(costs)
        no_pages = self.pages.begin_edition(job_id for job_id, _, _ in costs)
        self.commits += 1
        rows = [(dollars, job_id, restarts) for job_id, restarts, dollars in costs]
        update = "UPDATE %s SET cost=? WHERE job_id=? AND restarts=?"
        self.commit(no_pages, (update % "jobs", rows), (update % "facts", rows))

    def managed(self, server: str) -> dict[int, Managed]:
        """Managed jobs of a server at the last read, by SkyPilot's id."""
        columns = "managed_job_id, job_id, name, status, over, clusters, cost, hourly, settled"
        rows = self._db.execute(f"SELECT {columns} FROM managed WHERE server=?", (server,))
        return {
            number: Managed(
                number, job_id, name, status, over, tuple(json.loads(names)), cost, hourly, bool(cost_final)
            )
            for number, job_id, name, status, over, names, cost, hourly, cost_final in rows
        }

    def put_managed(self, server: str, rows: Iterable[Managed]) -> None:
        """Commit the rows that were read. Raises StoreError."""
        self.commit(("INSERT OR REPLACE INTO managed VALUES (?,?,?,?,?,?,?,?,?,?)",
                    [(server, row.managed_job_id, row.job_id, row.name, row.status, row.over, json.dumps(row.clusters),
                      row.cost, row.hourly, int(row.cost_final)) for row in rows]))  # fmt: skip

    def managed_ids(self) -> set[int]:
        """Job ids of managed jobs of all servers."""
        return {row[0] for row in self._db.execute("SELECT job_id FROM managed WHERE job_id>0")}

    def needed_since(self, ids: Sequence[int], horizon: float) -> set[int]:
        """Return the jobs or arrays that had not ended at an epoch second."""
        marks = ",".join("?" * len(ids))
        rows = self._db.execute(
            f"SELECT job_id, array_id FROM jobs WHERE superseded=0 AND (job_id IN ({marks}) OR array_id IN ({marks}))"
            " AND (finish=0 OR finish>?)", (*ids, *ids, horizon)
        )  # fmt: skip
        return {job_id for row in rows for job_id in row}

    def count(self) -> int:
        """Number of job records, earlier runs included."""
        (number,) = self._db.execute("SELECT count(*) FROM jobs").fetchone()
        return int(number)
