"""Watches ended runs until SkyPilot has taken their nodes down.

SkyPilot may lose contact with a cluster after our agents reported the job's end, enter RECOVERING, and start the script
again on new nodes. Two mechanisms prevent this: this watch cancels such a recovery, and a list of ended jobs in the
shipment (``shipment.note_end``), which a relaunch reads, keeps the script from starting again. One pointer file per run
in ``folder`` is kept for the next controller, which resumes the watch.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from .. import intervals
from ..job_log.job_watch import JobWatch
from .state_poller import TERMINAL, StatusAnswer

log = logging.getLogger("slurmsky.sky")

#: statuses in which SkyPilot is about to run the job (again)
_BEGINNING = frozenset(("PENDING", "SUBMITTED", "STARTING", "RECOVERING"))


class EndedRuns:
    """Runs that have ended in slurmsky but not yet at SkyPilot. ``cancel``: cancels a run's managed job."""

    def __init__(self, folder: Path, cancel: Callable[[JobWatch], Awaitable[None]]) -> None:
        self._folder = folder
        self._cancel = cancel
        self._watches: dict[Path, JobWatch] = {}
        self._cancelled: dict[Path, float] = {}  # monotonic time of the last cancellation

    def __iter__(self) -> Iterator[JobWatch]:
        return iter(list(self._watches.values()))

    def __bool__(self) -> bool:
        return bool(self._watches)

    def add(self, watch: JobWatch) -> None:
        """Watch a run that has ended in slurmsky."""
        self._watches[watch.folder] = watch
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._pointer(watch).write_text(str(watch.folder))

    def stored_runs(self) -> list[Path]:
        """Folders of runs that only an earlier controller watched."""
        if not self._folder.is_dir():
            return []
        found = []
        for pointer in self._folder.iterdir():
            folder = Path(pointer.read_text())
            if not (folder / "record.json").exists():
                pointer.unlink()  # the job's folder was removed
            elif folder not in self._watches:
                found.append(folder)
        return found

    async def status_changed(self, watch: JobWatch, answer: StatusAnswer) -> None:
        """Process an ended run's status; cancel a new start. Raises EngineError if SkyPilot refuses to cancel."""
        if answer.status in TERMINAL:
            if answer.status == "FAILED_CONTROLLER":
                log.warning("job %d has ended, but SkyPilot may have left its nodes: %s (see sky status)",
                            watch.record.job_id, answer.status_text)  # fmt: skip
            return
        again = answer.status in _BEGINNING
        last = self._cancelled.get(watch.folder)
        if (again or last is not None) and (last is None or time.monotonic() - last > intervals.CANCEL_AGAIN_S):
            self._cancelled[watch.folder] = time.monotonic()
            if watch.record.started:
                log.warning("job %d has ended, but SkyPilot runs managed job %d again (%s): it is cancelled",
                            watch.record.job_id, watch.record.managed_job_id, answer.status)  # fmt: skip
            await self._cancel(watch)

    def nodes_released(self, watch: JobWatch) -> None:
        """Stop watching a run whose nodes SkyPilot has released."""
        self._watches.pop(watch.folder, None)
        self._cancelled.pop(watch.folder, None)
        watch.record.phase = "over"
        watch.save()
        self._pointer(watch).unlink(missing_ok=True)

    def _pointer(self, watch: JobWatch) -> Path:
        return self._folder / f"{watch.folder.parent.name}-{watch.folder.name}"
