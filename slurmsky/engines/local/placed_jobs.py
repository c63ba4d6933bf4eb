"""Jobs that an engine has placed: requests and events."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from ...model.allocation import Launch
from ...model.spec import JobSpec
from ...protocol.messages import (
    PRESENT_RUN,
    Acknowledge,
    DropFollowers,
    EndComponent,
    Ended,
    Event,
    FollowersDropped,
    JobEvent,
    JobList,
    JobReachable,
    JobRequest,
    LaunchRefused,
    LimitJob,
    Missing,
    ResumeJob,
    ShrinkJob,
    SignalJob,
    SuspendJob,
    TerminateJob,
)
from ..base import EngineDefaults, EngineError, OnEvent
from .agent_link import AgentLink

log = logging.getLogger("slurmsky.controller")


@dataclass
class PlacedJob:
    """A job with nodes: its run, and messages for its head agent."""

    run: int
    nodes: tuple[str, ...]
    ready: bool = False
    starting: int = 0  # calls of ``start`` that wait for the nodes' agents
    waiting: list[JobRequest] = field(default_factory=list)


class PlacedJobs(EngineDefaults):
    """Base of engines with placed jobs, whose agents are connected."""

    def __init__(self, on_event: OnEvent) -> None:
        self._on_event = on_event
        self._links: dict[str, AgentLink] = {}
        self._placed: dict[int, PlacedJob] = {}

    # --- events of agents

    def _event(self, node: str, event: Event) -> None:
        if isinstance(event, JobList):
            self._listed(node, set(event.jobs))
            return
        if isinstance(event, LaunchRefused):
            # The agent did not understand the launch; a retry would fail in the same way.
            log.error("node %s refused the launch of job %s: %s", node, event.job_id, event.comment)
            ended = Ended(state="FAILED", exit_code=1, reason="JobLaunchFailure", comment=event.comment)
            event = ended.evolve(job_id=event.job_id, run=event.run)
        if isinstance(event, JobEvent) and not event.node:
            event = event.evolve(node=node)
        if isinstance(event, Ended):
            placed = self._placed.get(event.job_id)
            if placed is not None and event.run in (placed.run, PRESENT_RUN):
                del self._placed[event.job_id]
                if event.follower:
                    self._placed[event.follower] = PlacedJob(0, placed.nodes, ready=True)
        self._on_event(event)

    def _listed(self, node: str, here: set[tuple[int, int]]) -> None:
        """Compare the agent's list of jobs with ours. Jobs missing from it did not arrive."""
        link = self._links.get(node)
        for job_id, placed in list(self._placed.items()):
            key = (job_id, placed.run)
            if placed.nodes[0] != node or placed.ready:
                continue
            if key in here:
                self._job_arrived(job_id, placed)
            elif link is not None and key not in link.launched and not placed.starting:
                self._on_event(Missing(job_id=job_id, run=placed.run, node=node))
        launched = {job_id for job_id, _ in link.launched} if link is not None else set()
        for job_id in {job_id for job_id, _ in here} - self._placed.keys() - launched:
            # A job of another database, or an ended one. slurmctld aborts unknown jobs, too.
            if link is not None and link.alive:
                link.send(TerminateJob(job_id=job_id, kill_wait_s=30))
        if link is not None:
            link.listed = True
        self._on_event(FollowersDropped(node=node))  # at the end of the previous connection

    def _job_arrived(self, job_id: int, placed: PlacedJob) -> None:
        placed.ready = True
        for message in placed.waiting:
            self._to_head(job_id, message)
        placed.waiting.clear()
        self._on_event(JobReachable(job_id=job_id, run=placed.run))

    # --- requests to head agents

    def follow(self, launch: Launch, behind: int) -> bool:
        placed = self._placed.get(behind)
        link = self._links.get(placed.nodes[0]) if placed is not None else None
        if placed is None or not placed.ready or link is None or not (link.alive and link.listed) or link.outdated:
            return False
        link.launch(launch, behind)
        return True

    def drop_followers(self, node: str) -> None:
        link = self._links.get(node)
        if link is not None and link.alive and link.listed:  # otherwise the coming list is the only answer
            link.send(DropFollowers())

    def _request(self, job_id: int, message: JobRequest) -> None:
        """Send a message to a job's head agent, once it has the job. Raises EngineError for a job without nodes."""
        placed = self._placed.get(job_id)
        if placed is None:
            raise EngineError(f"job {job_id} has no agent")
        if placed.ready:
            self._to_head(job_id, message)
        else:
            placed.waiting.append(message)

    def _to_head(self, job_id: int, message: JobRequest) -> None:
        placed = self._placed.get(job_id)
        link = self._links.get(placed.nodes[0]) if placed is not None else None
        if placed is not None and (link is None or not link.alive):
            placed.waiting.append(message)
        elif link is not None:
            link.send(message)

    async def signal(self, job_id: int, signal: int, target: str) -> None:
        self._request(job_id, SignalJob(job_id=job_id, signal=signal, target=target))

    async def terminate(self, job_id: int, state: str, signal: int, kill_wait_s: int) -> None:
        self._request(job_id, TerminateJob(job_id=job_id, state=state, signal=signal, kill_wait_s=kill_wait_s))

    async def end_component(self, job_id: int, component: int, kill_wait_s: int) -> None:
        self._request(job_id, EndComponent(job_id=job_id, component=component, kill_wait_s=kill_wait_s))

    async def suspend(self, job_id: int) -> None:
        self._request(job_id, SuspendJob(job_id=job_id))

    async def resume(self, job_id: int) -> None:
        self._request(job_id, ResumeJob(job_id=job_id))

    async def shrink(self, job_id: int, nodes: Sequence[str], failed: bool = False) -> None:
        placed = self._placed.get(job_id)
        if placed is not None:
            placed.nodes = tuple(node for node in placed.nodes if node in nodes)
        self._request(job_id, ShrinkJob(job_id=job_id, nodes=tuple(nodes), failed=failed))

    async def limit(self, job_id: int, end_time: float | None, step_id: str = "") -> None:
        self._request(job_id, LimitJob(job_id=job_id, end_time=end_time, step=step_id))

    def check(self, components: Sequence[tuple[JobSpec, str]]) -> None:
        """Accept every job with nodes."""

    def packs(self, spec: JobSpec, partition: str) -> bool:
        """Return False: elements start individually, as resources become free."""
        return False

    def acks(self, node: str, acks: list[tuple[int, int, int]]) -> None:
        """Acknowledge (job, run, number) to the sender of the events. Ended jobs have no head agent."""
        link = self._links.get(node)
        if link is not None and link.alive:
            link.send(Acknowledge(acks=tuple(acks)))
