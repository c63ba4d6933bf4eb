"""The user's scrontab: its text, and one job for each entry.

A job of an entry keeps its id: when it ends, it is requeued for the entry's next time after its end (slurmctld does the
same), so runs never overlap. Cancelling the job ends the series and disables the entry. Source:
src/slurmctld/crontab.c, job_mgr.c (CRON_JOB).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ...language import cronspec
from ...model.job import Job
from ...model.states import JobState
from ..jobs.job_table import JobTable
from ..jobs.lifecycle import LifeCycle
from ..store.database import Store

log = logging.getLogger("slurmsky.controller")

_NOTE = "crontab"


@dataclass(frozen=True)
class CrontabEntry:
    """An entry's job, and its lines in the table. Lines count from 1; the first line has the entry's options."""

    job_id: int
    first_line: int
    last_line: int


class Crontab:
    """The scrontab table of this user."""

    def __init__(self, store: Store, job_table: JobTable, life: LifeCycle, clock: Callable[[], float]) -> None:
        self._store = store
        self._job_table = job_table
        self._life = life
        self._clock = clock
        self.text: str | None
        self.entries: tuple[CrontabEntry, ...]
        self.disabled: frozenset[int]  # lines of entries whose job was cancelled
        kept = store.damage.parse_note(
            _NOTE,
            lambda kept: (
                kept["text"],
                tuple(CrontabEntry(*row) for row in kept["entries"]),
                frozenset(kept["disabled"]),
            ),
        )
        self.text, self.entries, self.disabled = kept or (None, (), frozenset())
        life.listeners.append(self._on_job_event)

    def printed_table(self) -> str | None:
        """Return the table as scrontab -l prints it, or None."""
        if self.text is None:
            return None
        lines = self.text.splitlines()
        return "".join(("#DISABLED: " if number in self.disabled else "") + line + "\n"
                       for number, line in enumerate(lines, 1))  # fmt: skip

    def replace(self, text: str, entries: Sequence[CrontabEntry]) -> None:
        """Replace the table, and cancel the waiting jobs of the old one. Raises StoreError."""
        old = self.entries
        self.text, self.entries, self.disabled = text, tuple(entries), frozenset()
        self._keep()
        self._end(old)

    def remove(self) -> None:
        """Delete the table. Raises StoreError. Running jobs end and are not requeued, waiting jobs are cancelled."""
        old, self.text, self.entries, self.disabled = self.entries, None, (), frozenset()
        self._keep()
        self._end(old)

    def next_start(self, job: Job) -> int | None:
        """Epoch second of an entry's next time in the controller's time zone, or None."""
        due = cronspec.parse(f"{job.cron} x").after(datetime.fromtimestamp(self._clock()))
        return None if due is None else int(due.timestamp())

    def _end(self, entries: Sequence[CrontabEntry]) -> None:
        for entry in entries:
            job = self._job_table.jobs.get(entry.job_id)
            if job is None:
                continue
            job.cron = ""
            self._job_table.touch(job)
            if job.state is JobState.PENDING:
                self._life.cancel(job, job.uid)

    def _on_job_event(self, event: str, job: Job) -> None:
        if event != "ended" or not job.cron:
            return
        entry = next((entry for entry in self.entries if entry.job_id == job.job_id), None)
        if entry is None:
            return
        if job.state is JobState.CANCELLED:
            self.disabled |= frozenset(range(entry.first_line, entry.last_line + 1))
            self._keep()
            return
        start = self.next_start(job)
        if start is not None:
            self._life.requeue_at(job, start)

    def _keep(self) -> None:
        rows = [(entry.job_id, entry.first_line, entry.last_line) for entry in self.entries]
        data = {"text": self.text, "entries": rows, "disabled": sorted(self.disabled)}
        self._store.put_note(_NOTE, json.dumps(data) if self.text is not None else "")
