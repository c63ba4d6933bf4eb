"""Managed jobs as SkyPilot's queue lists them: ours, and foreign jobs that were launched without sbatch.

Reading the queue is expensive (it starts a process on the jobs controller), so reads are rare and cover all jobs at
once: the newest jobs, and by id those older jobs that had not ended yet. Source: sky/jobs/state.py, ManagedJobRecord in
sky/schemas/api/responses.py of SkyPilot 0.14.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...model.job import Job
from ...model.spec import JobSpec
from ...translate import status as sky_status
from ..base import EngineError
from .api_client import Client, SkyError

NAME = "foreign"  # the engine of jobs that slurmsky did not launch: it can only cancel them

FIELDS = [
    "job_id", "task_id", "job_name", "task_name", "status", "schedule_state", "details", "failure_reason",
    "recovery_count", "submitted_at", "start_at", "end_at", "resources", "cluster_resources", "cloud", "region",
    "zone", "node_names", "accelerators", "user_name", "workspace", "execution", "priority", "pool",
]  # fmt: skip
TERMINAL = frozenset(
    ("SUCCEEDED", "CANCELLED", "FAILED", "FAILED_SETUP", "FAILED_PRECHECKS", "FAILED_NO_RESOURCE", "FAILED_CONTROLLER")
)
#: of the statuses of a job's unfinished tasks, the first in this list is the job's status
_LIVELY = ("RUNNING", "WINDING_DOWN", "STARTING", "RECOVERING", "CANCELLING", "SUBMITTED", "PENDING")
PAGE = 200  # records per read
HISTORY = 1000  # records of the first read: how far back sacct lists foreign jobs


@dataclass(frozen=True)
class Sighting:
    """One managed job at the time of a read, its tasks combined. Times are epoch seconds, 0.0 unknown."""

    managed_job_id: int
    name: str
    status: str  # SkyPilot's status
    seen: sky_status.Seen
    over: bool = False
    user: str = ""
    workspace: str = ""
    submit_time: float = 0.0
    start_time: float = 0.0
    end_time: float = 0.0
    infra: str = ""  # "slurm/oracle/debug"
    nodes: int = 1
    cpus: int = 1  # per node
    gpus: str = ""  # "h100:8", per node
    node_names: tuple[str, ...] = ()
    recoveries: int = 0
    details: str = ""
    tasks: tuple[str, ...] = ()  # the tasks' names: clusters are named after them
    pool: str = ""


def sightings(records: Iterable[Mapping[str, Any]]) -> list[Sighting]:
    """Managed jobs from the queue's records, which are one per task; ordered by id."""
    by_id: dict[int, list[Mapping[str, Any]]] = {}
    for record in records:
        if isinstance(record.get("job_id"), int):
            by_id.setdefault(record["job_id"], []).append(record)
    return [_sighting(job_id, by_id[job_id]) for job_id in sorted(by_id)]


def _sighting(job_id: int, records: list[Mapping[str, Any]]) -> Sighting:
    records = sorted(records, key=lambda record: record.get("task_id") or 0)
    said = _telling(records)
    status, failure = _word(said, "status"), str(said.get("failure_reason") or "")
    details = str(said.get("details") or "")
    over = all(_word(record, "status") in TERMINAL for record in records)
    together = _word(records[0], "execution") == "parallel"  # a job group: all its clusters run at once
    sizes = [_size(record) for record in (records if together else [said])]
    return Sighting(
        managed_job_id=job_id,
        name=str(records[0].get("job_name") or said.get("task_name") or "-"),
        status=status,
        seen=sky_status.seen(status, details, _word(said, "schedule_state"), failure),
        over=over,
        user=str(said.get("user_name") or ""),
        workspace=str(said.get("workspace") or ""),
        submit_time=min(_times(records, "submitted_at"), default=0.0),
        start_time=min(_times(records, "start_at"), default=0.0),
        end_time=max(_times(records, "end_at"), default=0.0) if over else 0.0,
        infra=_infra(said),
        nodes=sum(nodes for nodes, _ in sizes),
        cpus=max(cpus for _, cpus in sizes),
        gpus=_gpus(said),
        node_names=tuple(
            name for record in (records if together else [said]) for name in _names(record.get("node_names"))
        ),
        recoveries=sum(int(record.get("recovery_count") or 0) for record in records),
        details=details,
        tasks=tuple(str(record.get("task_name") or record.get("job_name") or "") for record in records),
        pool=str(said.get("pool") or ""),
    )


def _telling(records: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The task whose status is the job's: the most active task, or of an ended job the first that failed."""
    alive = [record for record in records if _word(record, "status") not in TERMINAL]
    if alive:
        order = {word: place for place, word in enumerate(_LIVELY)}
        return min(alive, key=lambda record: order.get(_word(record, "status"), len(order)))
    return next((record for record in records if _word(record, "status") != "SUCCEEDED"), records[-1])


def _word(record: Mapping[str, Any], key: str) -> str:
    """A string field; "-" and null are empty. Older servers write "ManagedJobStatus.RUNNING"."""
    value = str(record.get(key) or "")
    return "" if value == "-" else value.rpartition(".")[2]


def _times(records: Iterable[Mapping[str, Any]], key: str) -> list[float]:
    return [float(record[key]) for record in records if isinstance(record.get(key), (int, float)) and record[key] > 0]


def _infra(record: Mapping[str, Any]) -> str:
    parts = [str(record.get(key) or "-") for key in ("cloud", "region", "zone")]
    parts = [parts[0].lower(), *parts[1:]]
    return "/".join(parts[: next((place for place, part in enumerate(parts) if part == "-"), 3)])


_COUNT = re.compile(r"^\s*(\d+)x")
_CPUS = re.compile(r"\bCPU:(\d+(?:\.\d+)?)|\bcpus=(\d+(?:\.\d+)?)", re.IGNORECASE)


def _size(record: Mapping[str, Any]) -> tuple[int, int]:
    """Number of nodes, and CPUs of each, from ``2x[CPU:1+]``."""
    text = _text(record, "cluster_resources") or _text(record, "resources")
    count, cpus = _COUNT.match(text), _CPUS.search(text)
    number = float(cpus[1] or cpus[2]) if cpus else 1.0
    return int(count[1]) if count else 1, max(1, int(number))


def _text(record: Mapping[str, Any], key: str) -> str:
    value = str(record.get(key) or "")
    return "" if value == "-" else value


def _gpus(record: Mapping[str, Any]) -> str:
    """A node's accelerators in Slurm's spelling: ``h100:8``. Once the cluster has ended only the text contains them."""
    devices = record.get("accelerators")
    if isinstance(devices, Mapping) and devices:
        return ",".join(f"{str(name).lower()}:{max(1, int(float(count)))}" for name, count in devices.items())
    inside = re.search(r"\[([^\]]*)\]", _text(record, "cluster_resources") or _text(record, "resources"))
    pairs = re.findall(r"([A-Za-z][\w-]*):(\d+)(?![\d.]*\+?:)", inside[1]) if inside else []
    plain = ("CPU", "CPUS", "MEM", "MEMORY", "DISK")
    return ",".join(f"{name.lower()}:{count}" for name, count in pairs if name.upper() not in plain)


def _names(text: Any) -> list[str]:
    return [name.strip() for name in str(text or "").split(",") if name.strip() not in ("", "-")]


async def read(client: Client, open_ids: Iterable[int], newest: int) -> list[Sighting]:
    """Read this user's newest managed jobs, and those in ``open_ids``.

    ``newest``: the newest id of the previous read, where this read ends; 0: first read. Raises SkyError.
    """
    wanted, found, page = set(open_ids), [], 1
    limit = PAGE if newest else HISTORY
    while True:
        records = await client.queue(fields=FIELDS, sort_by="job_id", sort_order="desc", page=page, limit=limit)
        found += records
        lowest = min((record["job_id"] for record in records if record.get("job_id")), default=0)
        # The last job's other tasks may be on the next page: the lowest id of a full page is incomplete.
        if len(records) < limit or lowest <= newest or not newest:
            break
        page += 1
    complete = len(found) < limit
    if not complete and not newest:
        found += await client.queue(fields=FIELDS, skip_finished=True)
    missing = wanted - {record.get("job_id") for record in found}
    if missing:
        found += await client.queue(sorted(missing), fields=FIELDS)
    unique = {(record.get("job_id"), record.get("task_id")): record for record in found}
    return sightings(unique.values())


class ForeignJobs:
    """Implements engines.base.Engine for foreign jobs: ``terminate`` cancels them at SkyPilot.

    ``managed_id`` returns a job's id at SkyPilot. ``retry`` sends again a cancellation that could not be sent.
    """

    name = NAME
    places = False

    def __init__(self, managed_id: Callable[[int], int | None]) -> None:
        self.client: Client | None = None
        self._managed_id = managed_id
        self._unsent: set[int] = set()

    async def terminate(self, job_id: int, state: str, signal: int, kill_wait_s: int) -> None:
        """Make SkyPilot cancel the job; this takes about a minute."""
        managed = self._managed_id(job_id)
        if managed is not None:
            self._unsent.add(managed)
            await self.retry()

    async def retry(self) -> None:
        """Send the cancellations that could not be sent before. Raises EngineError."""
        if self.client is None:
            raise EngineError("SkyPilot is not in use")
        ids = sorted(self._unsent)
        if not ids:
            return
        try:
            await self.client.cancel(ids)
        except SkyError as error:
            if error.passing:
                raise
            self._unsent.difference_update(ids)  # SkyPilot refuses; the job's next status shows the reason
            raise
        self._unsent.difference_update(ids)

    async def start(self, launch: object) -> None:
        raise EngineError("not launched by slurmsky")

    async def signal(self, job_id: int, signal: int, target: str) -> None:
        raise EngineError("SkyPilot sends no signals to managed jobs")

    async def suspend(self, job_id: int) -> None:
        raise EngineError("SkyPilot does not suspend managed jobs")

    async def resume(self, job_id: int) -> None:
        raise EngineError("SkyPilot does not suspend managed jobs")

    async def limit(self, job_id: int, end_time: float | None, step_id: str = "") -> None:
        raise EngineError("SkyPilot's managed jobs have no time limit")

    def packs(self, spec: JobSpec, partition: str) -> bool:
        """False: this engine starts no jobs."""
        return False

    def check(self, components: Sequence[tuple[JobSpec, str]]) -> None:
        """Accept all: no jobs are submitted to this engine."""

    def acks(self, node: str, acks: list[tuple[int, int, int]]) -> None:
        """Ignore: there are no agents."""

    async def recover(self, jobs: Iterable[Job]) -> None:
        """Do nothing: the next read of the queue returns the jobs' states."""

    def agent_address(self, job_id: int) -> str | None:
        """None: there is no agent."""
        return None

    def out_of_reach(self, job_id: int) -> str:
        """"" always: these jobs receive no messages."""
        return ""

    async def problem(self) -> str:
        return ""

    async def describe(self) -> list[tuple[bool, str]]:
        return []

    def lingers(self) -> bool:
        """False: SkyPilot manages its jobs without this engine."""
        return False

    def ready_in(self, nodes: Iterable[str]) -> float:
        """0.0: nodes are created with their jobs, so no job waits for a node that is off."""
        return 0.0

    async def close(self) -> None:
        """Do nothing; jobs keep running."""


def site_partition(infra: str, choices: Sequence[tuple[str, Sequence[str]]]) -> str:
    """The partition that lists a foreign job.

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
