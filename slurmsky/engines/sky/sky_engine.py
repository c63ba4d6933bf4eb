"""SkyPilot engine: launches, polls, follows and ends jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...model.allocation import Launch
from ...model.job import Job
from ...model.spec import JobSpec
from ...protocol.messages import (
    EndComponent,
    Event,
    LimitJob,
    Missing,
    ResumeJob,
    SignalJob,
    SuspendJob,
)
from ...translate.sky_task.credentials import redacted
from ...translate.sky_task.sky_components import plan_all
from ...translate.sky_task.task import SkyTask, plan
from ...translate.sky_task.translation_notes import NODE_CONFIG, Refused
from ..base import EngineError, Unable, cancel_all
from ..cloud import PriceQuestion
from .account import feasibility, prices
from .api.api_errors import Rejected, SkyError
from .api.api_server import enabled_infra
from .api.user_config import ConfigError
from .job_log import error_file
from .job_log.job_watch import JobWatch, Member
from .launch import array_packs
from .launch.batching import Batcher
from .launch.preparation import prepare, prepare_batch, task_of
from .runs import SkyRuns

#: seconds that a command waits for the server's health
_PROBE_S = 2.0
_RETRY_S = 0.2


class SkyEngine(SkyRuns):
    """Implements engines.base.Engine on an API server.

    ``home``: the state folder, of which the engine uses ``sky/``.
    """

    name = "sky"
    places = False

    # --- requests of the controller

    async def start(self, launch: Launch) -> None:
        """Prepare the job's shipment, validate the task, and launch it.

        The launch runs in the background. A run that an earlier controller started is resumed instead. Elements of an
        array that start at the same time are launched together: elements that need one node each share nodes as a pack,
        which is one managed job; the others become one managed job each, launched by one request.
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
            self._resume(await asyncio.to_thread(JobWatch.load, folder, self._report))
            self._repeat_end(self._watches[launch.job_id].record.member(launch.job_id))
            return
        if array_packs.first_run(launch):
            gatherer = self._arrays.setdefault(launch.array_job_id, Batcher(self._start_elements))
            await gatherer.add(launch)
        else:
            await self._prepare(launch, task_of(launch, self.site), [launch])

    async def _start_elements(self, elements: list[Launch]) -> None:
        for group in array_packs.group_equal(elements):
            task = task_of(group[0], self.site)
            partition = self.site.cluster.partition(group[0].partition)
            if array_packs.packs(group[0].spec, task):
                for part, slots in array_packs.split(group, task, partition, self.site):
                    await self._prepare(part[0], array_packs.task_with_slots(task, slots), part, slots)
            elif len(group) > 1:
                await self._prepare_batch(group, task)
            else:
                await self._prepare(group[0], task, group)

    async def _prepare(self, launch: Launch, task: SkyTask, members: list[Launch], slots: int = 0) -> None:
        """Prepare a run; launch it in the background."""
        upload = not self.client.access.local
        folder = await prepare(launch, task, members, slots, home=self.folder, site=self.site, upload=upload)
        await self._launch_task(folder, [(folder, members)])

    async def _prepare_batch(self, elements: list[Launch], task: SkyTask) -> None:
        """Prepare and launch elements that are one managed job each."""
        upload = not self.client.access.local
        shared, folders = await prepare_batch(elements, task, home=self.folder, site=self.site, upload=upload)
        await self._launch_task(
            shared, [(folder, [element]) for folder, element in zip(folders, elements, strict=True)]
        )

    async def _launch_task(self, about: Path, runs: Sequence[tuple[Path, Sequence[Launch]]]) -> None:
        """Validate the task in the folder ``about``, and launch it.

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
            self._spawn(self._run_job(watch))

    def _begin_watches(self, runs: Sequence[tuple[Path, Sequence[Launch]]]) -> list[JobWatch]:
        """Create the watches of new runs. A file for each member names its run's folder."""
        watches = []
        for folder, members in runs:
            watches.append(JobWatch.load(folder, self._report))
            for member in members:
                pointer = self._pointer(member.job_id, member.restart_count)
                pointer.parent.mkdir(parents=True, exist_ok=True)
                pointer.write_text(str(folder))
        return watches

    def _pointer(self, job_id: int, restart: int) -> Path:
        """Return the file that names the folder of a job's run."""
        return self.folder / str(job_id) / f"where{restart}"

    async def signal(self, job_id: int, signal: int, target: str) -> None:
        await self._command(job_id, SignalJob(job_id=job_id, signal=signal, target=target))

    async def end_component(self, job_id: int, component: int, kill_wait_s: int) -> None:
        await self._command(job_id, EndComponent(job_id=job_id, component=component, kill_wait_s=kill_wait_s))

    async def suspend(self, job_id: int) -> None:
        await self._command(job_id, SuspendJob(job_id=job_id))

    async def resume(self, job_id: int) -> None:
        await self._command(job_id, ResumeJob(job_id=job_id))

    async def shrink(self, job_id: int, nodes: Sequence[str], failed: bool = False) -> None:
        """Refuse: SkyPilot releases nodes only after the job's end."""
        raise EngineError("SkyPilot cannot release single nodes of a job")

    async def limit(self, job_id: int, end_time: float | None, step_id: str = "") -> None:
        await self._command(job_id, LimitJob(job_id=job_id, end_time=end_time, step=step_id))

    def check(self, components: Sequence[tuple[JobSpec, str]]) -> None:
        """Raise Unable for a job that SkyPilot's nodes cannot run."""
        try:
            task = plan_all(components, self.site)
        except Refused as error:
            raise Unable(str(error), error.hint) from error
        if task.pool:
            return
        nodes = task.fields.get("num_nodes", 1)
        problem = feasibility.infeasibility(task.fields["resources"], *self.inventory(), self._can_grow, nodes)
        if problem:
            raise Unable(NODE_CONFIG, problem)

    def _can_grow(self, context: str) -> bool:
        """True if an autoscaler may extend a Kubernetes cluster.

        The configuration of another machine's server is unknown.
        """
        if not self.client.access.local:
            return True
        try:
            return self.client.config is not None and feasibility.autoscaled(self.client.config.sent(), context)
        except ConfigError:
            return True

    def packs(self, spec: JobSpec, partition: str) -> bool:
        """True if elements share nodes. They then start together, and the nodes run them sequentially, %N at a time."""
        try:
            return array_packs.packs(spec, plan(spec, self.site, partition))
        except Refused:
            return False

    def acks(self, node: str, acks: list[tuple[int, int, int]]) -> None:
        """Acknowledge events up to these numbers. The controller has committed them."""
        for job_id, run, seq in acks:
            watch = self._watches.get(job_id)
            if watch is not None and watch.record.restart == run:
                member = watch.record.member(job_id)
                member.acked = max(member.acked, seq)
                watch.save_soon()

    async def recover(self, jobs: Iterable[Job]) -> None:
        """Resume the jobs of an earlier controller from their records."""
        for job, watch in await asyncio.to_thread(self._stored_watches, list(jobs)):
            if watch is None:
                self._on_event(Missing(job_id=job.job_id, run=job.restarts))
            elif job.job_id not in self._watches:
                self._resume(watch)
            if job.job_id in self._watches:
                self._repeat_end(self._watches[job.job_id].record.member(job.job_id))
        for folder in await asyncio.to_thread(self._ended.stored_runs):
            self._watch_ended(await asyncio.to_thread(JobWatch.load, folder, self._report))

    def _stored_watches(self, jobs: Iterable[Job]) -> list[tuple[Job, JobWatch | None]]:
        """Return the watch of each job's latest run. One for all members of a pack; None: the run was not launched."""
        watches: dict[str, JobWatch] = {}
        found: list[tuple[Job, JobWatch | None]] = []
        for job in jobs:
            pointers = sorted((self.folder / str(job.job_id)).glob("where*"), key=lambda path: path.stat().st_mtime)
            run = pointers[-1].read_text() if pointers else ""
            if run and run not in watches:
                watches[run] = JobWatch.load(Path(run), self._report)
            found.append((job, watches.get(run)))
        return found

    def _repeat_end(self, member: Member) -> None:
        """Report a member's end again. The controller may have died before it committed the first report."""
        if member.end:
            self._on_event(Event.decode(member.end))
        else:
            member.ended = False  # reported by a version that did not store it: read it from the log again

    def _resume(self, watch: JobWatch) -> None:
        """Continue a run of an earlier controller."""
        self._take_requests(watch)
        for job_id in watch.record.members:
            self._watches[int(job_id)] = watch
        if watch.record.phase == "ending":
            self._watch_ended(watch)
        elif watch.record.phase == "over":
            self._spawn(self._read_final_log(watch))
        else:
            self._spawn(self._run_job(watch))

    def agent_address(self, job_id: int) -> str | None:
        """Return the socket to the job's first node, or None."""
        watch = self._watches.get(job_id)
        session = self._sessions.session_of(watch.folder) if watch is not None else None
        return session.address if session is not None else None

    async def node_socket(self, node: str) -> str | None:
        """Wait until the first node of a run is reachable; return its socket's path."""
        while True:
            watches = (watch for watch in self._watches.values() if watch.record.name == node and watch.record.open)
            watch = next(watches, None)
            if watch is None:
                return None
            session = self._sessions.session_of(watch.folder)
            if session is not None and session.address is not None:
                return session.address
            await asyncio.sleep(_RETRY_S)

    def out_of_reach(self, job_id: int) -> str:
        watch = self._watches.get(job_id)
        session = self._sessions.session_of(watch.folder) if watch is not None else None
        if session is None or not session.problem:
            return ""
        return f"the nodes of job {job_id} cannot be reached from this machine ({session.problem}): only scancel works"

    def price_question(self, components: Sequence[tuple[JobSpec, str]]) -> PriceQuestion | None:
        """Return the price's key and a function that queries SkyPilot.

        Jobs of equal price share the key. None: infeasible.
        """
        try:
            task = plan_all(components, self.site)
        except Refused:
            return None
        text = prices.price_task(task.fields)
        return text, lambda: prices.hourly_price(self.client, text)

    def clusters(self) -> dict[int, str]:
        """Jobs with their own SkyPilot cluster, and its name."""
        return {job_id: watch.record.name for job_id, watch in self._watches.items() if watch.record.cluster}

    def names(self) -> set[str]:
        """SkyPilot names of all jobs of this engine."""
        return {watch.record.name for watch in self._watches.values()}

    async def problem(self) -> str:
        error = await self.client.probe(_PROBE_S)
        return f"SkyPilot: {error}" if error is not None else ""

    async def describe(self) -> list[tuple[bool, str]]:
        client, access = self.client, self.client.access
        place = redacted(access.endpoint)
        seconds = time.time() - client.answered_at
        last = f"its last answer was {seconds:.0f} s ago" if client.answered_at else "it has not answered yet"
        try:
            health = await asyncio.wait_for(client.health(fresh=True), _PROBE_S)
        except (SkyError, asyncio.TimeoutError) as error:
            fault = str(error) or f"no answer within {_PROBE_S:g} s"
            return [(False, f"SkyPilot at {place}: {fault}; {last}")]
        words = f"version {health.get('version') or '?'}, API version {health.get('api_version')}"
        found = [(True, f"SkyPilot at {place}: {words}")]
        try:
            infras = await asyncio.wait_for(enabled_infra(client), 10 * _PROBE_S)
        except (SkyError, asyncio.TimeoutError) as error:
            return [*found, (False, f"SkyPilot login and infras: {str(error) or 'no answer'}")]
        enabled = ", ".join(infras) or "none (sky check)"
        return [*found, (bool(infras), f"SkyPilot takes requests of user {access.user}; enabled infras: {enabled}")]

    def holds_nodes(self) -> bool:
        """True while nodes of an ended job exist."""
        return bool(self._ended)

    async def close(self) -> None:
        """Close the engine; jobs keep running."""
        await self._states.close()
        await cancel_all(self._tasks)  # first: a task that ends opens the session of a node that it has just read of
        for watch in self._watches.values():
            self._sessions.leave(watch)
            watch.close()
        await self.client.close()
