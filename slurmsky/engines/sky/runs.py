"""Runs of jobs on SkyPilot: launch, states, recovery, end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ... import paths
from ...model.allocation import Launch
from ...model.states import JobFlag, JobState
from ...protocol.messages import (
    Ended,
    EngineState,
    JobEvent,
    JobReachable,
    JobRequest,
    ManagedJobNamed,
    Started,
    TerminateJob,
)
from ...site import Site
from ..base import EngineDefaults, EngineError, OnEvent, background
from ..cloud import CloudAccount
from ..offers import Inventory
from ..relay import head_connection
from . import intervals
from .account.sky_account import SkyAccount
from .api.api_client import Client
from .api.api_errors import SkyError
from .head.head_sessions import HeadSessions
from .job_log import error_file, inbox
from .job_log.job_watch import JobWatch, Record
from .launch import shipment
from .launch.batch_launch import BatchLaunch
from .launch.batching import Batcher
from .launch.launch_backends import Clusters, LaunchBackend, ManagedJobBackend
from .launch.launcher import Launcher, NotLaunched
from .watch.ended_runs import EndedRuns
from .watch.log_followers import Followers
from .watch.state_poller import TERMINAL, StatePoller, StatusAnswer

log = logging.getLogger("slurmsky.sky")

#: Slurm's reason for an unavailable service; programs recognise it by the comma and the text after it
_NOT_AVAILABLE = "ReqNodeNotAvail"


class SkyRuns(EngineDefaults):
    """Base of SkyEngine: follows runs. ``home``: the state folder, of which the engine uses ``sky/``."""

    def __init__(
        self,
        home: Path,
        on_event: OnEvent,
        site: Site,
        client: Client,
        inventory: Callable[[], Inventory] = Inventory,
    ) -> None:
        self.folder = home / "sky"
        self.socket = home / paths.SOCKET_NAME
        self.site = site
        self.client = client
        self._on_event = on_event
        #: nodes of the infras in sinfo, while the inventory is recent enough for decisions
        self.inventory = inventory
        self.account: CloudAccount = SkyAccount(client)
        self._managed_jobs, self._clusters = ManagedJobBackend(client), Clusters(client)
        self._batches = BatchLaunch(client, self._managed_jobs)
        self._watches: dict[int, JobWatch] = {}
        self._sessions = HeadSessions(self.folder, self.socket, site.sky)
        self._arrays: dict[int, Batcher[Launch]] = {}  # elements that start together, by array
        self._starting: dict[int, asyncio.Future[None]] = {}  # jobs whose shipment is being prepared
        self._tasks: set[asyncio.Task[None]] = set()
        self._launcher = Launcher(self._backend)
        self._ended = EndedRuns(self.folder / "ended", self._launcher.cancel)
        self._states = StatePoller(
            client, site.sky.queue_poll_s, lambda: [*self._watches.values(), *self._ended], self._backend,
            self._status_reported, self._server_unavailable, self._status_after_end, self._ended.nodes_released,
        )  # fmt: skip
        self._followers = Followers(self._backend, self._states)

    # --- events to the controller

    def _report(self, event: JobEvent) -> None:
        job_id = event.job_id
        watch = self._watches[job_id]
        member = watch.record.member(job_id)
        if member.ended:
            return
        if isinstance(event, Ended):
            self._spawn(self._check_end(watch, event))
            return
        if isinstance(event, Started):
            self._open_session(watch)
            if not watch.record.slots_taken:
                watch.record.slots_taken = True
                waits = EngineState(reason="JobArrayTaskLimit", comment=watch.record.status_text)
                self._state(watch.record, waits)
            if member.cancel:
                self._spawn(self.terminate(job_id, member.cancel, 15, 30))
        # The restart count is ours: SkyPilot cannot update the shipment at a remote server after a restart.
        self._on_event(event.evolve(run=watch.record.restart, node=""))

    def _open_session(self, watch: JobWatch) -> None:
        record = watch.record

        def here() -> None:
            for job_id in record.open:
                self._on_event(JobReachable(job_id=job_id, run=record.restart))

        self._sessions.open(watch, here)

    def _take_requests(self, watch: JobWatch) -> None:
        """Run the requests in the job's log sequentially."""

        def post(request: bytes, key: str) -> None:
            watch.mail = background(self._deliver(watch, request, key, watch.mail))

        watch.post = post
        watch.recovered = lambda: self._recovered(watch)

    async def _deliver(self, watch: JobWatch, request: bytes, key: str, earlier: asyncio.Task[None] | None) -> None:
        if earlier is not None:
            await earlier
        code, refusal = await inbox.deliver(self.socket, request)
        if code:
            watch.output_sync.add_message(f"a request of the job was refused: {refusal}")
        watch.record.delivered.append(key)
        watch.save()

    def _state(self, record: Record, state: EngineState) -> None:
        """Report a state for all members that have not started."""
        for job_id in record.open:
            if not record.member(job_id).started:
                self._on_event(state.evolve(job_id=job_id))

    def _end(self, watch: JobWatch, event: Ended) -> None:
        """Report a member's end, once."""
        job_id = event.job_id
        member = watch.record.member(job_id)
        if member.ended:
            return
        event = event.evolve(run=watch.record.restart, node="")
        member.ended, member.end = True, event.encode()
        try:
            shipment.note_end(watch.folder / "ship", job_id, event.process_exit_code)
        except OSError as error:
            log.warning("job %d: its end is not in what a relaunch reads: %s", job_id, error)
        watch.save()
        if not member.started and event.state != "CANCELLED" and event.comment:
            error_file.explain_run(watch, job_id, event.comment)
        if not watch.record.open:
            self._sessions.leave(watch)
            for message in watch.output_sync.messages:
                watch.output_sync.append(f"slurmsky: {message}\n")
        self._on_event(event)

    def _end_all(self, watch: JobWatch, state: str, exit_code: int, reason: str, comment: str = "") -> None:
        """Report the end of all members that have not ended."""
        for job_id in watch.record.open:
            state_of = watch.record.member(job_id).cancel or state
            end = Ended(job_id=job_id, state=state_of, exit_code=exit_code, reason=reason, comment=comment)
            self._end(watch, end.evolve(time=time.time()))

    async def _check_end(self, watch: JobWatch, event: Ended) -> None:
        """Process a job's end that the agent reports.

        A SIGTERM that no client requested means that SkyPilot lost or took the nodes: SkyPilot's next status shows
        which.
        """
        record, job_id = watch.record, event.job_id
        if watch.mail is not None:
            await watch.mail  # an in-job request may explain the end
        requested = record.member(job_id).cancel
        if event.by_signal and not requested:
            session = record.session
            for _ in range(24):
                await self._states.query_job(watch)
                if record.session != session:
                    return  # SkyPilot has launched the run again on the same nodes, without a status
                if record.status in ("RECOVERING", "CANCELLING") or record.status in TERMINAL:
                    break
                await asyncio.sleep(intervals.POLL_S)
            if record.status == "RECOVERING" or (event.state == "NODE_FAIL" and record.status not in TERMINAL):
                return  # _status_reported processes the end: SkyPilot may still report an exit code
        if event.by_signal:
            event = event.evolve(state=requested or "CANCELLED")
        self._end(watch, event)

    # --- life of a job

    async def _run_job(self, watch: JobWatch) -> None:
        """Run the job from launch to end."""
        record = watch.record
        try:
            if record.phase in ("new", "launching") and not await self._launch(watch):
                return
            self._states.begin()
            if record.must_end and not record.started:
                await self._launcher.cancel(watch)
            if record.started and record.open:
                self._open_session(watch)
            if not await self._followers.follow(watch):
                await self._read_final_log(watch)
            await self._launcher.release(watch)
            if record.phase == "ending":
                self._watch_ended(watch)
        except EngineError as error:
            self._end_all(watch, "FAILED", 1, "JobLaunchFailure", str(error))

    def _watch_ended(self, watch: JobWatch) -> None:
        """Watch an ended run until SkyPilot has taken its nodes down."""
        self._ended.add(watch)
        self._states.begin()

    async def _launch(self, watch: JobWatch) -> bool:
        """Launch the job. Return False if the job has ended."""
        record = watch.record

        def say(text: str, error: SkyError | None) -> None:
            if error is None:
                self._state(record, EngineState(reason="Resources", comment=text))
            else:
                self._server_unavailable(watch, error)

        try:
            launched = await self._launcher.launch(watch, say)
        except NotLaunched as error:
            self._end_all(watch, "FAILED", 1, error.reason, str(error))
            await self._launcher.release(watch)
            return False
        if launched:
            self._launched(record)
        else:
            self._end_all(watch, "CANCELLED", 0, "None")
        return launched

    def _backend(self, record: Record) -> LaunchBackend:
        """Return the backend that provides a job's nodes."""
        if record.cluster:
            return self._clusters
        return self._batches if record.batch_folder else self._managed_jobs

    def _launched(self, record: Record) -> None:
        """Report the job's id and name at SkyPilot."""
        if record.cluster:
            record.status = "RUNNING"  # no later status reports it
            notes = filter(None, (f"SkyPilot cluster {record.name}", record.note))
            self._state(record, EngineState(state="CONFIGURING", reason="None", comment="; ".join(notes)))
            return
        for job_id in record.open:
            named = ManagedJobNamed(job_id=job_id, managed_job_id=record.managed_job_id, name=record.name)
            self._on_event(named.evolve(note=record.note))

    async def _read_final_log(self, watch: JobWatch) -> None:
        """Report a job's end from its stored log, else from SkyPilot.

        SkyPilot reports the job as ended, but the followed log has no end.
        """
        if await self._followers.fetch(watch):
            return
        record = watch.record
        if watch.report_held_ends():
            await asyncio.sleep(intervals.PACE_S)  # the held ends are processed by now
        seen = self._states.final_status(record)
        comment = "; ".join([*watch.broken, seen.comment]).strip("; ")
        code = int(seen.state is JobState.FAILED) if seen.exit_code is None else seen.exit_code
        self._end_all(watch, seen.state.name, code, seen.reason, comment)

    # --- states

    def _status_reported(self, watch: JobWatch, answer: StatusAnswer, status_changed: bool) -> None:
        """Process a new status of a job from SkyPilot."""
        record = watch.record
        if answer.status == "RECOVERING":
            if status_changed:
                self._lost(watch)
            return
        seen = answer.mapped_status
        if not seen.state.finished and not record.started:
            coming = JobFlag.CONFIGURING in seen.flags or seen.state is JobState.RUNNING
            state = "CONFIGURING" if coming else "PENDING"
            self._state(record, EngineState(state=state, reason=seen.reason, comment=record.status_text))

    def _status_after_end(self, watch: JobWatch, answer: StatusAnswer) -> None:
        self._spawn(self._ended.status_changed(watch, answer))

    def _server_unavailable(self, watch: JobWatch, error: SkyError) -> None:
        """Report that the job waits for the server, not for nodes."""
        desc = f"{_NOT_AVAILABLE}, {error.waits_for}"
        waits = EngineState(reason=_NOT_AVAILABLE, comment=f"waiting for SkyPilot: {error}", desc=desc)
        self._state(watch.record, waits)

    def _lost(self, watch: JobWatch) -> None:
        """Requeue or end a job whose nodes SkyPilot lost."""
        if self._recovered(watch) and not self.client.access.local and not watch.record.cluster:
            self._spawn(self._relaunch(watch))

    def _recovered(self, watch: JobWatch) -> bool:
        """Handle the start of another run. Return False if the job must not be requeued, and has ended."""
        if watch.record.requeue:
            self._count_restart(watch)
            return True
        self._spawn(self._launcher.cancel(watch))
        self._end_all(watch, "NODE_FAIL", 0, "NodeDown")
        return False

    async def _relaunch(self, watch: JobWatch) -> None:
        """Launch the job's next run as a new managed job.

        The shipment at a remote server cannot be changed: only a new shipment can give the nodes the restart count and
        the remaining elements.
        """
        record = watch.record
        before = record.managed_job_id
        # The cancelled managed job's status must not count as the job's end.
        record.phase, record.status = "launching", ""
        try:
            await self._launcher.cancel(watch)
        except EngineError as error:
            log.warning("job %d: %s; it continues as SkyPilot started it", record.job_id, error)
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
        self._states.begin()

    def _count_restart(self, watch: JobWatch) -> None:
        """Count a restart, before the new run starts."""
        record = watch.record
        record.restart += 1
        record.slots_taken = False
        record.control = ""
        self._sessions.leave(watch)
        for job_id in record.open:
            member = record.member(job_id)
            member.started, member.acked = False, 0
        watch.save()
        shipment.prepare_restart(watch.folder / "ship", record.restart, record.open, record.rank)
        again = EngineState(state="REQUEUED", reason="NodeDown", comment="SkyPilot lost the nodes")
        self._state(record, again.evolve(restarts=record.restart))

    # --- requests to the first node

    async def terminate(self, job_id: int, state: str, signal: int, kill_wait_s: int) -> None:
        """End the job through its first node, else through SkyPilot.

        The first node is faster and ends the job gracefully.
        """
        watch = await self._prepared_watch(job_id)
        member = watch.record.member(job_id)
        member.cancel = state
        watch.save()
        if watch.record.control:
            request = TerminateJob(job_id=job_id, state=state, signal=signal, kill_wait_s=kill_wait_s)
            try:
                await self._command(job_id, request)
                return
            except EngineError as error:
                log.info("job %d: %s", job_id, error)
        if watch.record.must_end:
            if watch.record.managed_job_id or watch.record.request_id:
                await self._launcher.cancel(watch)
            elif watch.record.phase == "new":
                watch.record.phase = "over"
        if not member.started:
            self._end(watch, Ended(job_id=job_id, state=state, reason="None", time=time.time()))
        elif not watch.record.must_end:
            raise EngineError(f"the nodes of job {job_id} cannot be reached, and other elements run on them")

    async def _prepared_watch(self, job_id: int) -> JobWatch:
        """Return the job's watch, once its shipment is ready. A request that arrives earlier must not be lost."""
        if job_id in self._starting:
            await self._starting[job_id]
        watch = self._watches.get(job_id)
        if watch is None:
            raise EngineError(f"job {job_id} is not known to the SkyPilot engine")
        return watch

    async def _command(self, job_id: int, request: JobRequest) -> None:
        watch = await self._prepared_watch(job_id)
        try:
            await self._sessions.send(watch, request)
        except head_connection.HeadUnreachable as error:
            raise EngineError(f"the nodes of job {job_id} cannot be reached from here: {error}") from error

    def _spawn(self, coroutine: Any) -> None:
        task = background(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
