"""Jobs that one request launches: ``num_jobs`` of SkyPilot, a managed job for each of many array elements.

Source: sky/jobs/server/core.py and sky/jobs/controller.py of SkyPilot 0.14.1. All have one task and one name. They get
ids of their own, and in the order of these ids the ranks 0, 1, ... (SKYPILOT_JOB_RANK), also in their later runs. With
a pool they run on its workers, without one on nodes of their own. Each is watched, followed and cancelled as any other.

What is known of such a request lies in the folder that its jobs share, as ``together.json``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from . import intervals
from .api_client import Client, Rejected, SkyError
from .job_watch import Record
from .launch_backends import ManagedJobs

log = logging.getLogger("slurmsky.sky")


@dataclass
class LaunchRequest:
    """What is known of a request for many jobs; must survive us."""

    runs: list[str]  # folders of the jobs' runs, by rank
    name: str = ""  # the jobs' at SkyPilot
    asked: bool = False  # it may have reached SkyPilot
    attempt: int = 0
    ids: list[int] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Write it into the folder that the jobs share."""
        partial = folder / "together.part"
        partial.write_text(json.dumps(asdict(self)))
        os.replace(partial, folder / "together.json")

    @classmethod
    def read(cls, folder: Path) -> LaunchRequest:
        """What write() wrote."""
        return cls(**json.loads((folder / "together.json").read_text()))

    def unwanted(self) -> list[int]:
        """Ids of jobs that were given up before they had one."""
        return [number for number, run in zip(self.ids, self.runs, strict=True) if _given_up(Path(run))]


def _given_up(run: Path) -> bool:
    try:
        record = json.loads((run / "record.json").read_text())
    except (OSError, ValueError):
        return False
    return not record["managed_job_id"] and all(member["cancel"] for member in record["members"].values())


class BatchLaunch(ManagedJobs):
    """Carries jobs that share a request: the first that comes asks for all of them."""

    def __init__(self, client: Client, lone: ManagedJobs) -> None:
        super().__init__(client)
        self.cancelled = lone.cancelled  # one request for both kinds
        self._locks: dict[str, asyncio.Lock] = {}
        self._failed: dict[str, tuple[float, SkyError]] = {}  # when, and how, the last attempt did

    def _lock(self, record: Record) -> asyncio.Lock:
        return self._locks.setdefault(record.together, asyncio.Lock())

    async def find(self, record: Record) -> int:
        async with self._lock(record):
            return self._own(record, await self._look(Path(record.together)))

    async def launch(self, record: Record, folder: Path, save: Callable[[], None]) -> int:
        async with self._lock(record):
            self._not_at_once(record)
            shared = Path(record.together)
            try:
                request = await self._look(shared)
                if not request.ids:
                    await self._ask(record, shared, request)
            except SkyError as error:
                self._failed[record.together] = time.monotonic(), error
                raise
            return self._own(record, request)

    def _not_at_once(self, record: Record) -> None:
        """What failed a moment ago for one of them fails for the others without another request."""
        when, error = self._failed.get(record.together, (0.0, None))
        if error is not None and (not error.passing or time.monotonic() - when < intervals.retry_s(0)):
            raise error

    async def _ask(self, record: Record, shared: Path, request: LaunchRequest) -> None:
        request.asked = True
        request.write(shared)
        record.name = request.name
        found = await self.ask(record, shared, len(request.runs))
        if len(found) != len(request.runs):
            await self.client.cancel(found)
            text = f"SkyPilot launched {len(found)} of {len(request.runs)} jobs that were asked for together"
            raise Rejected("NumJobs", f'{text}: arrays = "packed" in the site file needs no such request')
        await self._have(shared, request, found)

    async def _look(self, shared: Path) -> LaunchRequest:
        """The request, with the ids of its jobs if they are there."""
        request = LaunchRequest.read(shared)
        if request.ids or not request.asked:
            return request
        found = await self.client.launched(request.name)
        if len(found) == len(request.runs):
            await self._have(shared, request, found)
        elif found:
            # The server was stopped while it took them in: what there is of them never starts.
            await self.client.cancel(found)
            request.attempt += 1
            request.name = f"{request.name.partition('_')[0]}_{request.attempt}"
            request.asked = False
            request.write(shared)
        return request

    async def _have(self, shared: Path, request: LaunchRequest, found: list[int]) -> None:
        request.ids = sorted(found)
        unwanted = request.unwanted()
        request.write(shared)
        if unwanted:
            await self.client.cancel(unwanted)

    @staticmethod
    def _own(record: Record, request: LaunchRequest) -> int:
        record.name = request.name
        return request.ids[record.rank] if request.ids else 0

    async def release(self, record: Record) -> None:
        """One that was given up before it had an id may have got one with the others."""
        if not record.managed_job_id:
            async with self._lock(record):
                number = self._own(record, LaunchRequest.read(Path(record.together)))
            if number:
                await self.client.cancel([number])
