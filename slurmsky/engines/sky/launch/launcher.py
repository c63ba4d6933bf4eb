"""Launches, cancels and releases jobs, with retries."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable

from ...base import EngineError
from .. import intervals
from ..api.api_errors import Rejected, SkyError
from ..job_log.job_watch import JobWatch, Record
from .launch_backends import LaunchBackend

log = logging.getLogger("slurmsky.sky")


class NotLaunched(EngineError):
    """SkyPilot will never launch the job. ``reason``: a job reason of Slurm."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text)
        self.reason = reason


class Launcher:
    """Launches, cancels and releases jobs. ``backend``: returns the backend of a job."""

    def __init__(self, backend: Callable[[Record], LaunchBackend]) -> None:
        self._backend = backend

    async def launch(self, watch: JobWatch, say: Callable[[str, SkyError | None], None]) -> bool:
        """Launch the job exactly once, despite failures.

        ``say`` receives the progress, and the error that delays SkyPilot. Return False if the job is no longer wanted.
        Raises NotLaunched.
        """
        record, backend = watch.record, self._backend(watch.record)
        requested_before = record.phase == "launching"
        for attempt in itertools.count():
            if record.phase == "over" or (record.must_end and not requested_before):
                break
            try:
                found = await backend.find(record) if requested_before else 0
                if not found:
                    if record.must_end:
                        break
                    record.phase, requested_before = "launching", True
                    watch.save()
                    if attempt == 0:
                        say(_first_words(watch), None)
                    found = await backend.launch(record, watch.folder, watch.save)
                if found:
                    record.managed_job_id, record.phase = found, "launched"
                    watch.save()
                    return True
            except SkyError as error:
                if not error.may_succeed_later:
                    kind = error.kind if isinstance(error, Rejected) else ""
                    fits = "Resource" not in kind and "NoCloud" not in kind
                    raise NotLaunched(str(error), "JobLaunchFailure" if fits else "BadConstraints") from error
                say(f"waiting for SkyPilot: {error}", error)
            await asyncio.sleep(intervals.retry_s(attempt))
        if requested_before or record.batch_folder:
            await self.release(watch)
        record.phase = "over"
        watch.save()
        return False

    async def cancel(self, watch: JobWatch) -> None:
        """Cancel the job and all its processes. Raises SkyError if SkyPilot refuses."""
        await self._retry(watch, self._backend(watch.record).cancel)

    async def release(self, watch: JobWatch) -> None:
        """Release the nodes of an ended run; retries until the server answers. Raises SkyError."""
        backend = self._backend(watch.record)
        await self._retry(watch, backend.release)
        watch.record.phase = "ending" if backend.releases_nodes_later(watch.record) else "over"
        watch.record.ended_at = time.time()
        watch.save()

    async def _retry(self, watch: JobWatch, what: Callable[[Record], Awaitable[None]]) -> None:
        """Retry a request until the server answers. The nodes cost money until then."""
        for attempt in itertools.count():
            try:
                await what(watch.record)
                return
            except SkyError as error:
                if not error.may_succeed_later:
                    raise
                log.info("job %d: %s", watch.record.job_id, error)
            await asyncio.sleep(intervals.retry_s(attempt))


def _first_words(watch: JobWatch) -> str:
    """Return the first progress text of a launch. A shipment for a remote server is uploaded first."""
    shipment = watch.folder / "ship.zip"
    if watch.record.blob_id and shipment.exists():
        return f"uploading {shipment.stat().st_size / 1e6:.1f} MB, then launching on SkyPilot"
    return "launching on SkyPilot"
