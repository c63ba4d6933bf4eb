"""Managed jobs as SkyPilot's queue lists them: ours, and foreign jobs that were launched without sbatch.

Reading the queue is expensive (it starts a process on the jobs controller), so reads are rare and cover all jobs at
once: the newest jobs, and by id those older jobs that had not ended yet. Source: sky/jobs/state.py, ManagedJobRecord in
sky/schemas/api/responses.py of SkyPilot 0.14.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ...translate import status as sky_status
from ..cloud import Sighting
from .api_client import Client
from .prices import cluster_name

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


def sightings(records: Iterable[Mapping[str, Any]]) -> list[Sighting]:
    """Managed jobs from the queue's records, which are one per task; ordered by id."""
    by_id: dict[int, list[Mapping[str, Any]]] = {}
    for record in records:
        if isinstance(record.get("job_id"), int):
            by_id.setdefault(record["job_id"], []).append(record)
    return [_sighting(job_id, by_id[job_id]) for job_id in sorted(by_id)]


def _sighting(job_id: int, records: list[Mapping[str, Any]]) -> Sighting:
    records = sorted(records, key=lambda record: record.get("task_id") or 0)
    decisive = _decisive(records)
    status, failure = _word(decisive, "status"), str(decisive.get("failure_reason") or "")
    details = str(decisive.get("details") or "")
    over = all(_word(record, "status") in TERMINAL for record in records)
    together = _word(records[0], "execution") == "parallel"  # a job group: all its clusters run at once
    sizes = [_size(record) for record in (records if together else [decisive])]
    tasks = [str(record.get("task_name") or record.get("job_name") or "") for record in records]
    pool = str(decisive.get("pool") or "")
    return Sighting(
        managed_job_id=job_id,
        name=str(records[0].get("job_name") or decisive.get("task_name") or "-"),
        status=status,
        seen=sky_status.seen(status, details, _word(decisive, "schedule_state"), failure),
        over=over,
        user=str(decisive.get("user_name") or ""),
        workspace=str(decisive.get("workspace") or ""),
        submit_time=min(_times(records, "submitted_at"), default=0.0),
        start_time=min(_times(records, "start_at"), default=0.0),
        end_time=max(_times(records, "end_at"), default=0.0) if over else 0.0,
        infra=_infra(decisive),
        nodes=sum(nodes for nodes, _ in sizes),
        cpus=max(cpus for _, cpus in sizes),
        gpus=_gpus(decisive),
        node_names=tuple(
            name for record in (records if together else [decisive]) for name in _names(record.get("node_names"))
        ),
        recoveries=sum(int(record.get("recovery_count") or 0) for record in records),
        details=details,
        clusters=() if pool else tuple(dict.fromkeys(cluster_name(task, job_id) for task in tasks if task)),
        pool=pool,
    )


def _decisive(records: list[Mapping[str, Any]]) -> Mapping[str, Any]:
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
