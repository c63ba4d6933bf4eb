"""Follows the logs of jobs, with a limit on concurrent reads."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import aclosing

from ...base import spawn
from .. import intervals
from ..api.api_errors import SkyError
from ..job_log.job_watch import JobWatch, Record
from ..launch.launch_backends import LaunchBackend
from .state_poller import TERMINAL, StatePoller

log = logging.getLogger("slurmsky.sky")

_NO_NODES = ("STARTING", "RECOVERING")  # statuses of a job that waits for nodes


class Followers:
    """Tasks that follow logs. ``backend``: returns the backend that provides a job's log."""

    def __init__(self, backend: Callable[[Record], LaunchBackend], states: StatePoller) -> None:
        self._backend = backend
        self._states = states
        self._seats = asyncio.Semaphore(intervals.FOLLOWERS)
        self._waiting = 0

    async def follow(self, watch: JobWatch) -> bool:
        """Follow the job's log, with reconnects, until it is complete.

        Return False if SkyPilot reports the job's end, but the log does not contain it.
        """
        record, attempt = watch.record, 0
        while not watch.done and (record.open or record.started):
            if record.status in TERMINAL:
                return False
            if record.status in ("", "PENDING", "SUBMITTED") and not record.started:
                await asyncio.sleep(intervals.PACE_S)  # there is no log before the nodes exist
                continue
            began = time.monotonic()
            self._waiting += 1
            async with self._seats:
                self._waiting -= 1
                watch.reading = spawn(self._read(watch))
                try:
                    await asyncio.wait([watch.reading])
                finally:
                    watch.reading.cancel()
                if not watch.reading.cancelled():
                    watch.reading.result()
            if not watch.done:
                attempt = 0 if time.monotonic() - began > 60 else attempt + 1
                await self._states.query_job(watch)
                await asyncio.sleep(intervals.retry_s(attempt))
        return True

    async def _read(self, watch: JobWatch) -> None:
        """Read the log until it ends, breaks or is silent.

        Also until another job's turn begins. SkyPilot's server sends keep-alive bytes on a stream that it no longer
        feeds, as after its restart. A silent log is therefore read again; the interval doubles after each read without
        new data. A job without nodes has an empty log, which is not read, because each read costs the server a process.
        """
        watch.decoder.reconnect()
        watch.following = True
        began = time.monotonic()
        try:
            async with aclosing(self._backend(watch.record).logs(watch.record, follow=True)) as chunks:
                async for chunk in chunks:
                    watch.feed(chunk)
                    silent = min(intervals.SILENT_S * 2**watch.silent_reads, intervals.SILENT_MOST_S)
                    since = max(began, watch.last_news, watch.status_since)
                    if not watch.done and watch.record.status not in _NO_NODES and time.monotonic() - since > silent:
                        watch.silent_reads = min(watch.silent_reads + 1, 10)
                        log.info("job %d: log: no news for %.0f s, reading it again", watch.record.job_id, silent)
                        break
                    if watch.done or (self._waiting and time.monotonic() - began > intervals.HOLD_S):
                        break
        except SkyError as error:
            log.info("job %d: log: %s", watch.record.job_id, error)
        finally:
            watch.following = False
        watch.finish()

    async def fetch(self, watch: JobWatch) -> bool:
        """Read the stored log of an ended job. Return True if the log contains the job's end."""
        record = watch.record
        # SkyPilot fetches the log of an ended job after it has reported the end.
        kept = record.status in ("SUCCEEDED", "FAILED") or (record.started and record.status != "GONE")
        for pause in intervals.LOG_FETCH_S if kept else (0,):
            await asyncio.sleep(pause)
            try:
                watch.decoder.reconnect()
                async with aclosing(self._backend(record).logs(record, follow=False)) as chunks:
                    async for chunk in chunks:
                        watch.feed(chunk)
                watch.finish()
            except SkyError as error:
                log.info("job %d: log: %s", record.job_id, error)
            if watch.done or not record.open:
                return True
        return False
