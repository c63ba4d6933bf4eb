"""Jobs as SkyPilot managed jobs: launched once, watched cheaply, followed through their log, ended.

Budget: all that this engine asks of the API server for states stays under one request a second however many
jobs run (``PACE_S``): few jobs are asked one by one through the light /jobs/events, many together through one
heavy queue read.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ...model.allocation import Launch
from ...model.job import Job, Node
from ...model.states import JobFlag, JobState
from ...site import Site
from ...translate import status as sky_status
from ...translate.notes import Refused
from ...translate.task import SkyTask, plan, sky_name
from ..base import EngineError, Event, OnEvent
from . import control, shipment
from .desk import keep_parked
from .http import Client, Rejected, SkyError, WrongVersion
from .watch import Record, Watch

log = logging.getLogger("slurmsky.sky")

PACE_S = 2.5  # between two reads of states; a read is two requests
POLL_S = 5.0  # how often one job is asked about while it waits for nodes
RUNNING_POLL_S = 30.0  # ... and while its log is followed, which tells more
MANY = 6  # from so many jobs on, the queue is read as a whole
RETRY_S = (1, 2, 5, 10, 20, 30, 60)
QUEUE_FIELDS = [
    "job_id",
    "job_name",
    "status",
    "schedule_state",
    "details",
    "failure_reason",
    "recovery_count",
    "task_id",
    "infra",
    "end_at",
    "start_at",
    "submitted_at",
]
TERMINAL = frozenset(
    (
        "SUCCEEDED",
        "CANCELLED",
        "FAILED",
        "FAILED_SETUP",
        "FAILED_PRECHECKS",
        "FAILED_NO_RESOURCE",
        "FAILED_CONTROLLER",
    )
)


class SkyEngine:
    """Implements engines.base.Engine on an API server. ``home``: the state folder; ``sky/`` in it is ours."""

    name = "sky"
    places = False

    def __init__(self, home: Path, on_event: OnEvent, site: Site, client: Client) -> None:
        self.folder = home / "sky"
        self.socket = home / "controller.sock"
        self.site = site
        self.client = client
        self._on_event = on_event
        self._watches: dict[int, Watch] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._poller: asyncio.Task[None] | None = None
        self._closing = False

    # --- what the controller asks

    def plan(self, launch: Launch) -> SkyTask:
        """The SkyPilot task of a launch. Raises EngineError with Slurm's text."""
        try:
            return plan(
                launch.spec, self.site, launch.partition, job_id=launch.job_id, account=launch.account
            )
        except Refused as error:
            raise EngineError(f"{error} ({error.hint})") from error

    async def start(self, launch: Launch) -> None:
        """Make the job ready to travel, have SkyPilot check it, and launch it in the background.

        A run that was started before (by a controller that is gone) is found again instead.
        """
        folder = self.folder / str(launch.job_id) / f"run{launch.restart_count}"
        if launch.job_id in self._watches and not self._watches[launch.job_id].record.ended:
            return
        if (folder / "record.json").exists():
            self._find_again(folder)
            return
        task = self.plan(launch)
        name = unique_name(task.name, launch.job_id)
        ship = await asyncio.to_thread(
            shipment.pack,
            launch,
            name,
            folder / "ship",
            self.folder / "programs",
            upload_mib=self.site.sky.upload_mib,
            return_mib=self.site.sky.return_mib,
            environment=dict(self.site.environment),
        )
        fields = {
            **task.fields,
            "name": name,
            **ship.fields,
            "file_mounts": {**task.fields.get("file_mounts", {}), **ship.fields["file_mounts"]},
        }
        record = Record(
            job_id=launch.job_id,
            name=name,
            restart=launch.restart_count,
            pool=task.pool,
            submit_dir=launch.submit_dir,
            umask=launch.umask,
            requeue=launch.spec.requeue is not False,
        )
        watch = Watch(folder, record, ship.manifest, lambda event: self._tell(launch.job_id, event))
        if not self.client.access.local:
            record.blob_id = await asyncio.to_thread(shipment.zip_for_upload, ship, folder / "ship.zip")
            fields["file_mounts_mapping"] = {str(path): str(path) for path in ship.local_paths()}
        (folder / "task.yaml").write_text(json.dumps(fields))  # JSON is YAML
        (folder / "manifest.json").write_text(json.dumps(ship.manifest))
        watch.save()
        try:
            await self.client.validate((folder / "task.yaml").read_text())
        except (Rejected, WrongVersion) as error:
            raise EngineError(f"SkyPilot refused the job: {error}") from error
        except SkyError as error:
            self._state(record.job_id, "PENDING", "Resources", f"waiting for SkyPilot: {error}")
        self._watches[launch.job_id] = watch
        self._spawn(self._live(watch))

    async def signal(self, job_id: int, signal: int, target: str) -> None:
        await self._command(job_id, {"op": "signal", "job_id": job_id, "signal": signal, "target": target})

    async def suspend(self, job_id: int) -> None:
        await self._command(job_id, {"op": "suspend", "job_id": job_id})

    async def resume(self, job_id: int) -> None:
        await self._command(job_id, {"op": "resume", "job_id": job_id})

    async def limit(self, job_id: int, end_time: float | None) -> None:
        await self._command(job_id, {"op": "limit", "job_id": job_id, "end_time": end_time})

    async def terminate(self, job_id: int, state: str, signal: int, kill_wait_s: int) -> None:
        """End the job: by its own node where that can be reached, which is quick and gentle; else by
        SkyPilot.
        """
        watch = self._watch(job_id)
        watch.record.cancel = state
        watch.save()
        if watch.record.started:
            try:
                await self._command(
                    job_id,
                    {
                        "op": "terminate",
                        "job_id": job_id,
                        "state": state,
                        "signal": signal,
                        "kill_wait_s": kill_wait_s,
                    },
                )
                return
            except EngineError as error:
                log.info("job %d: %s; SkyPilot is asked to cancel it", job_id, error)
        if watch.record.managed_job_id:
            await self._cancel(watch)
        elif watch.record.phase == "new":
            watch.record.phase = "over"
        if not watch.record.started:
            self._end(watch, state, 0, 0, "None")

    async def ack(self, job_id: int, seq: int) -> None:
        """The controller has committed the job's events up to seq."""
        watch = self._watches.get(job_id)
        if watch is not None:
            watch.record.acked = max(watch.record.acked, seq)
            watch.save()

    def ack_to(self, node: str, job_id: int, seq: int) -> None:
        """As ack, for a caller that keeps the node's name of an event."""
        self._spawn(self.ack(job_id, seq))

    async def recover(self, jobs: Iterable[Job]) -> None:
        """Find the jobs of a former controller again, from their records."""
        for job in jobs:
            folder = self.folder / str(job.job_id)
            runs = sorted(folder.glob("run*/record.json"), key=lambda path: path.stat().st_mtime)
            if runs and job.job_id not in self._watches:
                self._find_again(runs[-1].parent)

    def _find_again(self, folder: Path) -> None:
        job_id = int(folder.parent.name)
        watch = self._watches[job_id] = Watch.load(folder, lambda event: self._tell(job_id, event))
        if watch.record.phase != "over":
            self._spawn(self._live(watch))
        elif watch.record.ended:
            # It ended before, but who was told may have died with the message.
            watch.record.ended = False
            self._spawn(self._last_look(watch))

    def agent_address(self, job_id: int) -> str | None:
        """None: a cloud node's agent is not on this machine."""
        return None

    def nodes(self) -> list[Node]:
        """SkyPilot's nodes exist as long as their jobs; the controller knows those from ``started``."""
        return []

    async def close(self) -> None:
        """Leave; jobs go on."""
        self._closing = True
        for task in [*self._tasks, *([self._poller] if self._poller else [])]:
            task.cancel()
        for watch in self._watches.values():
            watch.close_desk()
        await asyncio.gather(*self._tasks, *([self._poller] if self._poller else []), return_exceptions=True)

    # --- telling the controller

    def _tell(self, job_id: int, event: Event) -> None:
        watch = self._watches[job_id]
        if event.get("ev") == "ended":
            self._spawn(self._judge_end(watch, event))
            return
        event["job_id"] = job_id
        self._on_event(event)
        if event.get("ev") == "started":
            self._open_desk(watch)

    def _open_desk(self, watch: Watch) -> None:
        """Let commands inside the job reach our controller."""
        if watch.record.control and (watch.desk is None or watch.desk.done()):
            watch.desk = asyncio.ensure_future(
                keep_parked(watch.record.control, watch.folder / "ship" / "tls", self.socket)
            )

    def _state(self, job_id: int, state: str, reason: str, comment: str = "") -> None:
        self._on_event(
            {"ev": "state", "job_id": job_id, "state": state, "reason": reason, "comment": comment}
        )

    def _end(
        self, watch: Watch, state: str, exit_code: int, exit_signal: int, reason: str, **more: Any
    ) -> None:
        """Tell the job's end, once."""
        if watch.record.ended:
            return
        watch.record.ended = True
        watch.close_desk()
        watch.save()
        for message in watch.returns.messages:
            watch.returns.append(f"slurmsky: {message}\n")
        self._on_event(
            {
                "ev": "ended",
                "time": time.time(),
                "seq": 0,
                **more,
                "job_id": watch.record.job_id,
                "state": state,
                "exit_code": exit_code,
                "exit_signal": exit_signal,
                "reason": reason,
            }
        )

    async def _judge_end(self, watch: Watch, event: Event) -> None:
        """The agent says that the job has ended.

        A SIGTERM that nobody here asked for means that SkyPilot lost or took the nodes: then its next status
        tells what it was.
        """
        record = watch.record
        if event.get("by_signal") and not record.cancel:
            for _ in range(24):
                await self._poll_one(watch)
                if record.status in ("RECOVERING", "CANCELLING") or record.status in TERMINAL:
                    break
                await asyncio.sleep(POLL_S)
            if record.status == "RECOVERING":
                return  # _seen has dealt with it
            event["state"] = "CANCELLED"
        state = record.cancel if record.cancel and event.get("by_signal") else str(event["state"])
        self._end(
            watch,
            state,
            int(event.get("exit_code", 0)),
            int(event.get("exit_signal", 0)),
            str(event.get("reason", "None")),
            time=event.get("time"),
            seq=event.get("seq", 0),
            derived_exit_code=event.get("derived_exit_code", 0),
        )

    # --- a job's life

    async def _live(self, watch: Watch) -> None:
        """From launch to the end."""
        record = watch.record
        try:
            if record.phase in ("new", "launching") and not await self._launch(watch):
                return
            self._watch_states()
            if record.cancel and not record.started:
                await self._cancel(watch)
            if record.started and not record.ended:
                self._open_desk(watch)
            await self._follow(watch)
            record.phase = "over"
            watch.save()
        except EngineError as error:
            self._end(watch, "FAILED", 1, 0, "JobLaunchFailure", comment=str(error))

    async def _launch(self, watch: Watch) -> bool:
        """Launch, exactly once whatever happens on the way. False: it is over already."""
        record = watch.record
        yaml = (watch.folder / "task.yaml").read_text()
        asked_before = record.phase == "launching"
        for attempt in range(1 << 30):
            if record.phase == "over" or (record.cancel and not asked_before):
                record.phase = "over"
                watch.save()
                self._end(watch, record.cancel or "CANCELLED", 0, 0, "None")
                return False
            try:
                found = await self.client.find(record.name) if asked_before else []
                if not found:
                    if record.blob_id:
                        await self.client.upload(record.blob_id, watch.folder / "ship.zip")
                    record.phase, asked_before = "launching", True
                    watch.save()
                    self._state(record.job_id, "PENDING", "Resources", "launching on SkyPilot")
                    found = await self.client.launch(
                        yaml, record.name, pool=record.pool, blob_id=record.blob_id
                    )
                if found:
                    record.managed_job_id, record.phase = found[0], "launched"
                    watch.save()
                    self._on_event(
                        {
                            "ev": "managed",
                            "job_id": record.job_id,
                            "managed_job_id": found[0],
                            "name": record.name,
                        }
                    )
                    return True
            except SkyError as error:
                if not error.passing:
                    kind = error.kind if isinstance(error, Rejected) else ""
                    reason = (
                        "BadConstraints" if "Resource" in kind or "NoCloud" in kind else "JobLaunchFailure"
                    )
                    self._end(watch, "FAILED", 1, 0, reason, comment=str(error))
                    record.phase = "over"
                    watch.save()
                    return False
                self._state(record.job_id, "PENDING", "Resources", f"waiting for SkyPilot: {error}")
            await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
        return False

    async def _follow(self, watch: Watch) -> None:
        """Read the job's log, again and again, until it has told its last word or SkyPilot its last
        status.
        """
        record, attempt = watch.record, 0
        while not (watch.done or (record.ended and not record.started)):
            if record.status in TERMINAL:
                await self._last_look(watch)
                return
            watch.decoder.reconnect()
            watch.following = True
            began = time.monotonic()
            try:
                async for chunk in self.client.logs(record.managed_job_id, follow=True):
                    watch.feed(chunk)
                    if watch.done:
                        break
            except SkyError as error:
                log.info("job %d: log: %s", record.job_id, error)
            finally:
                watch.following = False
            watch.finish()
            if not watch.done:
                attempt = 0 if time.monotonic() - began > 60 else attempt + 1
                await self._poll_one(watch)
                await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])

    async def _last_look(self, watch: Watch) -> None:
        """SkyPilot says that the job is over and the log has not told its end: read what is kept of it,
        then settle.
        """
        record = watch.record
        for pause in (0, 5, 15):
            await asyncio.sleep(pause)
            try:
                watch.decoder.reconnect()
                async for chunk in self.client.logs(record.managed_job_id, follow=False):
                    watch.feed(chunk)
                watch.finish()
            except SkyError as error:
                log.info("job %d: log: %s", record.job_id, error)
            if watch.done or record.ended:
                return
        seen = sky_status.seen(record.status, failure=self._failures.get(record.managed_job_id, ""))
        comment = "; ".join([*watch.broken, seen.comment]).strip("; ")
        state = record.cancel or seen.state.name
        self._end(watch, state, seen.exit_code or 0, 0, seen.reason, comment=comment)

    async def _cancel(self, watch: Watch) -> None:
        for pause in (0, *RETRY_S):
            await asyncio.sleep(pause)
            try:
                await self.client.cancel([watch.record.managed_job_id])
                return
            except SkyError as error:
                if not error.passing:
                    raise
        raise EngineError("SkyPilot does not answer; the job is cancelled when it does")

    # --- states

    @property
    def _failures(self) -> dict[int, str]:
        if not hasattr(self, "_failure_texts"):
            self._failure_texts: dict[int, str] = {}
        return self._failure_texts

    def _watch_states(self) -> None:
        if self._poller is None or self._poller.done():
            self._poller = asyncio.ensure_future(self._poll())

    def _active(self) -> list[Watch]:
        return [
            watch
            for watch in self._watches.values()
            if watch.record.phase == "launched" and watch.record.status not in TERMINAL
        ]

    async def _poll(self) -> None:
        last_queue = 0.0
        while active := self._active():
            await asyncio.sleep(PACE_S)
            now = time.monotonic()
            try:
                if len(active) >= MANY:
                    if now - last_queue >= self.site.sky.queue_poll_s:
                        last_queue = now
                        await self._poll_all(active)
                    continue
                due = [
                    watch
                    for watch in active
                    if now - watch.last_poll
                    >= (RUNNING_POLL_S if watch.record.started and watch.following else POLL_S)
                ]
                if due:
                    await self._poll_one(min(due, key=lambda watch: watch.last_poll))
            except SkyError as error:
                for watch in active:
                    if not watch.record.started:
                        self._state(watch.record.job_id, "PENDING", "Resources", str(error))
                await asyncio.sleep(10)

    async def _poll_one(self, watch: Watch) -> None:
        watch.last_poll = time.monotonic()
        events = await self.client.events(watch.record.managed_job_id, limit=1)
        if events:
            self._seen(watch, str(events[0].get("new_status", "")), str(events[0].get("reason") or ""))

    async def _poll_all(self, active: Sequence[Watch]) -> None:
        records = await self.client.queue(
            [watch.record.managed_job_id for watch in active], fields=QUEUE_FIELDS
        )
        by_id = {record.get("job_id"): record for record in records}
        for watch in active:
            found = by_id.get(watch.record.managed_job_id)
            if found:
                self._seen(
                    watch,
                    str(found.get("status") or ""),
                    str(found.get("failure_reason") or ""),
                    str(found.get("details") or ""),
                    str(found.get("schedule_state") or ""),
                )

    def _seen(self, watch: Watch, status: str, failure: str, details: str = "", schedule: str = "") -> None:
        """Take a status in. The first terminal one is latched: SkyPilot may show FAILED_CONTROLLER over a
        success.
        """
        record = watch.record
        if not status or record.status in TERMINAL:
            return
        changed, record.status = status != record.status, status
        if status in TERMINAL:
            self._failures[record.managed_job_id] = failure
        if changed:
            watch.save()
        if record.ended:
            return
        if status == "RECOVERING" and changed:
            self._lost(watch)
            return
        found = sky_status.seen(
            status, details or failure if status == "STARTING" else details, schedule, failure
        )
        if changed and not found.state.finished and not record.started:
            state = (
                "CONFIGURING"
                if JobFlag.CONFIGURING in found.flags or found.state is JobState.RUNNING
                else "PENDING"
            )
            self._state(record.job_id, state, found.reason, details)

    def _lost(self, watch: Watch) -> None:
        """SkyPilot lost the nodes and starts the job again: a requeue, or the end where that is not
        wanted.
        """
        record = watch.record
        if not record.requeue:
            self._spawn(self._cancel(watch))
            self._end(watch, "NODE_FAIL", 0, 0, "NodeDown")
            return
        record.restart += 1
        record.started, record.acked = False, 0
        watch.save()
        shipment.set_restart_count(watch.folder / "ship", record.restart)
        self._on_event(
            {
                "ev": "state",
                "job_id": record.job_id,
                "state": "REQUEUED",
                "reason": "NodeDown",
                "restarts": record.restart,
                "comment": "SkyPilot lost the nodes",
            }
        )

    # --- helpers

    def _watch(self, job_id: int) -> Watch:
        watch = self._watches.get(job_id)
        if watch is None:
            raise EngineError(f"job {job_id} is not known to the SkyPilot engine")
        return watch

    async def _command(self, job_id: int, message: dict[str, Any]) -> None:
        watch = self._watch(job_id)
        try:
            await control.send(watch.record.control, watch.folder / "ship" / "tls", message)
        except control.NoControl as error:
            raise EngineError(f"the nodes of job {job_id} cannot be reached from here: {error}") from error

    def _spawn(self, coroutine: Any) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(coroutine)
        self._tasks.add(task)

        def over(done: asyncio.Task[None]) -> None:
            self._tasks.discard(done)
            if not done.cancelled() and done.exception() is not None:
                log.error("SkyPilot engine", exc_info=done.exception())

        task.add_done_callback(over)


def unique_name(job_name: str, job_id: int) -> str:
    """A name that no other managed job has: jobs are found again by it."""
    return f"{sky_name(job_name)}-s{job_id}-{uuid.uuid4().hex[:8]}"
