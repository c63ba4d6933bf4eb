"""Simulated SkyPilot API server.

It has the endpoints that the engine uses, with the answers of SkyPilot 0.14.1.

Faults are switched on by a test: lost answers, an unreachable server, a truncated log.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any


@dataclass
class ManagedJob:
    """The server's record of a job."""

    job_id: int
    name: str
    task: dict[str, Any]
    events: list[dict[str, Any]] = field(default_factory=list)
    log: bytes = b""
    log_number: int = 0  # of the job on the cluster whose log it is
    cancelled: bool = False
    pool: str = ""
    rank: int = 0  # among those of one request
    num_jobs: int = 1
    record: dict[str, Any] = field(default_factory=dict)  # its fields in the queue besides name and status
    cluster: bool = False  # launched as a cluster: its one job has number 1 there
    up: bool = True  # the cluster has not been taken down

    @property
    def status(self) -> str:
        return self.events[-1]["new_status"] if self.events else "PENDING"

    def become(self, status: str, reason: str = "") -> None:
        now = datetime.now(timezone.utc).isoformat(timespec="microseconds")
        self.events.append({"spot_job_id": self.job_id, "new_status": status, "reason": reason, "timestamp": now})


Fault = Callable[[str], "tuple[int, str, bytes] | None"]
FINAL = ("SUCCEEDED", "FAILED", "CANCELLED", "FAILED_PRECHECKS", "FAILED_NO_RESOURCE", "FAILED_SETUP")


class SkyServer:
    """Serves on a free port of this machine inside a ``with`` block."""

    def __init__(self) -> None:
        self.jobs: list[ManagedJob] = []
        self.requests: list[str] = []
        self.results: dict[str, tuple[int, bytes]] = {}
        self.fault: Fault = lambda path: None  # an answer instead of the right one
        self.after: Fault = lambda path: None  # ... given after the request has had its effect
        self.cut_log_after: list[int] = []  # bytes after which each reading of a log ends
        self.launch_s = 0.0  # how long a launch takes
        self.underway: dict[str, dict[str, Any]] = {}  # launches that are not over: their request, and what it asks
        self.takes_in = 1 << 30  # jobs of one launch after which the server is stopped
        self.refuse = ""
        self.headers = ""  # further lines of each answer's head
        self.enabled = ["kubernetes"]
        self.report: list[dict[str, Any]] = []  # of costs, a row per cluster
        self.prices = ""  # the optimizer's text
        self.place: dict[str, str] = {}  # infra and instance type of clusters
        self.answers: dict[str, Any] = {}  # path -> result of read-only endpoints
        self._open: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}  # the connections, by the task that serves them

    async def __aenter__(self) -> SkyServer:
        await self.listen()
        return self

    async def listen(self, at: socket.socket | None = None) -> None:
        """Serve at a bound socket, else on any port."""
        where: dict[str, Any] = {"sock": at} if at else {"host": "127.0.0.1", "port": 0}
        self._server = await asyncio.start_server(self._accept, **where)
        self.port = self._server.sockets[0].getsockname()[1]

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        # A socket that outlives the server is reported by the garbage collector in a later test.
        serving = list(self._open)
        for task in serving:
            self._open[task].transport.abort()
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Register the connection before its task's first step, which a server that closes now would prevent."""
        if self._server.is_serving():
            self._open[asyncio.ensure_future(self._serve(reader, writer))] = writer
        else:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            _, target, _ = head.split("\r\n")[0].split(" ")
            length = next(
                (int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-length")),
                0,
            )
            raw = await reader.readexactly(length)
            body = json.loads(raw) if raw.startswith(b"{") else {}
            path = target.split("?")[0]
            self.requests.append(path)
            while path == "/api/get" and target.rpartition("=")[2] in self.underway:
                await asyncio.sleep(0.01)
            answer = self.fault(path)
            if answer is None and path in ("/jobs/logs", "/logs"):
                await self._log(writer, body)
                return
            if answer is None:
                answer = self._answer(path, target, body)
                answer = self.after(path) or answer
            status, kind, data = answer
            if status:
                extra = f"X-Skypilot-Request-ID: r{len(self.results)}\r\n" if path != "/api/get" else ""
                extra += self.headers
                writer.write(
                    f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n{extra}"
                    f"Content-Length: {len(data)}\r\n\r\n".encode()
                    + data
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client left, or the test has ended
        finally:
            del self._open[task]
            writer.close()

    def _answer(self, path: str, target: str, body: dict[str, Any]) -> tuple[int, str, bytes]:
        json_type = "application/json"
        if path == "/api/health":
            return (
                200,
                json_type,
                json.dumps({"status": "healthy", "api_version": "62", "version": "0.14.1"}).encode(),
            )
        if path == "/api/get":
            status, data = self.results[target.rpartition("=")[2]]
            return status, json_type, data
        if path == "/validate":
            if self.refuse:
                detail = {"type": "InvalidSkyPilotConfigError", "message": self.refuse}
                return 400, json_type, json.dumps({"detail": detail}).encode()
            return 200, json_type, b"null"
        value: Any = None
        if path == "/jobs/launch":
            if self.launch_s:
                asyncio.get_running_loop().call_later(self.launch_s, self._launched_late, body)
                self.underway[f"r{len(self.results) + 1}"] = body
            else:
                value = self._launch(body)
        elif path == "/api/status":
            rows = [
                {"request_id": number, "name": "sky.jobs.launch", "status": "RUNNING", "request_body": json.dumps(body)}
                for number, body in self.underway.items()
            ]
            return 200, json_type, json.dumps(rows).encode()
        elif path == "/enabled_clouds":
            value = self.enabled
        elif path == "/jobs/queue/v2":
            wanted = body.get("job_ids")
            records = [
                {"job_id": job.job_id, "task_id": 0, "job_name": job.name, "task_name": job.name,
                 "status": job.status, "failure_reason": job.events[-1]["reason"] if job.events else "", **job.record}
                for job in self.jobs
                if not job.cluster and (not wanted or job.job_id in wanted) and body.get("name_match", "") in job.name
                and not (body["skip_finished"] and job.status in FINAL)
            ]  # fmt: skip
            if body.get("sort_order") == "desc":
                records.reverse()
            if body.get("limit"):
                first = (body["page"] - 1) * body["limit"]
                records = records[first : first + body["limit"]]
            value = {"jobs": records}
        elif path == "/cost_report":
            value = [row for row in self.report if row["name"] in body["cluster_names"]]
        elif path == "/jobs/events":
            value = self.jobs[body["job_id"] - 1].events[::-1][: body["limit"]]
        elif path == "/launch":
            job = ManagedJob(len(self.jobs) + 1, body["cluster_name"], json.loads(body["task"]), cluster=True)
            job.become("PENDING")
            self.jobs.append(job)
            value = {"job_id": 1, "handle": "pickle"}
        elif path == "/status":
            clusters = [job for job in self.jobs if job.cluster and job.up and job.name in body["cluster_names"]]
            value = [{"name": job.name, "status": "UP", **self.place} for job in clusters]
        elif path == "/queue":
            jobs = [job for job in self.jobs if job.cluster and job.name == body["cluster_name"]]
            value = [
                {"job_id": 1, "job_name": job.task.get("name"), "username": "me", "status": f"JobStatus.{job.status}"}
                for job in jobs
                if not (body["skip_finished"] and job.status in FINAL)
            ]
        elif path == "/job_status":
            value = {"1": self._cluster(body).status}
        elif path == "/down":
            self._cluster(body).up = False
        elif path == "/cancel":
            self._cluster(body).become("CANCELLED")
        elif path == "/jobs/cancel":
            for job_id in body["job_ids"]:
                self.jobs[job_id - 1].cancelled = True
        elif path == "/api/stream":
            return 200, "text/plain", self.prices.encode()
        elif path in self.answers:
            value = self.answers[path]
        self.results[f"r{len(self.results) + 1}"] = (
            200,
            json.dumps({"return_value": json.dumps(value)}).encode(),
        )
        return 200, json_type, b"null"

    def _launch(self, body: dict[str, Any]) -> dict[str, Any]:
        """A managed job for each of ``num_jobs``, which share task and name: sky/jobs/server/core.py."""
        count = body.get("num_jobs") or 1
        ids = []
        for rank in range(min(count, self.takes_in)):
            job = ManagedJob(len(self.jobs) + 1, body["name"], json.loads(body["task"]), rank=rank, num_jobs=count)
            job.pool = body.get("pool") or ""
            job.become("PENDING")
            self.jobs.append(job)
            ids.append(job.job_id)
        if len(ids) < count:
            for job in self.jobs[-len(ids) :]:
                job.record["schedule_state"] = "INACTIVE"  # its scheduler was not notified
        return {"job_id": ids, "handle": "pickle"}

    def _launched_late(self, body: dict[str, Any]) -> None:
        number = next(number for number, known in self.underway.items() if known is body)
        self.results[number] = 200, json.dumps({"return_value": json.dumps(self._launch(body))}).encode()
        del self.underway[number]

    def _cluster(self, body: dict[str, Any]) -> ManagedJob:
        return next(job for job in reversed(self.jobs) if job.cluster and job.name == body["cluster_name"])

    async def _log(self, writer: asyncio.StreamWriter, body: dict[str, Any]) -> None:
        job = self._cluster(body) if "cluster_name" in body else self.jobs[body["job_id"] - 1]
        cut = self.cut_log_after.pop(0) if self.cut_log_after else None
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
        sent, number = 0, job.log_number
        while True:
            if len(job.log) < sent or number != job.log_number:
                sent, number = 0, job.log_number  # recovered: it continues with the log of the new nodes
            data = job.log[sent : sent + 1000]
            if cut is not None and sent + len(data) > cut:
                data = data[: cut - sent]
                writer.write(b"%x\r\n%s\r\n" % (len(data), data) if data else b"")
                await writer.drain()
                return  # the connection breaks
            if data:
                writer.write(b"%x\r\n%s\r\n" % (len(data), data))
                await writer.drain()
                sent += len(data)
            elif job.status in FINAL or not body["follow"]:
                writer.write(b"0\r\n\r\n")
                await writer.drain()
                return
            else:
                await asyncio.sleep(0.01)
