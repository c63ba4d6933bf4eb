"""Polls SkyPilot for job states, and reports each change once. The intervals are in ``intervals``."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from ....translate.sky_task import status as sky_status
from ...base import background, cancel_all
from .. import intervals
from ..api import queue_rows
from ..api.api_client import Client
from ..api.api_errors import SkyError
from ..api.queue_rows import STATUS_FIELDS, QueueRow
from ..job_log.job_watch import JobWatch, Record
from ..launch.launch_backends import LaunchBackend

log = logging.getLogger("slurmsky.sky")

TERMINAL = queue_rows.TERMINAL | {"GONE"}
_AT_SKYPILOT = ("launched", "ending")  # phases in which SkyPilot has the run


class StatusAnswer(NamedTuple):
    """SkyPilot's status of a job."""

    status: str  # "": no change
    failure: str = ""
    details: str = ""
    schedule: str = ""  # the managed jobs controller's own state of the job

    @property
    def status_text(self) -> str:
        """Return SkyPilot's text, for users."""
        return self.details or self.failure

    @property
    def mapped_status(self) -> sky_status.MappedStatus:
        """Return the status as Slurm's state and reason."""
        details = self.status_text if self.status == "STARTING" else self.details
        return sky_status.map_status(self.status, details, self.schedule, self.failure)


class StatePoller:
    """Keeps the statuses in the records of ``watches`` up to date.

    ``on_news(watch, answer, status_changed)`` receives each changed answer about a run that has not ended in slurmsky;
    ``status_changed``: the status differs, too. ``on_late(watch, answer)`` receives each answer about a run that has
    ended in slurmsky, ``on_gone(watch)`` is called when SkyPilot has taken its nodes down. ``on_silence(watch,
    error)``: SkyPilot does not answer.
    """

    def __init__(
        self,
        client: Client,
        queue_poll_s: float,
        watches: Callable[[], Iterable[JobWatch]],
        backend: Callable[[Record], LaunchBackend],
        on_news: Callable[[JobWatch, StatusAnswer, bool], None],
        on_silence: Callable[[JobWatch, SkyError], None],
        on_late: Callable[[JobWatch, StatusAnswer], None],
        on_gone: Callable[[JobWatch], None],
    ) -> None:
        self._client = client
        self._queue_poll_s = queue_poll_s
        self._watches = watches
        self._backend = backend
        self._on_news = on_news
        self._on_silence = on_silence
        self._on_late = on_late
        self._on_gone = on_gone
        self._poller: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Start polling, until no job needs it."""
        if self._poller is None or self._poller.done():
            self._poller = background(self._poll())

    async def close(self) -> None:
        """Stop polling."""
        if self._poller is not None:
            await cancel_all([self._poller])

    def final_status(self, record: Record) -> sky_status.MappedStatus:
        """Return the final state of a job that SkyPilot reports as ended."""
        return sky_status.map_status(record.status, failure=record.failure)

    async def query_job(self, watch: JobWatch) -> None:
        """Query one job; log the error of an unavailable server."""
        try:
            await self._query_one(watch)
        except SkyError as error:
            log.info("job %d: %s", watch.record.job_id, error)

    def _active(self) -> list[JobWatch]:
        return [
            watch
            for watch in dict.fromkeys(self._watches())  # a watch of several jobs once
            if watch.record.phase == "ending"
            or (watch.record.phase == "launched" and watch.record.status not in TERMINAL)
        ]

    async def _poll(self) -> None:
        last_queue = 0.0
        while active := self._active():
            await asyncio.sleep(intervals.PACE_S)
            now = time.monotonic()
            try:
                managed = [watch for watch in active if not watch.record.cluster]
                ending = [watch for watch in managed if watch.record.status in TERMINAL]
                many = len(managed) - len(ending) >= intervals.MANY
                if many or ending:
                    if now - last_queue >= (self._queue_poll_s if many else intervals.GONE_POLL_S):
                        last_queue = now
                        await self._query_all(managed if many else ending)
                    requested = managed if many else ending
                    active = [watch for watch in active if watch not in requested]
                due = [watch for watch in active if now - watch.last_poll >= _gap_s(watch)]
                if due:
                    await self._query_one(min(due, key=lambda watch: watch.last_poll))
            except SkyError as error:
                for watch in active:
                    self._on_silence(watch, error)
                await asyncio.sleep(10)

    async def _query_one(self, watch: JobWatch) -> None:
        watch.last_poll = time.monotonic()
        record = watch.record
        requested = record.managed_job_id
        if record.phase not in _AT_SKYPILOT:
            return
        found = await self._backend(record).status(record, not watch.following)
        if record.phase in _AT_SKYPILOT and record.managed_job_id == requested:
            self._take(watch, StatusAnswer(*found))

    async def _query_all(self, active: Sequence[JobWatch]) -> None:
        records = await self._client.queue([watch.record.managed_job_id for watch in active], fields=STATUS_FIELDS)
        by_id = {record.job_id: record for record in records}
        for watch in active:
            found = by_id.get(watch.record.managed_job_id)
            if found and watch.record.phase in _AT_SKYPILOT:
                answer = StatusAnswer(found.status, found.failure_reason, found.details, found.schedule_state)
                self._take(watch, answer)
            if watch.record.phase == "ending" and _is_finished(watch.record, found):
                self._on_gone(watch)

    def _take(self, watch: JobWatch, answer: StatusAnswer) -> None:
        """Store an answer. The first terminal status is final: SkyPilot may show FAILED_CONTROLLER after a success."""
        record = watch.record
        if not answer.status or record.status in TERMINAL:
            return
        same = (answer.status, answer.status_text) == (record.status, record.status_text)
        if same and record.open:
            return
        status_changed = answer.status != record.status
        record.status, record.status_text = answer.status, answer.status_text
        if status_changed:
            watch.status_since = time.monotonic()
        if answer.status in TERMINAL:
            record.failure = answer.failure
            if watch.reading is not None:
                asyncio.get_running_loop().call_later(intervals.LOG_END_S, watch.reading.cancel)
        if not same:
            watch.save()
        if record.open:
            self._on_news(watch, answer, status_changed)
        else:
            self._on_late(watch, answer)


def _is_finished(record: Record, found: QueueRow | None) -> bool:
    """True if SkyPilot has finished an ended run or no longer lists it."""
    if found is None or time.time() - record.ended_at > intervals.ENDED_MOST_S:
        return True
    return record.status in TERMINAL and found.schedule_state in ("", "DONE")


def _gap_s(watch: JobWatch) -> float:
    """Seconds between two queries of a job's state."""
    if watch.record.phase == "ending" and time.time() - watch.record.ended_at < intervals.ENDING_SOON_S:
        return intervals.POLL_S
    if not watch.record.open:
        return intervals.RUNNING_POLL_S
    if watch.record.cluster or (watch.record.started and watch.following):
        return intervals.RUNNING_POLL_S
    return intervals.POLL_S
