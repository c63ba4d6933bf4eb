"""Managed jobs in SkyPilot's queue: ours and foreign ones.

Reading the queue is expensive (it starts a process on the jobs controller), so reads are rare and cover all jobs at
once: the newest jobs, and by id those older jobs that had not ended yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ....translate.sky_task import status as sky_status
from ...cloud import ManagedJobInfo
from ..api.api_client import Client
from ..api.queue_rows import ROW_FIELDS, QueueRow
from .prices import cluster_name

#: statuses of unfinished tasks; the first one in this list is the job's status
_BY_ACTIVITY = ("RUNNING", "WINDING_DOWN", "STARTING", "RECOVERING", "CANCELLING", "SUBMITTED", "PENDING")
PAGE = 200  # records per read
HISTORY = 1000  # records of the first read, and so the history of foreign jobs in sacct


def managed_job_infos(records: Iterable[QueueRow]) -> list[ManagedJobInfo]:
    """Return managed jobs from the queue's records, by id. The queue has one record per task."""
    by_id: dict[int, list[QueueRow]] = {}
    for record in records:
        if record.job_id:
            by_id.setdefault(record.job_id, []).append(record)
    return [_info(job_id, by_id[job_id]) for job_id in sorted(by_id)]


def _info(job_id: int, records: list[QueueRow]) -> ManagedJobInfo:
    records = sorted(records, key=lambda record: record.task_id)
    decisive = _decisive(records)
    over = all(record.ended for record in records)
    running = records if records[0].execution == "parallel" else [decisive]  # of a job group all clusters run at once
    sizes = [_size(record) for record in running]
    tasks = [record.task_name or record.job_name for record in records]
    return ManagedJobInfo(
        managed_job_id=job_id,
        name=records[0].job_name or decisive.task_name or "-",
        status=decisive.status,
        seen=sky_status.map_status(decisive.status, decisive.details, decisive.schedule_state, decisive.failure_reason),
        over=over,
        user=decisive.user_name,
        workspace=decisive.workspace,
        submit_time=_first(record.submitted_at for record in records),
        start_time=_first(record.start_at for record in records),
        end_time=max(record.end_at for record in records) if over else 0.0,
        infra=_infra(decisive),
        nodes=sum(nodes for nodes, _ in sizes),
        cpus=max(cpus for _, cpus in sizes),
        gpus=_gpus(decisive),
        node_names=tuple(name for record in running for name in _names(record.node_names)),
        recoveries=sum(record.recovery_count for record in records),
        details=decisive.details,
        clusters=() if decisive.pool else tuple(dict.fromkeys(cluster_name(task, job_id) for task in tasks if task)),
        pool=decisive.pool,
    )


def _decisive(records: list[QueueRow]) -> QueueRow:
    """Return the task whose status is the job's. The most active task, or of an ended job the first that failed."""
    alive = [record for record in records if not record.ended]
    if alive:
        order = {word: place for place, word in enumerate(_BY_ACTIVITY)}
        return min(alive, key=lambda record: order.get(record.status, len(order)))
    return next((record for record in records if record.status != "SUCCEEDED"), records[-1])


def _first(times: Iterable[float]) -> float:
    return min(filter(None, times), default=0.0)


def _infra(record: QueueRow) -> str:
    parts = (record.cloud.lower(), record.region, record.zone)
    return "/".join(parts[: next((place for place, part in enumerate(parts) if not part), 3)])


_COUNT = re.compile(r"^\s*(\d+)x")
_CPUS = re.compile(r"\bCPU:(\d+(?:\.\d+)?)|\bcpus=(\d+(?:\.\d+)?)", re.IGNORECASE)


def _size(record: QueueRow) -> tuple[int, int]:
    """Return the number of nodes and their CPUs, from ``2x[CPU:1+]``."""
    text = record.cluster_resources or record.resources
    count, cpus = _COUNT.match(text), _CPUS.search(text)
    number = float(cpus[1] or cpus[2]) if cpus else 1.0
    return int(count[1]) if count else 1, max(1, int(number))


def _gpus(record: QueueRow) -> str:
    """Return a node's accelerators in Slurm's spelling: ``h100:8``.

    Once the cluster has ended, only the text contains them.
    """
    if record.accelerators:
        devices = record.accelerators.items()
        return ",".join(f"{str(name).lower()}:{max(1, int(float(count)))}" for name, count in devices)
    inside = re.search(r"\[([^\]]*)\]", record.cluster_resources or record.resources)
    pairs = re.findall(r"([A-Za-z][\w-]*):(\d+)(?![\d.]*\+?:)", inside[1]) if inside else []
    plain = ("CPU", "CPUS", "MEM", "MEMORY", "DISK")
    return ",".join(f"{name.lower()}:{count}" for name, count in pairs if name.upper() not in plain)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip() not in ("", "-")]


async def read(client: Client, open_ids: Iterable[int], newest: int) -> list[ManagedJobInfo]:
    """Read this user's newest managed jobs, and those in ``open_ids``.

    ``newest``: the newest id of the previous read, where this read ends; 0: first read. Raises SkyError.
    """
    wanted, found, page = set(open_ids), [], 1
    limit = PAGE if newest else HISTORY
    while True:
        records = await client.queue(fields=ROW_FIELDS, sort_by="job_id", sort_order="desc", page=page, limit=limit)
        found += records
        lowest = min((record.job_id for record in records if record.job_id), default=0)
        # The last job's other tasks may be on the next page: the lowest id of a full page is incomplete.
        if len(records) < limit or lowest <= newest or not newest:
            break
        page += 1
    complete = len(found) < limit
    if not complete and not newest:
        found += await client.queue(fields=ROW_FIELDS, skip_finished=True)
    missing = wanted - {record.job_id for record in found}
    if missing:
        found += await client.queue(sorted(missing), fields=ROW_FIELDS)
    unique = {(record.job_id, record.task_id): record for record in found}
    return managed_job_infos(unique.values())
