"""Sessions with the first nodes of runs, by the run's folder."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from ....protocol.messages import JobRequest
from ....site.record import SkyConfig
from ..job_log.job_watch import JobWatch
from . import reachability
from .head_session import HeadNodeSession


class HeadSessions:
    """Opens at most one session for each run. ``folder``: the engine's; ``controller``: our controller's socket."""

    def __init__(self, folder: Path, controller: Path, sky: SkyConfig) -> None:
        self._folder = folder
        self._controller = controller
        self._sky = sky
        self._sessions: dict[Path, HeadNodeSession] = {}

    def session_of(self, folder: Path) -> HeadNodeSession | None:
        """Return the session of a run's folder, or None."""
        return self._sessions.get(folder)

    def of(self, watch: JobWatch) -> HeadNodeSession:
        """Return the session with the first node of a job's run."""
        session = self._sessions.get(watch.folder)
        if session is None:
            on_attempt = functools.partial(reachability.record_result, self._folder, watch.record.kind)
            sky = self._sky
            name = watch.record.name
            session = HeadNodeSession(watch.folder, name, self._controller, sky.reach, on_attempt, sky.credentials)
            self._sessions[watch.folder] = session
        return session

    def open(self, watch: JobWatch, on_open: Callable[[], None]) -> None:
        """Connect both ways, once the node's address is known. ``on_open`` is called when the node is reachable."""
        if watch.record.control:
            self.of(watch).open(watch.record.control, _cluster(watch), on_open)

    async def send(self, watch: JobWatch, request: JobRequest) -> None:
        """Send a request to the node. Raises HeadUnreachable."""
        await self.of(watch).send(watch.record.control, _cluster(watch), request)

    def leave(self, watch: JobWatch) -> None:
        """Close the session of a run, if one exists."""
        session = self._sessions.pop(watch.folder, None)
        if session is not None:
            session.close()


def _cluster(watch: JobWatch) -> str:
    """SkyPilot's name of an allocation's cluster; "": a managed job."""
    return watch.record.name if watch.record.cluster else ""
