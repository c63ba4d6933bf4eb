"""Backends that provide a job's nodes: managed job and cluster.

A batch job is a managed job: SkyPilot recovers it automatically and takes its nodes down at its end. An allocation that
a user holds (salloc, srun outside a job) is a cluster with one job on it, our agents. SkyPilot gives the user ssh to a
cluster and does not restart it on other nodes unnoticed; slurmsky takes the cluster down when the allocation is
released. Sources: sky/jobs/server/server.py, sky/server/server.py and sky/core.py of SkyPilot 0.14.1.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, Protocol

from ..api.api_client import Client
from ..api.api_errors import Interrupted, Rejected, SkyError
from ..job_log.job_watch import Record
from .batching import Batcher

log = logging.getLogger("slurmsky.sky")

LAUNCH_S = 30 * 86400.0  # timeout of a launch: an infra may be full for an arbitrary time
IDLE_MINUTES = 5  # minutes after its job's end at which SkyPilot takes a cluster down, if slurmsky does not
#: status of the job on a cluster -> the equivalent managed job status
_ON_CLUSTER = {
    "SUCCEEDED": "SUCCEEDED",
    "CANCELLED": "CANCELLED",
    "FAILED": "FAILED",
    "FAILED_DRIVER": "FAILED",
    "FAILED_SETUP": "FAILED_SETUP",
}
_NO_SUCH = ("does not exist", "not found")


class LaunchBackend(Protocol):
    """Interface of a backend, which provides a job's nodes."""

    async def find(self, record: Record) -> int:
        """Return the id of an earlier attempt's job, or 0. Raises SkyError."""

    async def launch(self, record: Record, folder: Path, save: Callable[[], None]) -> int:
        """Launch the task in the run's folder; return its id.

        Not idempotent: call ``find`` before a retry. ``save`` stores the record.
        """

    async def cancel(self, record: Record) -> None:
        """Cancel the job and all its processes. Raises SkyError."""

    async def release(self, record: Record) -> None:
        """Release the remaining resources of an ended job. Raises SkyError."""

    def releases_nodes_later(self, record: Record) -> bool:
        """True if SkyPilot takes the nodes down after ``release``."""

    def logs(self, record: Record, follow: bool) -> AsyncGenerator[bytes, None]:
        """Stream the job's log. Raises SkyError if the stream breaks."""

    async def status(self, record: Record, closely: bool) -> tuple[str, str]:
        """Return (status of managed jobs, SkyPilot's text); "": no change.

        ``closely``: request the detailed status, because no log follower reports changes of this job.
        """


class ManagedJobBackend:
    """Backend of batch jobs."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.cancelled: Batcher[int] = Batcher(client.cancel)  # each request starts a process on the server

    async def find(self, record: Record) -> int:
        return next(iter(await self.client.launched(record.name)), 0)

    async def launch(self, record: Record, folder: Path, save: Callable[[], None]) -> int:
        return next(iter(await self.ask(record, folder)), 0)

    async def ask(self, record: Record, folder: Path, num_jobs: int | None = None) -> list[int]:
        """Launch the task in the folder; return job ids. Raises SkyError."""
        if record.blob_id:
            await self.client.upload(record.blob_id, folder / "ship.zip")
        yaml = await asyncio.to_thread((folder / "task.yaml").read_text)
        return await self.client.launch(
            yaml, record.name, num_jobs=num_jobs, pool=record.pool, blob_id=record.blob_id,
            project=Path(record.submit_dir),
        )  # fmt: skip

    async def cancel(self, record: Record) -> None:
        if record.managed_job_id:
            await self.cancelled.add(record.managed_job_id)

    async def release(self, record: Record) -> None:
        """Do nothing: SkyPilot takes the nodes down."""

    def releases_nodes_later(self, record: Record) -> bool:
        return bool(record.managed_job_id)

    def logs(self, record: Record, follow: bool) -> AsyncGenerator[bytes, None]:
        return self.client.logs(record.managed_job_id, follow=follow)

    async def status(self, record: Record, closely: bool) -> tuple[str, str]:
        """Return the status; RECOVERING for an ended run that restarted.

        Even if SkyPilot has completed the recovery since the last query.
        """
        events = await self.client.events(record.managed_job_id, limit=1 if record.open else 10)
        if not events:
            return "", ""
        newest = events[0]
        if record.open:
            record.status_time = newest.timestamp
        elif newest.new_status == "RUNNING":
            late = (event for event in events if event.timestamp > record.status_time)
            newest = next((event for event in late if event.new_status == "RECOVERING"), newest)
        return newest.new_status, newest.reason


class Clusters:
    """Backend of allocations. The record names the cluster; the id of its one job replaces a managed job's id."""

    def __init__(self, client: Client) -> None:
        self.client = client

    @staticmethod
    def fields(fields: dict[str, Any]) -> dict[str, Any]:
        """Return a task's fields for a cluster, with autodown when idle."""
        autostop = {"idle_minutes": IDLE_MINUTES, "down": True}
        return {**fields, "resources": {**fields.get("resources", {}), "autostop": autostop}}

    async def find(self, record: Record) -> int:
        if record.request_id:
            try:
                return await self._launched(record)
            except Interrupted:
                record.request_id = ""
            except Rejected as error:
                if not error.kind.startswith("HTTP 404"):
                    raise
                record.request_id = ""  # servers discard old requests
        if await self._cluster(record) != "UP":
            return 0  # or the launch is incomplete: another launch completes it
        jobs = await self.client.call("/queue", {"cluster_name": record.name, "skip_finished": False})
        return max((int(job["job_id"]) for job in jobs or () if job.get("job_id")), default=0)

    async def launch(self, record: Record, folder: Path, save: Callable[[], None]) -> int:
        yaml = await asyncio.to_thread((folder / "task.yaml").read_text)
        body = {"task": yaml, "cluster_name": record.name, "retry_until_up": True, "quiet_optimizer": True}
        body |= self.client.overrides(Path(record.submit_dir))
        if record.blob_id:
            await self.client.upload(record.blob_id, folder / "ship.zip")
            body["file_mounts_blob_id"] = record.blob_id
        record.request_id = await self.client.post("/launch", body)
        save()
        return await self._launched(record)

    async def _launched(self, record: Record) -> int:
        value = await self.client.result(record.request_id, LAUNCH_S)
        job_id = value.get("job_id") if isinstance(value, dict) else None
        if not isinstance(job_id, int):
            raise Interrupted(f"the launch of cluster {record.name} was cancelled")
        return job_id

    async def cancel(self, record: Record) -> None:
        if record.request_id and not record.managed_job_id:
            try:
                await self.client.call("/api/cancel", {"request_ids": [record.request_id]})
            except SkyError as error:
                log.info("cluster %s: its launch could not be cancelled: %s", record.name, error)
        await self.release(record)

    async def release(self, record: Record) -> None:
        if record.phase == "new":
            return  # the job was never requested
        try:
            await self.client.call("/down", {"cluster_name": record.name})
        except Rejected as error:
            if "DoesNotExist" not in error.kind and not any(word in str(error) for word in _NO_SUCH):
                raise

    def releases_nodes_later(self, record: Record) -> bool:
        return False

    def logs(self, record: Record, follow: bool) -> AsyncGenerator[bytes, None]:
        return self.client.cluster_logs(record.name, record.managed_job_id, follow=follow)

    async def status(self, record: Record, closely: bool) -> tuple[str, str]:
        if not await self._cluster(record):
            return "GONE", f"SkyPilot cluster {record.name} is gone"
        if not closely:
            return "RUNNING", ""
        body = {"cluster_name": record.name, "job_ids": [record.managed_job_id]}
        value = await self.client.call("/job_status", body)
        word = str(next(iter((value or {}).values()), None) or "") if isinstance(value, dict) else ""
        return _ON_CLUSTER.get(word.rpartition(".")[2], "RUNNING"), ""

    async def _cluster(self, record: Record) -> str:
        """Return the server's state of a cluster: UP or INIT, or "" without nodes."""
        found = await self.client.call(
            "/status",
            {
                "cluster_names": [record.name],
                "include_credentials": False,
                "include_handle": False,
                "summary_response": True,
            },
        )
        words = (str(row.get("status")) for row in found or () if isinstance(row, dict))
        return next((word for word in words if word in ("UP", "INIT")), "")
