"""The SkyPilot engine: launches jobs exactly once, polls them cheaply, follows their logs, and ends them."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ... import paths
from ...model.allocation import Launch
from ...model.job import Job, Node
from ...model.spec import JobSpec
from ...model.states import JobFlag, JobState
from ...protocol.messages import (
    Ended,
    EngineState,
    Event,
    JobEvent,
    JobReachable,
    JobRequest,
    LimitJob,
    ManagedJobNamed,
    Missing,
    ResumeJob,
    SignalJob,
    Started,
    SuspendJob,
    TerminateJob,
)
from ...site import Site
from ...translate.credentials import redacted
from ...translate.notes import NODE_CONFIG, Refused
from ...translate.sky_components import plan_all
from ...translate.task import SkyTask, plan
from ..base import EngineError, OnEvent, Unable, background, cancel_all
from ..cloud import CloudAccount, PriceQuestion
from ..offers import Inventory
from . import array_packs, error_file, feasibility, head_connection, inbox, intervals, prices, reached, shipment
from .account import SkyAccount
from .api_client import Client
from .api_errors import Rejected, SkyError
from .api_server import enabled_infra
from .batch_launch import BatchLaunch
from .batching import Batcher
from .ended import EndedRuns
from .head_session import HeadNodeSession
from .job_watch import JobWatch, Member, Record
from .launch_backends import Clusters, LaunchBackend, ManagedJobBackend
from .launcher import Launcher, NotLaunched
from .log_followers import Followers
from .preparation import prepare, prepare_batch, task_of
from .state_poller import TERMINAL, StatePoller, StatusAnswer
from .user_config import ConfigError

log = logging.getLogger("slurmsky.sky")


#: Slurm's reason for an unavailable service; programs recognise it by the comma and the text after it
_NOT_AVAILABLE = "ReqNodeNotAvail"
#: seconds that a command waits for the server's health
_PROBE_S = 2.0


class SkyEngine:
    """Implements engines.base.Engine on an API server.

    ``home``: the state folder, of which the engine uses ``sky/``.
    """

    name = "sky"
    places = False

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
        #: the infras' nodes as sinfo lists them, while the inventory is recent enough for decisions
        self.inventory = inventory
        self.account: CloudAccount = SkyAccount(client)
        self._managed_jobs, self._clusters = ManagedJobBackend(client), Clusters(client)
        self._batches = BatchLaunch(client, self._managed_jobs)
        self._watches: dict[int, JobWatch] = {}
        self._head_sessions: dict[Path, HeadNodeSession] = {}  # by the run's folder
        self._arrays: dict[int, Batcher[Launch]] = {}  # elements that start together, by array
        self._starting: dict[int, asyncio.Future[None]] = {}  # jobs whose shipment is being prepared
        self._tasks: set[asyncio.Task[None]] = set()
        self._launcher = Launcher(self._backend)
        self._ended = EndedRuns(self.folder / "ended", self._launcher.cancel)
        self._states = StatePoller(
            client, site.sky.queue_poll_s, lambda: [*self._watches.values(), *self._ended], self._backend,
            self._status_reported, self._server_unavailable, self._status_after_end, self._ended.gone,
        )  # fmt: skip
        self._followers = Followers(self._backend, self._states)

    # --- requests of the controller

    async def start(self, launch: Launch) -> None:
        """Prepare the job's shipment, have SkyPilot validate the task, and launch it in the background.

        A run that an earlier controller started is found again instead. Elements of an array that start at the same
        time are launched together: elements that need one node each share nodes as a pack, which is one managed job;
        the others become one managed job each, launched by one request.
        """
        while launch.job_id in self._starting:
            await self._starting[launch.job_id]
        begun = self._starting[launch.job_id] = asyncio.get_running_loop().create_future()
        try:
            await self._start(launch)
        except EngineError as error:
            error_file.explain(launch, str(error))
            raise
        finally:
            del self._starting[launch.job_id]
            begun.set_result(None)

    async def _start(self, launch: Launch) -> None:
        known = self._watches.get(launch.job_id)
        if known is not None and not known.record.member(launch.job_id).ended:
            return
        pointer = self._pointer(launch.job_id, launch.restart_count)
        if pointer.exists():  # not in a thread: elements are gathered in the order of their starts
            folder = Path(await asyncio.to_thread(pointer.read_text))
            self._resume(await asyncio.to_thread(JobWatch.load, folder, self._tell))
            self._repeat_end(self._watches[launch.job_id].record.member(launch.job_id))
            return
        if array_packs.first_run(launch):
            gatherer = self._arrays.setdefault(launch.array_job_id, Batcher(self._start_elements))
            await gatherer.add(launch)
        else:
            await self._prepare(launch, task_of(launch, self.site), [launch])

    async def _start_elements(self, elements: list[Launch]) -> None:
        for group in array_packs.alike(elements):
            task = task_of(group[0], self.site)
            partition = self.site.cluster.partition(group[0].partition)
            if array_packs.packs(group[0].spec, task):
                for part, slots in array_packs.split(group, task, partition, self.site):
                    await self._prepare(part[0], array_packs.sized(task, slots), part, slots)
            elif len(group) > 1:
                await self._prepare_batch(group, task)
            else:
                await self._prepare(group[0], task, group)

    async def _prepare(self, launch: Launch, task: SkyTask, members: list[Launch], slots: int = 0) -> None:
        """Prepare and start a run; the launch continues in the background."""
        upload = not self.client.access.local
        folder = await prepare(launch, task, members, slots, home=self.folder, site=self.site, upload=upload)
        await self._go(folder, [(folder, members)])

    async def _prepare_batch(self, elements: list[Launch], task: SkyTask) -> None:
        """Prepare and start elements that are one managed job each."""
        upload = not self.client.access.local
        shared, folders = await prepare_batch(elements, task, home=self.folder, site=self.site, upload=upload)
        await self._go(shared, [(folder, [element]) for folder, element in zip(folders, elements, strict=True)])

    async def _go(self, about: Path, runs: Sequence[tuple[Path, Sequence[Launch]]]) -> None:
        """Have SkyPilot validate the task in the folder ``about``, and launch it.

        ``runs``: folder and members of each job that the task launches.
        """
        problem: SkyError | None = None
        try:
            project = Path(runs[0][1][0].submit_dir)
            await self.client.validate(await asyncio.to_thread((about / "task.yaml").read_text), project)
        except Rejected as error:
            raise EngineError(f"SkyPilot refused the job: {error}") from error
        except SkyError as error:
            problem = error
        watches = await asyncio.to_thread(self._begin_watches, runs)
        for watch, (_, members) in zip(watches, runs, strict=True):
            self._take_requests(watch)
            if problem is not None:
                self._server_unavailable(watch, problem)
            for member in members:
                self._watches[member.job_id] = watch
        for watch in watches:
            self._spawn(self._live(watch))

    def _begin_watches(self, runs: Sequence[tuple[Path, Sequence[Launch]]]) -> list[JobWatch]:
        """Watches of new runs, whose folders are named in a file for each member."""
        watches = []
        for folder, members in runs:
            watches.append(JobWatch.load(folder, self._tell))
            for member in members:
                pointer = self._pointer(member.job_id, member.restart_count)
                pointer.parent.mkdir(parents=True, exist_ok=True)
                pointer.write_text(str(folder))
        return watches

    def _pointer(self, job_id: int, restart: int) -> Path:
        """The file that names the folder of a job's run, or of the run of the job's pack."""
        return self.folder / str(job_id) / f"where{restart}"

    async def signal(self, job_id: int, signal: int, target: str) -> None:
        await self._command(job_id, SignalJob(job_id=job_id, signal=signal, target=target))

    async def suspend(self, job_id: int) -> None:
        await self._command(job_id, SuspendJob(job_id=job_id))

    async def resume(self, job_id: int) -> None:
        await self._command(job_id, ResumeJob(job_id=job_id))

    async def shrink(self, job_id: int, nodes: Sequence[str]) -> None:
        """Refuse: SkyPilot gives nodes back only when the job has ended."""
        raise EngineError("the nodes of a job cannot be given back one by one")

    async def limit(self, job_id: int, end_time: float | None, step_id: str = "") -> None:
        await self._command(job_id, LimitJob(job_id=job_id, end_time=end_time, step=step_id))

    async def terminate(self, job_id: int, state: str, signal: int, kill_wait_s: int) -> None:
        """End the job: through its own node where reachable, which is fast and graceful; else through SkyPilot."""
        watch = await self._packed(job_id)
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
        if watch.record.unwanted:
            if watch.record.managed_job_id or watch.record.request_id:
                await self._launcher.cancel(watch)
            elif watch.record.phase == "new":
                watch.record.phase = "over"
        if not member.started:
            self._end(watch, Ended(job_id=job_id, state=state, reason="None", time=time.time()))
        elif not watch.record.unwanted:
            raise EngineError(f"the nodes of job {job_id} cannot be reached, and other elements run on them")

    def check(self, components: Sequence[tuple[JobSpec, str]]) -> None:
        """Raise Unable for a job that no SkyPilot node can run."""
        try:
            task = plan_all(components, self.site)
        except Refused as error:
            raise Unable(str(error), error.hint) from error
        if task.pool:
            return
        problem = feasibility.objection(task.fields["resources"], *self.inventory(), self._grows)
        if problem:
            raise Unable(NODE_CONFIG, problem)

    def _grows(self, context: str) -> bool:
        """Whether an autoscaler may extend a Kubernetes cluster; the configuration of another machine's server is
        unknown.
        """
        if not self.client.access.local:
            return True
        try:
            return self.client.config is not None and feasibility.autoscaled(self.client.config.sent(), context)
        except ConfigError:
            return True

    def packs(self, spec: JobSpec, partition: str) -> bool:
        """Whether elements share nodes.

        They then start together, and the nodes run them one after the other, %N at a time.
        """
        try:
            return array_packs.packs(spec, plan(spec, self.site, partition))
        except Refused:
            return False

    def acks(self, node: str, acks: list[tuple[int, int, int]]) -> None:
        """Acknowledge events: the controller has committed those of these jobs' runs up to these numbers."""
        for job_id, run, seq in acks:
            watch = self._watches.get(job_id)
            if watch is not None and watch.record.restart == run:
                member = watch.record.member(job_id)
                member.acked = max(member.acked, seq)
                watch.save_soon()

    async def recover(self, jobs: Iterable[Job]) -> None:
        """Find the jobs of an earlier controller again, from their records."""
        for job, watch in await asyncio.to_thread(self._stored_watches, list(jobs)):
            if watch is None:
                self._on_event(Missing(job_id=job.job_id, run=job.restarts))
            elif job.job_id not in self._watches:
                self._resume(watch)
            if job.job_id in self._watches:
                self._repeat_end(self._watches[job.job_id].record.member(job.job_id))
        for folder in await asyncio.to_thread(self._ended.remembered):
            self._watch_ended(await asyncio.to_thread(JobWatch.load, folder, self._tell))

    def _stored_watches(self, jobs: Iterable[Job]) -> list[tuple[Job, JobWatch | None]]:
        """The watch of each job's latest run, one for all members of a pack; None: the run was not launched."""
        watches: dict[str, JobWatch] = {}
        found: list[tuple[Job, JobWatch | None]] = []
        for job in jobs:
            pointers = sorted((self.folder / str(job.job_id)).glob("where*"), key=lambda path: path.stat().st_mtime)
            run = pointers[-1].read_text() if pointers else ""
            if run and run not in watches:
                watches[run] = JobWatch.load(Path(run), self._tell)
            found.append((job, watches.get(run)))
        return found

    def _repeat_end(self, member: Member) -> None:
        """Report a member's end again: the controller may have died before it committed the first report."""
        if member.end:
            self._on_event(Event.decode(member.end))
        else:
            member.ended = False  # reported by a version that did not store it: read it from the log again

    def _resume(self, watch: JobWatch) -> None:
        """Go on with a run of an earlier controller."""
        self._take_requests(watch)
        for job_id in watch.record.members:
            self._watches[int(job_id)] = watch
        if watch.record.phase == "ending":
            self._watch_ended(watch)
        elif watch.record.phase == "over":
            self._spawn(self._last_look(watch))
        else:
            self._spawn(self._live(watch))

    def agent_address(self, job_id: int) -> str | None:
        """A local socket that forwards to the job's first node, once the node has reported its address."""
        watch = self._watches.get(job_id)
        session = self._head_sessions.get(watch.folder) if watch is not None else None
        return session.address if session is not None else None

    def out_of_reach(self, job_id: int) -> str:
        watch = self._watches.get(job_id)
        session = self._head_sessions.get(watch.folder) if watch is not None else None
        if session is None or not session.problem:
            return ""
        return f"the nodes of job {job_id} cannot be reached from this machine ({session.problem}): only scancel works"

    def price_question(self, components: Sequence[tuple[JobSpec, str]]) -> PriceQuestion | None:
        """The key that jobs of equal price share, and a function that queries SkyPilot for it; None: infeasible."""
        try:
            task = plan_all(components, self.site)
        except Refused:
            return None
        text = prices.question(task.fields)
        return text, lambda: prices.hourly_price(self.client, text)

    def clusters(self) -> dict[int, str]:
        """Jobs that hold a SkyPilot cluster of their own, with the cluster's name."""
        return {job_id: watch.record.name for job_id, watch in self._watches.items() if watch.record.cluster}

    def names(self) -> set[str]:
        """SkyPilot names of all jobs that this engine has launched, or will launch, and still follows."""
        return {watch.record.name for watch in self._watches.values()}

    async def problem(self) -> str:
        error = await self.client.probe(_PROBE_S)
        return f"SkyPilot: {error}" if error is not None else ""

    async def describe(self) -> list[tuple[bool, str]]:
        client, access = self.client, self.client.access
        place = redacted(access.endpoint)
        ago = f"{time.time() - client.answered_at:.0f} s ago" if client.answered_at else "never"
        try:
            health = await asyncio.wait_for(client.health(fresh=True), _PROBE_S)
        except (SkyError, asyncio.TimeoutError) as error:
            said = str(error) or f"no answer within {_PROBE_S:g} s"
            return [(False, f"SkyPilot at {place}: {said}; it answered {ago}")]
        words = f"version {health.get('version') or '?'}, API version {health.get('api_version')}"
        found = [(True, f"SkyPilot at {place}: {words}; it answered before that {ago}")]
        try:
            infras = await asyncio.wait_for(enabled_infra(client), 10 * _PROBE_S)
        except (SkyError, asyncio.TimeoutError) as error:
            return [*found, (False, f"SkyPilot login and infras: {error or 'no answer'}")]
        enabled = ", ".join(infras) or "none (sky check)"
        return [*found, (bool(infras), f"SkyPilot takes requests of user {access.user}; enabled infras: {enabled}")]

    def lingers(self) -> bool:
        """Whether SkyPilot has not taken down the nodes of all ended jobs."""
        return bool(self._ended)

    def nodes(self) -> list[Node]:
        """SkyPilot's nodes exist only while their jobs do; the controller learns their names from ``started``."""
        return []

    def ready_in(self, nodes: Iterable[str]) -> float:
        """0.0: nodes are created with their jobs, so no job waits for a node that is off."""
        return 0.0

    async def close(self) -> None:
        """Close the engine; jobs keep running."""
        await self._states.close()
        for watch in self._watches.values():
            self._leave(watch)
        await cancel_all(self._tasks)
        for watch in self._watches.values():
            watch.close()
        await self.client.close()

    # --- events to the controller

    def _tell(self, event: JobEvent) -> None:
        job_id = event.job_id
        watch = self._watches[job_id]
        member = watch.record.member(job_id)
        if member.ended:
            return
        if isinstance(event, Ended):
            self._spawn(self._judge_end(watch, event))
            return
        if isinstance(event, Started):
            self._open_head_session(watch)
            if not watch.record.slots_taken:
                watch.record.slots_taken = True
                waits = EngineState(reason="JobArrayTaskLimit", comment=watch.record.said)
                self._state(watch.record, waits)
            if member.cancel:
                self._spawn(self.terminate(job_id, member.cancel, 15, 30))
        # The restart count is ours: SkyPilot cannot update the shipment at a remote server after a restart.
        self._on_event(event.but(run=watch.record.restart, node=""))

    def _open_head_session(self, watch: JobWatch) -> None:
        record = watch.record

        def here() -> None:
            for job_id in record.open:
                self._on_event(JobReachable(job_id=job_id, run=record.restart))

        if record.control:
            self._head_session(watch).open(record.control, record.name if record.cluster else "", here)

    def _head_session(self, watch: JobWatch) -> HeadNodeSession:
        """The session with the first node of a job's run."""
        session = self._head_sessions.get(watch.folder)
        if session is None:
            sky, on_attempt = self.site.sky, functools.partial(reached.note, self.folder, watch.record.kind)
            session = HeadNodeSession(watch.folder, self.socket, sky.reach, on_attempt, sky.credentials)
            self._head_sessions[watch.folder] = session
        return session

    def _leave(self, watch: JobWatch) -> None:
        session = self._head_sessions.pop(watch.folder, None)
        if session is not None:
            session.close()

    def _take_requests(self, watch: JobWatch) -> None:
        """Run the requests in the job's log, one after the other."""

        def post(request: bytes, key: str) -> None:
            watch.mail = background(self._deliver(watch, request, key, watch.mail))

        watch.post = post
        watch.recovered = lambda: self._recovered(watch)

    async def _deliver(self, watch: JobWatch, request: bytes, key: str, earlier: asyncio.Task[None] | None) -> None:
        if earlier is not None:
            await earlier
        code, said = await inbox.deliver(self.socket, request)
        if code:
            watch.output_sync.say(f"what the job asked for was refused: {said}")
        watch.record.delivered.append(key)
        watch.save()

    def _state(self, record: Record, state: EngineState) -> None:
        """Report a state for all members that have not started."""
        for job_id in record.open:
            if not record.member(job_id).started:
                self._on_event(state.but(job_id=job_id))

    def _end(self, watch: JobWatch, event: Ended) -> None:
        """Report a member's end, once."""
        job_id = event.job_id
        member = watch.record.member(job_id)
        if member.ended:
            return
        event = event.but(run=watch.record.restart, node="")
        member.ended, member.end = True, event.encode()
        try:
            shipment.note_end(watch.folder / "ship", job_id, event.process_exit_code)
        except OSError as error:
            log.warning("job %d: its end is not in what a relaunch reads: %s", job_id, error)
        watch.save()
        if not member.started and event.state != "CANCELLED" and event.comment:
            error_file.explain_run(watch, job_id, event.comment)
        if not watch.record.open:
            self._leave(watch)
            for message in watch.output_sync.messages:
                watch.output_sync.append(f"slurmsky: {message}\n")
        self._on_event(event)

    def _end_all(self, watch: JobWatch, state: str, exit_code: int, reason: str, comment: str = "") -> None:
        """Report the end of all members that have not ended."""
        for job_id in watch.record.open:
            state_of = watch.record.member(job_id).cancel or state
            end = Ended(job_id=job_id, state=state_of, exit_code=exit_code, reason=reason, comment=comment)
            self._end(watch, end.but(time=time.time()))

    async def _judge_end(self, watch: JobWatch, event: Ended) -> None:
        """Process a job's end as the agent reports it.

        A SIGTERM that no client requested means that SkyPilot lost or took the nodes: SkyPilot's next status shows
        which.
        """
        record, job_id = watch.record, event.job_id
        if watch.mail is not None:
            await watch.mail  # an in-job request may explain the end
        asked = record.member(job_id).cancel
        if event.by_signal and not asked:
            session = record.session
            for _ in range(24):
                await self._states.ask(watch)
                if record.session != session:
                    return  # SkyPilot has launched the run again on the same nodes, without a status
                if record.status in ("RECOVERING", "CANCELLING") or record.status in TERMINAL:
                    break
                await asyncio.sleep(intervals.POLL_S)
            if record.status == "RECOVERING":
                return  # _status_changed has processed it
        if event.by_signal:
            event = event.but(state=asked or "CANCELLED")
        self._end(watch, event)

    # --- life of a job

    async def _live(self, watch: JobWatch) -> None:
        """Run the job from launch to end."""
        record = watch.record
        try:
            if record.phase in ("new", "launching") and not await self._launch(watch):
                return
            self._states.begin()
            if record.unwanted and not record.started:
                await self._launcher.cancel(watch)
            if record.started and record.open:
                self._open_head_session(watch)
            if not await self._followers.follow(watch):
                await self._last_look(watch)
            await self._launcher.release(watch)
            if record.phase == "ending":
                self._watch_ended(watch)
        except EngineError as error:
            self._end_all(watch, "FAILED", 1, "JobLaunchFailure", str(error))

    def _watch_ended(self, watch: JobWatch) -> None:
        """Watch a run that has ended in slurmsky until SkyPilot has taken its nodes down."""
        self._ended.add(watch)
        self._states.begin()

    async def _launch(self, watch: JobWatch) -> bool:
        """Launch the job. False: the job is already over."""
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
        """The backend that provides a job's nodes."""
        if record.cluster:
            return self._clusters
        return self._batches if record.batch_folder else self._managed_jobs

    def _launched(self, record: Record) -> None:
        """Report the job's id and name at SkyPilot."""
        if record.cluster:
            record.status = "RUNNING"  # no later status reports it
            said = filter(None, (f"SkyPilot cluster {record.name}", record.note))
            self._state(record, EngineState(state="CONFIGURING", reason="None", comment="; ".join(said)))
            return
        for job_id in record.open:
            named = ManagedJobNamed(job_id=job_id, managed_job_id=record.managed_job_id, name=record.name)
            self._on_event(named.but(note=record.note))

    async def _last_look(self, watch: JobWatch) -> None:
        """Report the end of a job that SkyPilot reports as ended although the followed log has no end.

        The stored log is read first.
        """
        if await self._followers.fetch(watch):
            return
        record = watch.record
        if watch.release():
            await asyncio.sleep(intervals.PACE_S)  # the held ends are processed by now
        seen = self._states.verdict(record)
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
        seen = answer.seen
        if not seen.state.finished and not record.started:
            coming = JobFlag.CONFIGURING in seen.flags or seen.state is JobState.RUNNING
            state = "CONFIGURING" if coming else "PENDING"
            self._state(record, EngineState(state=state, reason=seen.reason, comment=record.said))

    def _status_after_end(self, watch: JobWatch, answer: StatusAnswer) -> None:
        self._spawn(self._ended.status_changed(watch, answer))

    def _server_unavailable(self, watch: JobWatch, error: SkyError) -> None:
        """SkyPilot does not answer: report that the job waits for the server, not for nodes."""
        desc = f"{_NOT_AVAILABLE}, {error.waits_for}"
        waits = EngineState(reason=_NOT_AVAILABLE, comment=f"waiting for SkyPilot: {error}", desc=desc)
        self._state(watch.record, waits)

    def _lost(self, watch: JobWatch) -> None:
        """SkyPilot lost the nodes and restarts the job: requeue it, or end it if it must not be requeued."""
        if self._recovered(watch) and not self.client.access.local and not watch.record.cluster:
            self._spawn(self._launch_anew(watch))

    def _recovered(self, watch: JobWatch) -> bool:
        """Handle the start of another run. False: the job must not be requeued, and has ended."""
        if watch.record.requeue:
            self._count_restart(watch)
            return True
        self._spawn(self._launcher.cancel(watch))
        self._end_all(watch, "NODE_FAIL", 0, "NodeDown")
        return False

    async def _launch_anew(self, watch: JobWatch) -> None:
        """Launch the job's next run as a new managed job.

        The shipment at a remote server cannot be changed: only a new shipment can give the nodes the restart count and
        the remaining elements.
        """
        record = watch.record
        before = record.managed_job_id
        # The cancelled managed job's status must not be taken for the job's end.
        record.phase, record.status = "launching", ""
        try:
            await self._launcher.cancel(watch)
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
        self._states.begin()

    def _count_restart(self, watch: JobWatch) -> None:
        """Count a restart; the new run has not started yet."""
        record = watch.record
        record.restart += 1
        record.slots_taken = False
        record.control = ""
        self._leave(watch)
        for job_id in record.open:
            member = record.member(job_id)
            member.started, member.acked = False, 0
        watch.save()
        shipment.prepare_restart(watch.folder / "ship", record.restart, record.open, record.rank)
        again = EngineState(state="REQUEUED", reason="NodeDown", comment="SkyPilot lost the nodes")
        self._state(record, again.but(restarts=record.restart))

    # --- helpers

    async def _packed(self, job_id: int) -> JobWatch:
        """The job's watch, once its shipment is ready: a request that arrives earlier must not be lost."""
        if job_id in self._starting:
            await self._starting[job_id]
        watch = self._watches.get(job_id)
        if watch is None:
            raise EngineError(f"job {job_id} is not known to the SkyPilot engine")
        return watch

    async def _command(self, job_id: int, request: JobRequest) -> None:
        watch = await self._packed(job_id)
        cluster = watch.record.name if watch.record.cluster else ""
        try:
            await self._head_session(watch).send(watch.record.control, cluster, request)
        except head_connection.NoControl as error:
            raise EngineError(f"the nodes of job {job_id} cannot be reached from here: {error}") from error

    def _spawn(self, coroutine: Any) -> None:
        task = background(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
