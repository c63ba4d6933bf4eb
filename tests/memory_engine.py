"""Implements engines.base.Engine without processes: a job is a duration and an exit code.

The engine takes its time from the running event loop, so that on a loop in virtual time (virtual_time.py) the middle of
the controller (submit, schedule, start, end, requeue, limits) runs in milliseconds. It reports the events that agents
report. ``places`` False makes it an engine that creates nodes for each job.
"""

from __future__ import annotations

import asyncio
import signal as signals
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from slurmsky.agent.job.end_messages import end_of_job
from slurmsky.engines.base import EngineDefaults, EngineError, NodeUnavailable, OnEvent
from slurmsky.model.allocation import Launch
from slurmsky.model.job import Job, Step
from slurmsky.model.spec import JobSpec
from slurmsky.model.states import JobState
from slurmsky.protocol.messages import (
    ComponentEnded,
    FollowersDropped,
    JobEvent,
    JobNode,
    Missing,
    NodeDown,
    NodeUp,
    Started,
)


@dataclass(frozen=True)
class Work:
    """The simulated script of a job: run time and exit code."""

    seconds: float = 60.0
    exit_code: int = 0


@dataclass
class _Run:
    """One run of a job.

    ``left_s``: the rest of its work at ``since``, an epoch second (0.0: suspended).
    """

    launch: Launch
    exit_code: int
    left_s: float
    since: float
    step: Step
    seq: int = 0
    end: asyncio.TimerHandle | None = None
    limit: asyncio.TimerHandle | None = None


class MemoryEngine(EngineDefaults):
    """Runs jobs as timers. ``work`` gives a launch its duration; ``clock`` returns epoch seconds."""

    def __init__(
        self,
        on_event: OnEvent,
        clock: Callable[[], float],
        work: Callable[[Launch], Work] = lambda launch: Work(),
        name: str = "local",
        places: bool = True,
    ) -> None:
        self.name = name
        self.places = self.this_machine = places
        self._on_event = on_event
        self._clock = clock
        self._work = work
        self._runs: dict[int, _Run] = {}
        self._followers: dict[int, list[Launch]] = {}  # by the job that they follow
        #: nodes on which no agent can be started
        self.unavailable: set[str] = set()
        #: the signals that jobs received: (job, signal, target)
        self.signals: list[tuple[int, int, str]] = []
        #: (job, run) -> number of the last event that the controller has committed
        self.acked: dict[tuple[int, int], int] = {}

    # --- requests of the controller

    async def start(self, launch: Launch) -> None:
        """Start the job's timer. Raises NodeUnavailable."""
        lost = self.unavailable.intersection(share.name for share in launch.shares)
        if lost:
            raise NodeUnavailable(f"node {min(lost)}: no agent")
        known = self._runs.get(launch.job_id)
        if known is not None and known.launch.restart_count == launch.restart_count:
            return
        self._begin(launch)

    def _begin(self, launch: Launch) -> None:
        work, now = self._work(launch), self._clock()
        nodes = tuple(share.name for share in launch.shares)
        step = Step(launch.job_id, "batch", "batch", nodes=nodes[:1], start_time=now)
        run = self._runs[launch.job_id] = _Run(launch, work.exit_code, work.seconds, now, step)
        made = () if self.places else tuple(map(JobNode, nodes))
        self._emit(run, Started(time=now, step=replace(step), nodes=made))
        self._schedule(run)
        if launch.time_limit_s is not None:
            self._set_limit(run, now + launch.time_limit_s)

    def follow(self, launch: Launch, behind: int) -> bool:
        """Start the job when the one in front ends without a request."""
        if behind not in self._runs:
            return False
        self._followers.setdefault(behind, []).append(launch)
        return True

    def drop_followers(self, node: str) -> None:
        """Forget all jobs that follow others."""
        self._followers.clear()
        self._on_event(FollowersDropped(node=node))

    async def signal(self, job_id: int, signal: int, target: str) -> None:
        """Record the signal; SIGTERM and SIGKILL end the script, which has no handler."""
        run = self._run(job_id)
        self.signals.append((job_id, signal, target))
        if target in ("batch", "full") and signal in (signals.SIGTERM, signals.SIGKILL):
            self._finish(run, "", 0, signal)

    async def terminate(self, job_id: int, state: str, signal: int, kill_wait_s: int) -> None:
        """End the job at once."""
        self._finish(self._run(job_id), state, 0, signal)

    async def end_component(self, job_id: int, component: int, kill_wait_s: int) -> None:
        """End the component at once; its steps are not simulated."""
        self._emit(self._run(job_id), ComponentEnded(component=component, time=self._clock()))

    async def suspend(self, job_id: int) -> None:
        """Stop the job's timer."""
        run = self._run(job_id)
        if run.since:
            run.left_s -= self._clock() - run.since
            run.since = 0.0
        self._cancel(run.end)

    async def resume(self, job_id: int) -> None:
        """Continue the job's timer."""
        run = self._run(job_id)
        run.since = self._clock()
        self._schedule(run)

    async def limit(self, job_id: int, end_time: float | None, step_id: str = "") -> None:
        """Set the job's time limit; its one step has none."""
        if not step_id:
            self._set_limit(self._run(job_id), end_time)

    def check(self, components: Sequence[tuple[JobSpec, str]]) -> None:
        """Accept all jobs."""

    def packs(self, spec: JobSpec, partition: str) -> bool:
        """False: the controller applies %N."""
        return False

    def acks(self, node: str, acks: list[tuple[int, int, int]]) -> None:
        """Record the committed events."""
        for job_id, run, number in acks:
            self.acked[job_id, run] = max(self.acked.get((job_id, run), 0), number)

    async def recover(self, jobs: Iterable[Job]) -> None:
        """Report the jobs that have no timer as missing."""
        for job in jobs:
            if job.job_id not in self._runs:
                self._on_event(Missing(job_id=job.job_id, run=job.restarts))

    def agent_address(self, job_id: int) -> str | None:
        """None: there is no agent."""
        return None

    async def describe(self) -> list[tuple[bool, str]]:
        """One line."""
        return [(True, f"{len(self._runs)} jobs in memory")]

    async def close(self) -> None:
        """Keep the timers: jobs outlive a controller."""

    # --- events

    def fail_node(self, node: str) -> None:
        """Lose a node: its jobs end, and no job starts there until ``restore_node``."""
        self.unavailable.add(node)
        for run in list(self._runs.values()):
            if any(share.name == node for share in run.launch.shares):
                self._finish(run, "NODE_FAIL", 0, 0, node)
        self._on_event(NodeDown(node=node, reason="Not responding"))

    def restore_node(self, node: str) -> None:
        """Start the agent of a lost node again."""
        self.unavailable.discard(node)
        self._on_event(NodeUp(node=node))

    def serve(self, on_event: OnEvent) -> None:
        """Send events to another controller from now on."""
        self._on_event = on_event
        self._followers.clear()

    def _run(self, job_id: int) -> _Run:
        run = self._runs.get(job_id)
        if run is None:
            raise EngineError(f"job {job_id} does not run")
        return run

    def _emit(self, run: _Run, event: JobEvent, node: str = "") -> None:
        run.seq += 1
        launch = run.launch
        node = node or launch.shares[0].name
        self._on_event(event.evolve(job_id=launch.job_id, run=launch.restart_count, seq=run.seq, node=node))

    def _schedule(self, run: _Run) -> None:
        run.end = self._call_in(run.left_s, lambda: self._finish(run, "", run.exit_code, 0))

    def _set_limit(self, run: _Run, end_time: float | None) -> None:
        self._cancel(run.limit)
        if end_time is not None:
            left = end_time - self._clock()
            run.limit = self._call_in(left, lambda: self._finish(run, "TIMEOUT", 0, signals.SIGTERM))

    def _finish(self, run: _Run, cause: str, exit_code: int, exit_signal: int, node: str = "") -> None:
        """End a run. ``cause``: the state in which it was terminated, "" when its script ended."""
        launch, step = run.launch, run.step
        if self._runs.get(launch.job_id) is not run:
            return
        del self._runs[launch.job_id]
        self._cancel(run.end)
        self._cancel(run.limit)
        step.end_time, step.exit_code, step.exit_signal = self._clock(), exit_code, int(exit_signal)
        clean = not (cause or exit_code or exit_signal)
        step.state = JobState.COMPLETED if clean else JobState.CANCELLED if cause else JobState.FAILED
        last = end_of_job(cause, step, exit_code)
        waiting = self._followers.pop(launch.job_id, [])
        if cause or not waiting:
            self._emit(run, last.evolve(time=self._clock(), step=replace(step)), node)
            return
        follower = replace(waiting.pop(0), start_time=self._clock())
        if waiting:
            self._followers[follower.job_id] = waiting
        self._emit(run, last.evolve(time=self._clock(), step=replace(step), follower=follower.job_id), node)
        self._begin(follower)

    @staticmethod
    def _cancel(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()

    @staticmethod
    def _call_in(seconds: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(max(0.0, seconds), call)
