"""HTTP client of SkyPilot's API server.

Source: sky/server/server.py, sky/jobs/server/server.py and sky/server/requests/payloads.py of SkyPilot 0.14.1
(API version 62). Every call is POSTed and answered with a request id; GET /api/get waits for its result.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from .api_access import Access, cookies
from .api_errors import BadConfig, Busy, Interrupted, LoginExpired, Rejected, SkyError, Unreachable, WrongVersion
from .http_transport import HttpAnswer, Transport, TransportError
from .queue_rows import QueueRow, StatusChange, queue_row, status_change
from .user_config import ConfigError, UserConfig

API_VERSION = 62  # the version this client was written for
OLDEST_API_VERSION = 24  # the oldest version that current servers accept (sky/server/constants.py)


@dataclass
class Client:
    """Asynchronous client of the API server. ``requests`` counts the requests sent."""

    access: Access
    requests: int = 0
    #: called if no server listens at the endpoint; returns the action that was started, or ""
    on_unreachable: Callable[[], str] = lambda: ""
    config: UserConfig | None = None
    #: creates the user's id if ``access`` has none
    create_user_id: Callable[[], str] = lambda: ""
    #: epoch second of the server's last answer, and the problem since then
    answered_at: float = 0.0
    problem: SkyError | None = None
    _health: dict[str, Any] = field(default_factory=dict)
    _transport: Transport = field(default_factory=Transport)

    @property
    def user_id(self) -> str:
        """Return the user's id at a server without accounts, 8 hex digits."""
        if not self.access.user_id:
            self.access = replace(self.access, user_id=self.create_user_id())
        return self.access.user_id

    async def probe(self, patience: float, fresh_s: float = 30.0) -> SkyError | None:
        """Return the problem that prevents requests, or None.

        As known now or learned within ``patience`` seconds.
        """
        if self.problem is not None or time.time() - self.answered_at > fresh_s:
            try:
                await asyncio.wait_for(self.health(fresh=True), patience)
            except SkyError as error:
                self.problem = error
            except asyncio.TimeoutError:
                self.problem = Unreachable(f"no answer from {self.access.endpoint} within {patience:g} s")
        return self.problem

    async def close(self) -> None:
        """Close the connections to the server."""
        await self._transport.close()

    # -- calls

    async def health(self, fresh: bool = False) -> dict[str, Any]:
        """Return the server's description of itself. Raises WrongVersion. Queries it at first and after an outage."""
        if not self._health or fresh:
            answer = await self._send("GET", "/api/health", head_s=15)
            health = self._json(answer)
            version = str(health.get("api_version") or "")
            if not version.isdecimal() or int(version) < OLDEST_API_VERSION:
                raise WrongVersion(
                    f"the SkyPilot API server {health.get('version') or '?'} at {self.access.endpoint} "
                    f"is too old: API version {version or '?'}, {OLDEST_API_VERSION} is needed"
                )
            self._health = health
        return self._health

    async def validate(self, task_yaml: str, project: Path | None = None) -> None:
        """Validate a task's YAML with the site's admin policy.

        Raises Rejected with SkyPilot's reason. ``project``: the folder whose .sky.yaml applies.
        """
        body = {"dag": task_yaml, "request_options": None, **self.overrides(project)}
        await self._send("POST", "/validate", body)

    async def optimize(self, task_yaml: str) -> str:
        """Return the optimizer's report: candidate resources and prices.

        The request's result is null by design; the table is in the request's stream (sky/server/server.py).
        """
        request_id = await self.post("/optimize", {"dag": task_yaml, "request_options": None})
        answer = await self._send("GET", f"/api/stream?request_id={quote(request_id)}&format=plain", head_s=60)
        text = answer.body.decode("utf-8", "replace")
        if "Considered resources" not in text:
            await self.result(request_id, 30)  # raises the request's error
        return text

    async def launch(
        self, task_yaml: str, name: str, *, num_jobs: int | None = None, pool: str = "", blob_id: str = "",
        project: Path | None = None,
    ) -> list[int]:  # fmt: skip
        """Launch a managed job; return its ids. Not idempotent: after an error call ``find`` before a retry."""
        body: dict[str, Any] = {"task": task_yaml, "name": name, **self.overrides(project)}
        if num_jobs:
            body["num_jobs"] = num_jobs
        if pool:
            body["pool"] = pool
        if blob_id:
            body["file_mounts_blob_id"] = blob_id
        return _ids(await self.call("/jobs/launch", body))

    async def queue(self, job_ids: Sequence[int] | None = None, **more: Any) -> list[QueueRow]:
        """Return records of managed jobs, one per SkyPilot task. Expensive: starts a process on the jobs controller."""
        body = {"refresh": False, "skip_finished": False, "all_users": False, **more}
        if job_ids is not None:
            body["job_ids"] = list(job_ids)
        value = await self.call("/jobs/queue/v2", body)
        jobs = value.get("jobs", []) if isinstance(value, dict) else value
        return [queue_row(job) for job in jobs or () if isinstance(job, dict)]

    async def find(self, name: str) -> list[int]:
        """Return ids of the managed jobs with exactly this name."""
        found = await self.queue(name_match=name)
        return sorted({job.job_id for job in found if job.job_name == name and job.job_id})

    async def launched(self, name: str) -> list[int]:
        """Return ids of managed jobs launched under this name.

        The launch may be unfinished: the server may still process a request whose answer was lost.
        """
        request_id = await self._unfinished_request("jobs.launch", "name", name)
        if request_id:
            return sorted(_ids(await self.result(request_id)))
        return await self.find(name)

    async def launching(self, cluster: str) -> bool:
        """True if an unfinished request launches a job on this cluster."""
        return bool(await self._unfinished_request("sky.launch", "cluster_name", cluster))

    async def _unfinished_request(self, kind: str, field: str, name: str) -> str:
        """Return the id of an unfinished request with this name, or "".

        ``kind``: the type of the request; ``field``: the key of the request's body that holds ``name``.
        """
        try:
            answer = await self._send("GET", "/api/status")
            requests = json.loads(answer.body or b"null")
        except (Rejected, ValueError):
            return ""
        for request in requests if isinstance(requests, list) else ():
            if str(request.get("name", "")).endswith(kind):
                try:
                    body = json.loads(request.get("request_body") or "null")
                except ValueError:
                    continue
                if isinstance(body, dict) and body.get(field) == name:
                    return str(request.get("request_id", ""))
        return ""

    async def events(self, managed_job_id: int, limit: int = 10) -> list[StatusChange]:
        """Return the latest status changes of a job, newest first, by a cheap request."""
        value = await self.call("/jobs/events", {"job_id": managed_job_id, "limit": limit})
        return [status_change(event) for event in value or () if isinstance(event, dict)]

    async def cancel(self, job_ids: Sequence[int]) -> None:
        """Request cancellation of managed jobs, which takes about a minute."""
        await self.call("/jobs/cancel", {"job_ids": list(job_ids)})

    def logs(self, managed_job_id: int, follow: bool, tail: int | None = None) -> AsyncGenerator[bytes, None]:
        """Stream the job's log; with ``follow`` until the job ends. Raises SkyError if the stream breaks."""
        body = {
            "job_id": managed_job_id,
            "name": None,
            "follow": follow,
            "controller": False,
            "refresh": False,
            "tail": tail,
        }
        return self._stream("/jobs/logs", body)

    def cluster_logs(self, cluster: str, job_id: int, follow: bool) -> AsyncGenerator[bytes, None]:
        """Stream the log of a cluster's job, as ``logs``."""
        body = {"cluster_name": cluster, "job_id": job_id, "follow": follow, "tail": 0}
        return self._stream("/logs", body)

    async def _stream(self, path: str, body: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        try:
            async with self._open("POST", path, body, head_s=300) as answer:
                if answer.status != 200:
                    self._check(answer.status, answer.headers, await answer.read())
                async for chunk in answer.chunks():
                    yield chunk
        except TransportError as error:
            raise self._unreachable(error) from error

    async def upload(self, blob_id: str, path: Path) -> None:
        """Upload a zip that the server does not have. ``blob_id``: 64 hex digits."""
        user = self.user_id
        whole = (await asyncio.to_thread(path.stat)).st_size
        requested = urlencode({"user_hash": user, "blob_id": blob_id, "size_bytes": whole})
        if self._json(await self._send("GET", f"/upload_v2/blob?{requested}")).get("exists"):
            return
        size = 95 * 1024 * 1024  # the limit of the server's proxy: sky/server/constants.py
        total = max(1, -(-whole // size))
        with await asyncio.to_thread(path.open, "rb") as file:
            for index in range(total):
                target = urlencode(
                    {"user_hash": user, "upload_id": blob_id, "chunk_index": index, "total_chunks": total}
                )
                chunk = await asyncio.to_thread(file.read, size)
                await self._send("POST", f"/upload_v2?{target}", chunk, head_s=600)

    async def call(self, path: str, body: dict[str, Any], wait_s: float = 600.0, method: str = "POST") -> Any:
        """Send a request and wait for its result."""
        request_id = await self.post(path, body, method)
        return await self.result(request_id, wait_s)

    async def post(self, path: str, body: dict[str, Any], method: str = "POST") -> str:
        """Send a request; return its id."""
        answer = await self._send(method, path, body if method == "POST" else None)
        request_id = answer.headers.get("x-skypilot-request-id") or answer.headers.get("x-request-id")
        if not request_id:
            raise WrongVersion(f"the server at {self.access.endpoint} gave no request id for {path}")
        return request_id

    async def result(self, request_id: str, wait_s: float = 600.0) -> Any:
        """Wait for the result of a request. A broken connection does not end the wait before wait_s."""
        deadline = time.monotonic() + wait_s
        while True:
            left = deadline - time.monotonic()
            try:
                answer = await self._send("GET", f"/api/get?request_id={quote(request_id)}", head_s=max(left, 1))
                break
            except (Unreachable, Busy):
                if deadline - time.monotonic() < 5:
                    raise
                await asyncio.sleep(2)
        payload = self._json(answer)
        value = payload.get("return_value")
        return json.loads(value) if isinstance(value, str) else value

    # -- transport

    async def _send(
        self, method: str, target: str, body: dict[str, Any] | bytes | None = None, head_s: float = 60.0
    ) -> HttpAnswer:
        if not self._health and target != "/api/health":
            await self.health()
        try:
            async with self._open(method, target, body, head_s) as answer:
                data = await answer.read()
        except TransportError as error:
            self._health = {}
            raise self._unreachable(error) from error
        self._check(answer.status, answer.headers, data)
        self.answered_at = time.time()
        if target != "/api/health" or not isinstance(self.problem, LoginExpired):  # /api/health needs no login
            self.problem = None
        return HttpAnswer(answer.status, answer.headers, data)

    def _unreachable(self, error: TransportError) -> Unreachable:
        done = self.on_unreachable() if error.refused else ""
        self.problem = Unreachable(f"{error}; {done}" if done else str(error))
        return self.problem

    def _open(self, method: str, target: str, body: dict[str, Any] | bytes | None, head_s: float) -> Any:
        self.requests += 1
        url = urlsplit(self.access.endpoint)
        place = url.netloc.rpartition("@")[2]  # the password is sent in a header
        headers = {
            "X-SkyPilot-API-Version": str(API_VERSION),
            "X-SkyPilot-Version": "0.14.1",
            "Accept": "application/json, text/plain, */*",
        }
        headers.update(self._credentials())
        payload = b""
        if isinstance(body, bytes):
            payload, headers["Content-Type"] = body, "application/octet-stream"
        elif body is not None:
            headers["Content-Type"] = "application/json"
            payload = json.dumps({**self._common(), **body}).encode()
        return self._transport.request(
            method, f"{url.scheme}://{place}{url.path.rstrip('/')}{target}", headers, payload, head_s
        )

    def _common(self) -> dict[str, Any]:
        """Return the fields of every request body. Without the user's id the server would use its own: payloads.py."""
        common: dict[str, Any] = {
            "env_vars": {"SKYPILOT_USER_ID": self.user_id, "SKYPILOT_USER": self.access.user},
            "entrypoint": "slurmsky",
            "entrypoint_command": "slurmsky",
            "using_remote_api_server": not self.access.local,
            **self.overrides(),
        }
        return common

    def overrides(self, project: Path | None = None) -> dict[str, Any]:
        """Return the body field with the user's configuration. Raises BadConfig."""
        if self.config is None:
            found = {"active_workspace": self.access.workspace} if self.access.workspace else {}
        else:
            try:
                found = self.config.sent(project, self.access.workspace)
            except ConfigError as error:
                raise BadConfig(f"SkyPilot's configuration: {error}") from error
        return {"override_skypilot_config": found}

    def _credentials(self) -> dict[str, str]:
        if self.access.token:
            return {"Authorization": f"Bearer {self.access.token}"}
        if self.access.login:
            return {"Authorization": "Basic " + base64.b64encode(self.access.login.encode()).decode()}
        found = cookies(self.access.cookie_file, urlsplit(self.access.endpoint).hostname or "")
        return {"Cookie": found} if found else {}

    def _check(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Raise the error of an unsuccessful answer."""
        try:
            self._check_answer(status, headers, body)
        except SkyError as error:
            if error.may_succeed_later:
                self.problem = error
            raise

    def _check_answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        html = "text/html" in headers.get("content-type", "")
        if status in (301, 302, 303, 307, 308, 401, 403) or (status == 200 and html):
            detail = "" if html else _detail(body)[1]
            raise LoginExpired(
                f"the SkyPilot API server at {self.access.endpoint} requires a login"
                f"{': ' + detail if detail else ''} (run: sky api login -e {self.access.endpoint})"
            )
        if status == 200:
            # The server may have been replaced since its last health check.
            version = headers.get("x-skypilot-api-version", "")
            if version.isdecimal() and int(version) < OLDEST_API_VERSION:
                self._health = {}
                raise WrongVersion(
                    f"the SkyPilot API server at {self.access.endpoint} is too old: API version {version}, "
                    f"{OLDEST_API_VERSION} is needed"
                )
            return
        kind, message = _detail(body)
        if status in (429, 502, 503, 504):
            raise Busy(f"the SkyPilot API server is busy: {message or status}")
        if kind == "version_mismatch":
            raise WrongVersion(message)
        if kind in ("RequestInterruptedError", "BrokenProcessPool"):  # the latter: a server worker was killed
            raise Interrupted(message)
        raise Rejected(kind or f"HTTP {status}", message or f"HTTP {status}")

    def _json(self, answer: HttpAnswer) -> dict[str, Any]:
        try:
            value = json.loads(answer.body or b"null")
        except ValueError as error:
            raise WrongVersion(f"what answers at {self.access.endpoint} is not a SkyPilot API server") from error
        return value if isinstance(value, dict) else {}


def _ids(value: Any) -> list[int]:
    """Job ids in a launch's result."""
    ids = value.get("job_id") if isinstance(value, dict) else None
    return [int(ids)] if isinstance(ids, int) else [int(number) for number in ids or ()]


def _detail(body: bytes) -> tuple[str, str]:
    """Name and message of the exception in an error's body. The server has four shapes of it."""
    try:
        data = json.loads(body)
    except ValueError:
        return "", body.decode("utf-8", "replace").strip()[:300]
    if isinstance(data, dict) and isinstance(data.get("error"), str) and "detail" not in data:
        return data["error"], str(data.get("message", ""))
    detail = data.get("detail", data) if isinstance(data, dict) else data
    if isinstance(detail, dict) and isinstance(detail.get("error"), str):  # a failed request's payload
        try:
            detail = json.loads(detail["error"]) or detail
        except ValueError:
            pass  # not JSON: read as plain text
    if isinstance(detail, dict):
        return str(detail.get("type", "")), str(detail.get("message", ""))
    return "", str(detail)
