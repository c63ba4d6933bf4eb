"""Removes jobs' files from the state folder.

The environment is removed at the job's end, because it has secrets; the folder (script, keys, certificates, packed
submit folder) some days later. None of these is needed once the job cannot run again. A finished job may be requeued
while it is in memory, so memory keeps its environment until then. sacct reads the database.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from ...engines.base import background
from ...model.job import Job
from ..jobs.job_spool import write_file
from ..jobs.job_table import JobTable
from ..jobs.launch_builder import spool_id
from ..store.database import Store

log = logging.getLogger("slurmsky.controller")

#: seconds in which ends are collected, because an array's elements and a requeued run end shortly after one another
_GATHER_S = 0.5
#: bytes of environments kept in memory, at most
_MEMORY = 32 << 20
#: seconds between two searches for old folders: the default, and if folders are not kept
_PAUSE_S, _SHORT_PAUSE_S = 3600.0, 1.0
#: folders per database query
_TOGETHER = 200
_ENVIRONMENT = "environment"


class JobFiles:
    """Folders of jobs below ``folder``. ``keep_days``: days for which the folders of finished jobs are kept."""

    def __init__(
        self, job_table: JobTable, store: Store, folder: Path, keep_days: int, clock: Callable[[], float]
    ) -> None:
        self._job_table = job_table
        self._store = store
        self._folder = folder
        self._keep_s = keep_days * 86400.0
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._ended: dict[int, None] = {}
        self._environments: dict[int, bytes] = {}
        self._size = 0
        self._due = self._loop.time() + (60.0 if keep_days else 0.0)
        self._cleaning: asyncio.Task[None] | None = None

    def on_job_event(self, event: str, job: Job) -> None:
        """Queue an ended job for removal (LifeCycle.listeners)."""
        if event == "ended":
            if not self._ended:
                self._loop.call_later(_GATHER_S, self._remove_environments)
            self._ended[spool_id(job)] = None

    # --- environments

    def _runs_again(self, spool: int) -> bool:
        """True if a job with this folder has not ended."""
        first = self._job_table.jobs.get(spool)
        if first is not None and not first.state.finished:
            return True
        members = self._job_table.members.get(spool) or (first.het_ids if first is not None else ())
        return any(
            job_id in self._job_table.jobs and not self._job_table.jobs[job_id].state.finished for job_id in members
        )

    def _remove_environments(self) -> None:
        ended, self._ended = self._ended, {}
        for spool in ended:
            if self._runs_again(spool):
                continue
            path = self._folder / str(spool) / _ENVIRONMENT
            try:
                data = path.read_bytes()
                path.unlink()
            except OSError:
                continue  # the job had none, or it is already removed
            if spool in self._job_table.jobs and self._size + len(data) <= _MEMORY:
                self._environments[spool] = data
                self._size += len(data)

    def restore(self, job: Job) -> bool:
        """Restore a finished job's environment; return False if the files were removed."""
        spool = spool_id(job)
        data = self._environments.pop(spool, None)
        if data is not None:
            self._size -= len(data)
            try:
                write_file(self._folder / str(spool) / _ENVIRONMENT, data, 0o600)
            except OSError as error:
                log.error("job %d: %s", job.job_id, error)
                return False
        return (self._folder / str(spool) / _ENVIRONMENT).exists()

    # --- folders

    def clean_soon(self) -> None:
        """Discard unneeded environments; remove old folders at intervals."""
        for spool in [spool for spool in self._environments if spool not in self._job_table.jobs]:
            self._size -= len(self._environments.pop(spool))
        if self._loop.time() >= self._due and (self._cleaning is None or self._cleaning.done()):
            self._due = self._loop.time() + (_PAUSE_S if self._keep_s else _SHORT_PAUSE_S)
            self._cleaning = background(self._clean())

    async def _clean(self) -> None:
        horizon = self._clock() - self._keep_s
        try:
            found = await asyncio.to_thread(self._unchanged_since, horizon)
        except OSError as error:
            log.error("%s: %s", self._folder, error.strerror)
            return
        for start in range(0, len(found), _TOGETHER):
            some = found[start : start + _TOGETHER]
            kept = self._store.needed_since(some, horizon)
            for number in some:
                if number not in kept and number not in self._job_table.jobs:
                    await asyncio.to_thread(shutil.rmtree, self._folder / str(number), ignore_errors=True)

    def _unchanged_since(self, horizon: float) -> list[int]:
        """Folders that may belong to ended jobs. The folder of an active job changes when a job arrives or ends."""
        with os.scandir(self._folder) as entries:
            return [int(one.name) for one in entries if one.name.isdecimal() and one.stat().st_mtime <= horizon]

    def close(self) -> None:
        """Stop the removal."""
        if self._cleaning is not None:
            self._cleaning.cancel()
