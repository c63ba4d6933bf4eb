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
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ...language import modulelines
from ...model.allocation import Launch
from ...model.job import Job, Node
from ...model.spec import JobSpec
from ...model.states import JobFlag, JobState
from ...site import Site
from ...translate import status as sky_status
from ...translate.notes import Refused
from ...translate.task import SkyTask, plan, sky_name
from ..base import EngineError, Event, OnEvent, Unable
from . import control, letters, packs, prices, shipment
from .carriers import Carrier, Clusters, ManagedJobs
from .desk import keep_parked, keep_showing
from .door import Door
from .http import Client, Rejected, SkyError, WrongVersion
from .reach import Reach
from .watch import Member, Record, Watch

log = logging.getLogger("slurmsky.sky")

PACE_S = 2.5  # between two reads of states; a read is two requests
POLL_S = 5.0  # how often one job is asked about while it waits for nodes
RUNNING_POLL_S = 30.0  # ... and while its log is followed, which tells more
FOLLOWERS = 40  # logs read at a time; a server has 128 threads for all its users (requests/executor.py)
HOLD_S = 60.0  # how long one of them is held while other jobs wait for their turn
MANY = 6  # from so many jobs on, the queue is read as a whole
RETRY_S = (1, 2, 5, 10, 20, 30, 60)
LOG_END_S = 60.0  # a log that does not end so long after its job is left: who kept it open may be dead
LOG_FETCH_S = (0, 5, 15, 30, 60)
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
        "GONE",
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
        self._managed_jobs, self._clusters = ManagedJobs(client), Clusters(client)
        self._watches: dict[int, Watch] = {}
        self._packers: dict[int, packs.Packer] = {}
        self._starting: dict[int, asyncio.Future[None]] = {}  # jobs that are being packed
        self._tasks: set[asyncio.Task[None]] = set()
        self._poller: asyncio.Task[None] | None = None
        self._followers = asyncio.Semaphore(FOLLOWERS)
        self._wait_to_follow = 0
        self._closing = False

    # --- what the controller asks

    def plan(self, launch: Launch) -> SkyTask:
        """The SkyPilot task of a launch. Raises EngineError with Slurm's text."""
        try:
            task = plan(
                launch.spec,
                self.site,
                launch.partition,
                job_id=launch.job_id,
                account=launch.account,
                modules=_modules(launch) if self.site.modules else (),
                images=_images(launch),
            )
            launch.image = str(task.fields["resources"].get("image_id", "")).removeprefix("docker:")
            return task
        except Refused as error:
            raise EngineError(f"{error} ({error.hint})") from error

    async def start(self, launch: Launch) -> None:
        """Make the job ready to travel, have SkyPilot check it, and launch it in the background.

        A run that was started before (by a controller that is gone) is found again instead. Elements of an
        array that come together, and need one node each, share nodes: they are a pack, one managed job.
        """
        while launch.job_id in self._starting:
            await self._starting[launch.job_id]
        begun = self._starting[launch.job_id] = asyncio.get_running_loop().create_future()
        try:
            await self._start(launch)
        finally:
            del self._starting[launch.job_id]
            begun.set_result(None)

    async def _start(self, launch: Launch) -> None:
        known = self._watches.get(launch.job_id)
        if known is not None and not known.record.member(launch.job_id).ended:
            return
        pointer = self._pointer(launch.job_id, launch.restart_count)
        if pointer.exists():
            self._find_again(Path(pointer.read_text()))
            self._watches[launch.job_id].record.member(launch.job_id).ended = False
            return
        task = self.plan(launch)
        if packs.packable(launch, task):
            await self._packer(launch).add(launch)
        else:
            await self._prepare(launch, task, [launch])

    def _packer(self, launch: Launch) -> packs.Packer:
        """What gathers the elements of the launch's array."""
        packer = self._packers.get(launch.array_job_id)
        if packer is None:
            packer = self._packers[launch.array_job_id] = packs.Packer(self._start_pack)
        return packer

    async def _start_pack(self, elements: list[Launch]) -> None:
        task = self.plan(elements[0])
        partition = self.site.cluster.partition(elements[0].partition)
        for part, slots in packs.split(elements, task, partition, self.site):
            await self._prepare(part[0], packs.sized(task, slots), part, slots)

    async def _prepare(self, launch: Launch, task: SkyTask, members: list[Launch], slots: int = 0) -> None:
        """Everything up to the launch, which goes on by itself."""
        base = launch.array_job_id if slots else launch.job_id
        name = unique_name(task.name, base)
        folder = self.folder / str(launch.job_id) / f"run{launch.restart_count}"
        ship = await asyncio.to_thread(
            shipment.pack,
            launch,
            name,
            folder / "ship",
            self.folder / "programs",
            upload_mib=self.site.sky.upload_mib,
            return_mib=self.site.sky.return_mib,
            alone_min=self.site.sky.idle_minutes if launch.script is None else 0,
            environment=dict(self.site.environment),
            elements=members if slots else (),
            slots=max(slots, 1),
            letter_ids=letters.set_aside(self.folder),
        )
        if task.pool:
            ship = await asyncio.to_thread(ship.in_workdir)
        fields = {**task.fields, "name": name, **ship.fields}
        if not task.pool:
            fields["file_mounts"] = {**task.fields.get("file_mounts", {}), **ship.fields["file_mounts"]}
        record = Record(
            job_id=base,
            name=name,
            restart=launch.restart_count,
            pool=task.pool,
            submit_dir=launch.submit_dir,
            umask=launch.umask,
            requeue=launch.spec.requeue is not False,
            cluster=launch.script is None,
            members={str(member.job_id): Member() for member in members},
        )
        if record.cluster:
            fields = Clusters.fields(fields)
        watch = Watch(folder, record, ship.manifest, self._tell)
        self._take_letters(watch)
        if not self.client.access.local:
            record.blob_id = await asyncio.to_thread(shipment.zip_for_upload, ship, folder / "ship.zip")
            fields["file_mounts_mapping"] = {str(path): str(path) for path in ship.local_paths()}
        (folder / "task.yaml").write_text(json.dumps(fields))  # JSON is YAML
        (folder / "manifest.json").write_text(json.dumps(ship.manifest))
        try:
            await self.client.validate((folder / "task.yaml").read_text())
        except (Rejected, WrongVersion) as error:
            raise EngineError(f"SkyPilot refused the job: {error}") from error
        except SkyError as error:
            self._state(record, "PENDING", "Resources", f"waiting for SkyPilot: {error}")
        watch.save()
        for member in members:
            pointer = self._pointer(member.job_id, member.restart_count)
            pointer.parent.mkdir(parents=True, exist_ok=True)
            pointer.write_text(str(folder))
            self._watches[member.job_id] = watch
        self._spawn(self._live(watch))

    def _pointer(self, job_id: int, restart: int) -> Path:
        """The file that names the folder of a job's run: its own, or that of the pack it is in."""
        return self.folder / str(job_id) / f"where{restart}"

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
        if job_id in self._starting:
            await self._starting[job_id]  # a cancellation that comes while the job is packed must not be lost
        watch = self._watch(job_id)
        member = watch.record.member(job_id)
        member.cancel = state
        watch.save()
        if watch.record.control:
            message = {"op": "terminate", "job_id": job_id, "state": state, "signal": signal}
            try:
                await self._command(job_id, {**message, "kill_wait_s": kill_wait_s})
                return
            except EngineError as error:
                log.info("job %d: %s", job_id, error)
        if watch.record.unwanted:
            if watch.record.managed_job_id or watch.record.request_id:
                await self._cancel(watch)
            elif watch.record.phase == "new":
                watch.record.phase = "over"
        if not member.started:
            self._end(watch, job_id, state, 0, 0, "None")
        elif not watch.record.unwanted:
            raise EngineError(f"the nodes of job {job_id} cannot be reached, and other elements run on them")

    def check(self, spec: JobSpec, partition: str) -> None:
        """Raise Unable for what no SkyPilot node can be."""
        try:
            plan(spec, self.site, partition)
        except Refused as error:
            raise Unable(str(error), error.hint) from error

    def packs(self, spec: JobSpec, partition: str) -> bool:
        """Elements that share nodes come together: the nodes take one after the other, %N at a time."""
        try:
            return packs.packs(spec, plan(spec, self.site, partition))
        except Refused:
            return False

    async def ack(self, job_id: int, seq: int) -> None:
        """The controller has committed the job's events up to seq."""
        watch = self._watches.get(job_id)
        if watch is not None:
            member = watch.record.member(job_id)
            member.acked = max(member.acked, seq)
            watch.save_soon()

    def acks(self, node: str, acks: list[tuple[int, int, int]]) -> None:
        """As ack, of several (job, run, number) that one node told."""
        for job_id, run, seq in acks:
            watch = self._watches.get(job_id)
            if watch is not None and watch.record.restart == run:
                self._spawn(self.ack(job_id, seq))

    async def recover(self, jobs: Iterable[Job]) -> None:
        """Find the jobs of a former controller again, from their records."""
        for job in jobs:
            pointers = sorted((self.folder / str(job.job_id)).glob("where*"), key=lambda path: path.stat().st_mtime)
            if pointers and job.job_id not in self._watches:
                self._find_again(Path(pointers[-1].read_text()))
            elif not pointers:
                self._on_event({"ev": "missing", "job_id": job.job_id, "run": job.restarts})
            if job.job_id in self._watches:
                # It may have ended before, but who was told may have died with the message.
                self._watches[job.job_id].record.member(job.job_id).ended = False

    def _find_again(self, folder: Path) -> None:
        watch = Watch.load(folder, self._tell)
        self._take_letters(watch)
        for job_id in watch.record.members:
            self._watches[int(job_id)] = watch
        if watch.record.phase == "over":
            self._spawn(self._last_look(watch))
        else:
            self._spawn(self._live(watch))

    def agent_address(self, job_id: int) -> str | None:
        """A socket of this machine behind which the job's first node is, once that has told where it is."""
        watch = self._watches.get(job_id)
        if watch is None or watch.door is None or not watch.door.is_open:
            return None
        return str(watch.door.path)

    def price_question(self, job: Job, partition: str) -> tuple[str, Callable[[], Awaitable[float | None]]] | None:
        """What tells the price of a job from that of others, and how SkyPilot is asked for it; None: it cannot run."""
        try:
            task = plan(job.spec, self.site, partition)
        except Refused:
            return None
        text = prices.question(task.fields)
        return text, lambda: prices.hourly_price(self.client, text)

    def clusters(self) -> dict[int, str]:
        """Jobs that hold a SkyPilot cluster of their own, with its name."""
        return {job_id: watch.record.name for job_id, watch in self._watches.items() if watch.record.cluster}

    def names(self) -> set[str]:
        """The names at SkyPilot of all that this engine has launched, or is about to, and still follows."""
        return {watch.record.name for watch in self._watches.values()}

    def nodes(self) -> list[Node]:
        """SkyPilot's nodes exist as long as their jobs; the controller knows those from ``started``."""
        return []

    async def close(self) -> None:
        """Leave; jobs go on."""
        self._closing = True
        for task in [*self._tasks, *([self._poller] if self._poller else [])]:
            task.cancel()
        for watch in self._watches.values():
            watch.leave()
            if watch.mail is not None:
                watch.mail.cancel()
        await asyncio.gather(*self._tasks, *([self._poller] if self._poller else []), return_exceptions=True)

    # --- telling the controller

    def _tell(self, event: Event) -> None:
        job_id = int(event["job_id"])
        watch = self._watches[job_id]
        member = watch.record.member(job_id)
        if member.ended:
            return
        if event.get("ev") == "ended":
            self._spawn(self._judge_end(watch, event))
            return
        if event.get("ev") == "started":
            self._open_desk(watch)
            if not watch.record.slots_taken:
                watch.record.slots_taken = True
                self._state(watch.record, "PENDING", "JobArrayTaskLimit", watch.record.said)
            if member.cancel:
                self._spawn(self.terminate(job_id, member.cancel, 15, 30))
        # As we count: what was shipped to a remote server cannot be told of a restart by SkyPilot.
        self._on_event({**event, "run": watch.record.restart, "node": ""})

    def _open_desk(self, watch: Watch) -> None:
        """Let commands inside the job reach our controller, and those of this machine the job."""
        record = watch.record
        if not record.control:
            return
        reach = self._reach(watch)
        if watch.desk is None or watch.desk.done():
            watch.desk = asyncio.ensure_future(keep_parked(reach.line, self.socket))
        if record.cluster and watch.showing is None:
            watch.showing = asyncio.ensure_future(keep_showing(reach.line))
        if watch.door is None:
            watch.door = Door(watch.folder / "door.sock", reach.line, self.socket)
            self._spawn(self._open_door(watch, watch.door))

    async def _open_door(self, watch: Watch, door: Door) -> None:
        await door.open()
        for job_id in watch.record.open:
            self._on_event({"ev": "here", "job_id": job_id, "run": watch.record.restart})

    def _reach(self, watch: Watch) -> Reach:
        """The way to the job's first node as it is now."""
        record = watch.record
        if watch.reach is None or watch.reach.address != record.control:
            watch.close_reach()
            cluster = record.name if record.cluster else ""
            watch.reach = Reach(record.control, watch.folder, cluster, self.site.sky.reach)
        return watch.reach

    def _take_letters(self, watch: Watch) -> None:
        """Carry out, one after the other, what the job asks for in its log."""

        def post(letter: bytes, key: str) -> None:
            watch.mail = asyncio.ensure_future(self._deliver(watch, letter, key, watch.mail))

        watch.post = post
        watch.recovered = lambda: self._count_restart(watch)

    async def _deliver(self, watch: Watch, letter: bytes, key: str, earlier: asyncio.Task[None] | None) -> None:
        if earlier is not None:
            await earlier
        code, said = await letters.deliver(self.socket, letter)
        if code:
            watch.returns.say(f"what the job asked for was refused: {said}")
        watch.record.letters.append(key)
        watch.save()

    def _state(self, record: Record, state: str, reason: str, comment: str = "", **more: Any) -> None:
        """Tell a state of all members that have not begun."""
        for job_id in record.open:
            if not record.member(job_id).started:
                facts = {"state": state, "reason": reason, "comment": comment, **more}
                self._on_event({"ev": "state", "job_id": job_id, **facts})

    def _end(
        self, watch: Watch, job_id: int, state: str, code: int, exit_signal: int, reason: str, **more: Any
    ) -> None:
        """Tell a member's end, once."""
        member = watch.record.member(job_id)
        if member.ended:
            return
        member.ended = True
        watch.save()
        if not watch.record.open:
            watch.leave()
            for message in watch.returns.messages:
                watch.returns.append(f"slurmsky: {message}\n")
        facts = {"state": state, "exit_code": code, "exit_signal": exit_signal, "reason": reason}
        facts["run"], facts["node"] = watch.record.restart, ""
        self._on_event({"ev": "ended", "time": time.time(), "seq": 0, **more, "job_id": job_id, **facts})

    def _end_all(self, watch: Watch, state: str, exit_code: int, reason: str, comment: str = "") -> None:
        """Tell the end of all members that have not ended."""
        for job_id in watch.record.open:
            asked = watch.record.member(job_id).cancel
            self._end(watch, job_id, asked or state, exit_code, 0, reason, comment=comment)

    async def _judge_end(self, watch: Watch, event: Event) -> None:
        """The agent says that the job has ended.

        A SIGTERM that nobody here asked for means that SkyPilot lost or took the nodes: then its next status
        tells what it was.
        """
        record, job_id = watch.record, int(event["job_id"])
        if watch.mail is not None:
            await watch.mail  # it may say what the end means
        asked = record.member(job_id).cancel
        if event.get("by_signal") and not asked:
            for _ in range(24):
                await self._poll_gently(watch)
                if record.status in ("RECOVERING", "CANCELLING") or record.status in TERMINAL:
                    break
                await asyncio.sleep(POLL_S)
            if record.status == "RECOVERING":
                return  # _seen has dealt with it
            event["state"] = "CANCELLED"
        self._end(
            watch,
            job_id,
            asked if asked and event.get("by_signal") else str(event["state"]),
            int(event.get("exit_code", 0)),
            int(event.get("exit_signal", 0)),
            str(event.get("reason", "None")),
            time=event.get("time"),
            seq=event.get("seq", 0),
            derived_exit_code=event.get("derived_exit_code", 0),
            step=event.get("step"),
        )

    # --- a job's life

    async def _live(self, watch: Watch) -> None:
        """From launch to the end."""
        record = watch.record
        try:
            if record.phase in ("new", "launching") and not await self._launch(watch):
                return
            self._watch_states()
            if record.unwanted and not record.started:
                await self._cancel(watch)
            if record.started and record.open:
                self._open_desk(watch)
            await self._follow(watch)
            await self._release(watch)
        except EngineError as error:
            self._end_all(watch, "FAILED", 1, "JobLaunchFailure", str(error))

    async def _launch(self, watch: Watch) -> bool:
        """Launch, exactly once whatever happens on the way. False: it is over already."""
        record, carrier = watch.record, self._carrier(watch.record)
        yaml = (watch.folder / "task.yaml").read_text()
        asked_before = record.phase == "launching"
        for attempt in range(1 << 30):
            if record.phase == "over" or (record.unwanted and not asked_before):
                record.phase = "over"
                watch.save()
                self._end_all(watch, "CANCELLED", 0, "None")
                return False
            try:
                found = await carrier.find(record) if asked_before else 0
                if not found and record.unwanted and asked_before:
                    await self._release(watch)
                    return False
                if not found:
                    if record.blob_id:
                        await self.client.upload(record.blob_id, watch.folder / "ship.zip")
                    record.phase, asked_before = "launching", True
                    watch.save()
                    self._state(record, "PENDING", "Resources", "launching on SkyPilot")
                    found = await carrier.launch(record, yaml, watch.save)
                if found:
                    record.managed_job_id, record.phase = found, "launched"
                    watch.save()
                    self._launched(record)
                    return True
            except SkyError as error:
                if not error.passing:
                    kind = error.kind if isinstance(error, Rejected) else ""
                    reason = "BadConstraints" if "Resource" in kind or "NoCloud" in kind else "JobLaunchFailure"
                    self._end_all(watch, "FAILED", 1, reason, str(error))
                    await self._release(watch)
                    return False
                self._state(record, "PENDING", "Resources", f"waiting for SkyPilot: {error}")
            await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
        return False

    def _carrier(self, record: Record) -> Carrier:
        """What carries a job's nodes."""
        return self._clusters if record.cluster else self._managed_jobs

    def _launched(self, record: Record) -> None:
        """Tell what the job is on SkyPilot."""
        if record.cluster:
            record.status = "RUNNING"  # nobody says so later
            self._state(record, "CONFIGURING", "None", f"SkyPilot cluster {record.name}")
            return
        for job_id in record.open:
            facts = {"managed_job_id": record.managed_job_id, "name": record.name}
            self._on_event({"ev": "managed", "job_id": job_id, **facts})

    async def _release(self, watch: Watch) -> None:
        """It is over: what it had is given back, now or when the server answers again."""
        await self._insist(watch, self._carrier(watch.record).release)
        watch.record.phase = "over"
        watch.save()

    async def _follow(self, watch: Watch) -> None:
        """Read the job's log, again and again, until it has told its last word or SkyPilot its last
        status.
        """
        record, attempt = watch.record, 0
        while not watch.done and (record.open or record.started):
            if record.status in TERMINAL:
                await self._last_look(watch)
                return
            if record.status in ("", "PENDING", "SUBMITTED") and not record.started:
                await asyncio.sleep(PACE_S)  # there is no log before there are nodes
                continue
            began = time.monotonic()
            self._wait_to_follow += 1
            async with self._followers:
                self._wait_to_follow -= 1
                watch.reading = asyncio.ensure_future(self._read_log(watch))
                try:
                    await asyncio.wait([watch.reading])
                finally:
                    watch.reading.cancel()
                if not watch.reading.cancelled():
                    watch.reading.result()
            if not watch.done:
                attempt = 0 if time.monotonic() - began > 60 else attempt + 1
                await self._poll_gently(watch)
                await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])

    async def _read_log(self, watch: Watch) -> None:
        """Follow the log from its beginning until it ends, breaks, or is due for another job's."""
        watch.decoder.reconnect()
        watch.following = True
        began = time.monotonic()
        try:
            async for chunk in self._carrier(watch.record).logs(watch.record, follow=True):
                watch.feed(chunk)
                if watch.done or (self._wait_to_follow and time.monotonic() - began > HOLD_S):
                    break
        except SkyError as error:
            log.info("job %d: log: %s", watch.record.job_id, error)
        finally:
            watch.following = False
        watch.finish()

    async def _last_look(self, watch: Watch) -> None:
        """SkyPilot says that the job is over and the log has not told its end: read what is kept of it,
        then settle.
        """
        record = watch.record
        # SkyPilot fetches the log of an ended job after it has said that it ended.
        kept = record.status in ("SUCCEEDED", "FAILED") or (record.started and record.status != "GONE")
        for pause in LOG_FETCH_S if kept else (0,):
            await asyncio.sleep(pause)
            try:
                watch.decoder.reconnect()
                async for chunk in self._carrier(record).logs(record, follow=False):
                    watch.feed(chunk)
                watch.finish()
            except SkyError as error:
                log.info("job %d: log: %s", record.job_id, error)
            if watch.done or not record.open:
                return
        if watch.release():
            await asyncio.sleep(PACE_S)  # they are judged by now
        seen = sky_status.seen(record.status, failure=self._failures.get(record.name, ""))
        comment = "; ".join([*watch.broken, seen.comment]).strip("; ")
        self._end_all(watch, seen.state.name, seen.exit_code or 0, seen.reason, comment)

    async def _cancel(self, watch: Watch) -> None:
        await self._insist(watch, self._carrier(watch.record).cancel)

    async def _insist(self, watch: Watch, what: Callable[[Record], Awaitable[None]]) -> None:
        for pause in (0, *RETRY_S):
            await asyncio.sleep(pause)
            try:
                await what(watch.record)
                return
            except SkyError as error:
                if not error.passing:
                    raise
        raise EngineError("SkyPilot does not answer; the job is cancelled when it does")

    # --- states

    @property
    def _failures(self) -> dict[str, str]:
        if not hasattr(self, "_failure_texts"):
            self._failure_texts: dict[str, str] = {}
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
                managed = [watch for watch in active if not watch.record.cluster]
                if len(managed) >= MANY:
                    if now - last_queue >= self.site.sky.queue_poll_s:
                        last_queue = now
                        await self._poll_all(managed)
                    active = [watch for watch in active if watch.record.cluster]
                due = [watch for watch in active if now - watch.last_poll >= _gap_s(watch)]
                if due:
                    await self._poll_one(min(due, key=lambda watch: watch.last_poll))
            except SkyError as error:
                for watch in active:
                    self._state(watch.record, "PENDING", "Resources", str(error))
                await asyncio.sleep(10)

    async def _poll_gently(self, watch: Watch) -> None:
        """As _poll_one, where a server that is away is no reason to give up."""
        try:
            await self._poll_one(watch)
        except SkyError as error:
            log.info("job %d: %s", watch.record.job_id, error)

    async def _poll_one(self, watch: Watch) -> None:
        watch.last_poll = time.monotonic()
        record = watch.record
        asked = record.managed_job_id
        if record.phase != "launched":
            return
        found = await self._carrier(record).status(record, not watch.following)
        if (record.phase, record.managed_job_id) == ("launched", asked):
            self._seen(watch, *found)

    async def _poll_all(self, active: Sequence[Watch]) -> None:
        records = await self.client.queue([watch.record.managed_job_id for watch in active], fields=QUEUE_FIELDS)
        by_id = {record.get("job_id"): record for record in records}
        for watch in active:
            found = by_id.get(watch.record.managed_job_id)
            if found and watch.record.phase == "launched":
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
        said = details or failure
        changed = (status, said) != (record.status, record.said)
        news = status != record.status
        record.status, record.said = status, said
        if status in TERMINAL:
            self._failures[record.name] = failure
            if watch.reading is not None:
                asyncio.get_running_loop().call_later(LOG_END_S, watch.reading.cancel)
        if changed:
            watch.save()
        if not record.open:
            return
        if status == "RECOVERING":
            if news:
                self._lost(watch)
            return
        found = sky_status.seen(status, details or failure if status == "STARTING" else details, schedule, failure)
        if changed and not found.state.finished and not record.started:
            coming = JobFlag.CONFIGURING in found.flags or found.state is JobState.RUNNING
            self._state(record, "CONFIGURING" if coming else "PENDING", found.reason, said)

    def _lost(self, watch: Watch) -> None:
        """SkyPilot lost the nodes and starts the job again: a requeue, or the end where that is not
        wanted.
        """
        if not watch.record.requeue:
            self._spawn(self._cancel(watch))
            self._end_all(watch, "NODE_FAIL", 0, "NodeDown")
            return
        self._count_restart(watch)
        if not self.client.access.local and not watch.record.cluster:
            self._spawn(self._launch_anew(watch))

    async def _launch_anew(self, watch: Watch) -> None:
        """The job's next run as a managed job of its own.

        What a remote server was given stays as it was: only another shipment can tell the nodes how often the job
        was restarted, and which elements are left.
        """
        record = watch.record
        before = record.managed_job_id
        # Whatever becomes of that one is not to be taken for the job's end.
        record.phase, record.status = "launching", ""
        try:
            await self._cancel(watch)
        except EngineError as error:
            log.warning("job %d: %s; it goes on as SkyPilot started it", record.job_id, error)
            record.phase = "launched"
            return
        await asyncio.to_thread(shipment.ship_again, watch.folder, record)
        record.phase, record.managed_job_id = "new", 0
        if watch.reading is not None:
            watch.reading.cancel()
        watch.decoder.reconnect()
        watch.save()
        log.info("job %d: managed job %d lost its nodes and is launched again", record.job_id, before)
        await self._launch(watch)
        self._watch_states()

    def _count_restart(self, watch: Watch) -> None:
        """One more run, which has not begun."""
        record = watch.record
        record.restart += 1
        record.slots_taken = False
        record.control = ""
        watch.leave()
        for job_id in record.open:
            member = record.member(job_id)
            member.started, member.acked = False, 0
        watch.save()
        shipment.prepare_restart(watch.folder / "ship", record.restart, record.open)
        self._state(record, "REQUEUED", "NodeDown", "SkyPilot lost the nodes", restarts=record.restart)

    # --- helpers

    def _watch(self, job_id: int) -> Watch:
        watch = self._watches.get(job_id)
        if watch is None:
            raise EngineError(f"job {job_id} is not known to the SkyPilot engine")
        return watch

    async def _command(self, job_id: int, message: dict[str, Any]) -> None:
        watch = self._watch(job_id)
        try:
            await control.send(self._reach(watch).line, message)
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


def _gap_s(watch: Watch) -> float:
    """How long after one question for a job's state the next one is due."""
    if watch.record.cluster or (watch.record.started and watch.following):
        return RUNNING_POLL_S
    return POLL_S


def _modules(launch: Launch) -> tuple[str, ...]:
    """Names that the job's script loads: the site file may say an image or setup commands for them."""
    if launch.script is None:
        return ()
    try:
        lines = modulelines.parse(Path(launch.script).read_bytes())
    except OSError:
        return ()
    loads = ("load", "try-load", "load-any", "swap")
    return tuple(name for line in lines if line.action in loads for name in line.names)


def _images(launch: Launch) -> tuple[str, ...]:
    """Images that the steps of the job's script name."""
    try:
        data = Path(launch.script).read_bytes() if launch.script is not None else b""
    except OSError:
        return ()
    if b"container-image" not in data:
        return ()
    from ...translate.images import of_steps

    return of_steps(data.decode(errors="replace"))


def unique_name(job_name: str, job_id: int) -> str:
    """A name that no other managed job has: jobs are found again by it."""
    return f"{sky_name(job_name)}-s{job_id}-{uuid.uuid4().hex[:8]}"
