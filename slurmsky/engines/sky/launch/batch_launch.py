"""Launches many jobs with one request: SkyPilot's ``num_jobs``.

All jobs share one task and one name. SkyPilot gives each job an id, and ranks 0, 1, ... (SKYPILOT_JOB_RANK) in the
order of the ids; the rank stays the same in later runs. With a pool the jobs run on its workers, without a pool on
separate nodes. Each job is watched, followed and cancelled as any other. The state of such a request is stored as
``batch_folder.json`` in the folder that its jobs share.

Source: sky/jobs/server/core.py and sky/jobs/controller.py of SkyPilot 0.14.1.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ....model import plain
from .. import intervals
from ..api.api_client import Client
from ..api.api_errors import Rejected, SkyError
from ..job_log.job_watch import Record
from .launch_backends import ManagedJobBackend

log = logging.getLogger("slurmsky.sky")


@dataclass
class LaunchRequest:
    """State of a request for many jobs, kept over a restart."""

    runs: list[str]  # folders of the jobs' runs, by rank
    name: str = ""  # the jobs' name at SkyPilot
    requested: bool = False  # the request may have reached SkyPilot
    attempt: int = 0
    ids: list[int] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Write the state into the jobs' shared folder."""
        partial = folder / "together.part"
        partial.write_text(json.dumps(plain.write(self)))
        os.replace(partial, folder / "together.json")

    @classmethod
    def read(cls, folder: Path) -> LaunchRequest:
        """Read the state that ``write`` stored."""
        return plain.read(cls, json.loads((folder / "together.json").read_text()))

    def cancelled_ids(self) -> list[int]:
        """Ids of jobs that were cancelled before their ids were known."""
        return [number for number, run in zip(self.ids, self.runs, strict=True) if _is_unwanted(Path(run))]


def _is_unwanted(run: Path) -> bool:
    try:
        record = json.loads((run / "record.json").read_text())
    except (OSError, ValueError):
        return False
    return not record["managed_job_id"] and all(member["cancel"] for member in record["members"].values())


class BatchLaunch(ManagedJobBackend):
    """Launches jobs that share a request. The first job sends the request for all of them."""

    def __init__(self, client: Client, lone: ManagedJobBackend) -> None:
        super().__init__(client)
        self.cancelled = lone.cancelled  # one batch of cancellations for both backends
        self._locks: dict[str, asyncio.Lock] = {}
        self._failed: dict[str, tuple[float, SkyError]] = {}  # time and error of the last failed attempt

    def _lock(self, record: Record) -> asyncio.Lock:
        return self._locks.setdefault(record.batch_folder, asyncio.Lock())

    async def find(self, record: Record) -> int:
        async with self._lock(record):
            return self._own(record, await self._read_request(Path(record.batch_folder)))

    async def launch(self, record: Record, folder: Path, save: Callable[[], None]) -> int:
        async with self._lock(record):
            self._raise_recent_error(record)
            shared = Path(record.batch_folder)
            try:
                request = await self._read_request(shared)
                if not request.ids:
                    await self._ask(record, shared, request)
            except SkyError as error:
                self._failed[record.batch_folder] = time.monotonic(), error
                raise
            return self._own(record, request)

    def _raise_recent_error(self, record: Record) -> None:
        """Raise the error of a recent attempt for the same request. Otherwise each job would send the request again."""
        when, error = self._failed.get(record.batch_folder, (0.0, None))
        if error is not None and (not error.may_succeed_later or time.monotonic() - when < intervals.retry_s(0)):
            raise error

    async def _ask(self, record: Record, shared: Path, request: LaunchRequest) -> None:
        request.requested = True
        request.write(shared)
        record.name = request.name
        found = await self.ask(record, shared, len(request.runs))
        if len(found) != len(request.runs):
            await self.client.cancel(found)
            text = f"SkyPilot launched {len(found)} of {len(request.runs)} requested jobs"
            raise Rejected("NumJobs", f'{text}: arrays = "packed" in the site file needs no such request')
        await self._store_ids(shared, request, found)

    async def _read_request(self, shared: Path) -> LaunchRequest:
        """Return the request's state, with job ids if launched."""
        request = LaunchRequest.read(shared)
        if request.ids or not request.requested:
            return request
        found = await self.client.launched(request.name)
        if len(found) == len(request.runs):
            await self._store_ids(shared, request, found)
        elif found:
            # The server stopped while it registered the jobs: those that exist would not start.
            await self.client.cancel(found)
            request.attempt += 1
            request.name = f"{request.name.partition('_')[0]}_{request.attempt}"
            request.requested = False
            request.write(shared)
        return request

    async def _store_ids(self, shared: Path, request: LaunchRequest, found: list[int]) -> None:
        request.ids = sorted(found)
        unwanted = request.cancelled_ids()
        request.write(shared)
        if unwanted:
            await self.client.cancel(unwanted)

    @staticmethod
    def _own(record: Record, request: LaunchRequest) -> int:
        record.name = request.name
        return request.ids[record.rank] if request.ids else 0

    async def release(self, record: Record) -> None:
        """Cancel an ended job whose id was unknown at its end."""
        if not record.managed_job_id:
            async with self._lock(record):
                number = self._own(record, LaunchRequest.read(Path(record.batch_folder)))
            if number:
                await self.client.cancel([number])
