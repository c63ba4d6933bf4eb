"""Engine of foreign cloud jobs, which can only cancel them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ..model.job import Job
from ..model.spec import JobSpec
from .base import EngineDefaults, EngineError
from .cloud import CloudAccount

#: the name of the engine of jobs that slurmsky did not launch
FOREIGN = "foreign"


class ForeignJobs(EngineDefaults):
    """Engine of foreign jobs: ``terminate`` cancels them.

    Implements engines.base.Engine. ``managed_id`` returns a job's id in the cloud. ``retry`` sends failed cancellations
    again.
    """

    name = FOREIGN
    places = False

    def __init__(self, managed_id: Callable[[int], int | None], account: CloudAccount | None) -> None:
        self._account = account
        self._managed_id = managed_id
        self._unsent: set[int] = set()

    async def terminate(self, job_id: int, state: str, signal: int, kill_wait_s: int) -> None:
        """Make SkyPilot cancel the job, in about a minute."""
        managed = self._managed_id(job_id)
        if managed is not None:
            self._unsent.add(managed)
            await self.retry()

    async def retry(self) -> None:
        """Send the failed cancellations again. Raises EngineError."""
        if self._account is None:
            raise EngineError("SkyPilot is not in use")
        ids = sorted(self._unsent)
        if not ids:
            return
        try:
            await self._account.cancel(ids)
        except EngineError as error:
            if error.may_succeed_later:
                raise
            self._unsent.difference_update(ids)  # SkyPilot refuses; the job's next status shows the reason
            raise
        self._unsent.difference_update(ids)

    async def start(self, launch: object) -> None:
        raise EngineError("not launched by slurmsky")

    async def signal(self, job_id: int, signal: int, target: str) -> None:
        raise EngineError("SkyPilot sends no signals to managed jobs")

    async def end_component(self, job_id: int, component: int, kill_wait_s: int) -> None:
        raise EngineError("SkyPilot sends no signals to managed jobs")

    async def suspend(self, job_id: int) -> None:
        raise EngineError("SkyPilot does not suspend managed jobs")

    async def resume(self, job_id: int) -> None:
        raise EngineError("SkyPilot does not suspend managed jobs")

    async def shrink(self, job_id: int, nodes: Sequence[str], failed: bool = False) -> None:
        raise EngineError("SkyPilot cannot release single nodes of a job")

    async def limit(self, job_id: int, end_time: float | None, step_id: str = "") -> None:
        raise EngineError("SkyPilot's managed jobs have no time limit")

    def packs(self, spec: JobSpec, partition: str) -> bool:
        """Return False: this engine starts no jobs."""
        return False

    def check(self, components: Sequence[tuple[JobSpec, str]]) -> None:
        """Accept all: no job is submitted to this engine."""

    def acks(self, node: str, acks: list[tuple[int, int, int]]) -> None:
        """Do nothing: there are no agents."""

    async def recover(self, jobs: Iterable[Job]) -> None:
        """Do nothing: the next read of the queue returns the states."""

    def agent_address(self, job_id: int) -> str | None:
        """Return None: there is no agent."""
        return None

    async def close(self) -> None:
        """Do nothing; jobs keep running."""


def site_partition(infra: str, choices: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Return the partition of a foreign job.

    The first of (partition, infras) with an infra that equals or contains the job's; else cloud and region; else "sky".
    """
    words = infra.lower().split("/") if infra else []
    for name, infras in choices:
        for wanted in infras:
            parts = wanted.lower().split("/")
            same = all(part in ("*", word) for part, word in zip(parts, words, strict=False))
            if words and same and len(parts) <= len(words):
                return name
    return "/".join(words[:2]) or "sky"
