"""The local engine: one agent process per node, started when a job needs it, found again after a restart."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ... import paths
from ...agent.job.launch_codec import LaunchWriter
from ...agent.job.version import VERSION
from ...agent.net.endpoints import peer_uid
from ...agent.process import daemonize
from ...agent.process.machine_claim import CLAIM
from ...model.allocation import Launch
from ...model.codec import compact
from ...model.job import Job
from ...model.spec import JobSpec
from ...protocol import wire
from ...protocol.messages import (
    PRESENT_RUN,
    Acknowledge,
    AgentRequest,
    Ended,
    Event,
    Exit,
    Hello,
    JobEvent,
    JobList,
    JobReachable,
    JobRequest,
    LaunchRefused,
    LimitJob,
    Missing,
    NodeDown,
    NodeDrain,
    NodeFacts,
    NodeLost,
    NodeUp,
    ResumeJob,
    ShrinkJob,
    SignalJob,
    SuspendJob,
    TerminateJob,
)
from ..base import EngineDefaults, EngineError, NodeUnavailable, OnEvent, background, spawn

log = logging.getLogger("slurmsky.controller")

#: folder that contains the package
_ROOT = Path(__file__).resolve().parents[3]

START_TIMEOUT_S = 120.0  # a loaded machine starts slowly; an agent that exits is detected at once
#: how often an agent's start is attempted before the node counts as down: the first may have been killed by accident
START_ATTEMPTS = 2
#: how long an idle agent of another version may take to exit
LEAVES_WITHIN_S = 5.0
OUTDATED = "its agent is of another version, finishes its jobs and is replaced then"
#: pauses before further attempts on a node that is down: the first pause, and the upper bound of later ones
REVIVE_FIRST_S, REVIVE_LONGEST_S = 5.0, 60.0


class AgentLink(asyncio.Protocol):
    """The controller's connection to one agent."""

    def __init__(self, node: str, on_event: Callable[[str, Event], None], on_lost: Callable[[str], None]) -> None:
        self.node = node
        self._on_event = on_event
        self._on_lost = on_lost
        self._reader = wire.FrameReader()
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._launches = LaunchWriter()
        self._version = ""
        #: resolved when the agent has sent its version, or the connection is lost
        self.greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        #: (job, run) of every launch sent over this connection
        self.launched: set[tuple[int, int]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family == socket.AF_UNIX and peer_uid(sock) not in (os.geteuid(), 0):
            transport.abort()  # another user's process listens at this address
            return
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for frame in self._reader.feed(data):
            if frame.kind != wire.JSON:
                continue
            try:
                event = Event.decode(json.loads(frame.payload))
                if not self.greeted.done():
                    self._version = event.version if isinstance(event, NodeFacts) else ""
                    self.greeted.set_result(None)
                self._on_event(self.node, event)
            except Exception:  # an event of one job failed; other jobs' events share this connection
                log.exception("node %s: %.200r", self.node, frame.payload)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.greeted.done():
            self.greeted.set_result(None)
        self._on_lost(self.node)

    @property
    def outdated(self) -> bool:
        """True for an agent of another slurmsky version, which accepts no launch of this version."""
        return self.greeted.done() and self._version != VERSION

    @property
    def alive(self) -> bool:
        """True while messages can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: AgentRequest) -> None:
        """Send one request. Raises EngineError when the connection is closed."""
        if self._transport is None or self._transport.is_closing():
            raise EngineError(f"the agent of node {self.node} is gone")
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)  # one system call for all messages of this loop iteration
        self._out.append(wire.encode(wire.JSON, compact(request.encode()).encode()))

    def launch(self, launch: Launch) -> None:
        """Send a launch to the agent. Raises NodeUnavailable when the agent would not understand it."""
        if self.outdated:
            raise NodeUnavailable(f"node {self.node}: {OUTDATED}")
        self.send(self._launches.message(launch))
        self.launched.add((launch.job_id, launch.restart_count))

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None and out:
            self._transport.write(b"".join(out))

    def abort(self) -> None:
        """Abort a connection whose other end does not answer."""
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close the connection; the agent keeps running."""
        self._flush()
        if self._transport is not None:
            self._transport.close()


@dataclass
class _Placed:
    """A job that has nodes: its nodes, its run, and messages queued for its head agent until that has the job."""

    run: int
    nodes: tuple[str, ...]
    ready: bool = False
    starting: int = 0  # calls of ``start`` that wait for the nodes' agents
    waiting: list[JobRequest] = field(default_factory=list)


class LocalEngine(EngineDefaults):
    """Implements engines.base.Engine with agents on this machine."""

    name = "local"
    places = True

    def __init__(
        self, home: Path, on_event: OnEvent, bin_dir: Path | None, environment: dict[str, str], claim: str = ""
    ) -> None:
        self._home = home
        self._on_event = on_event
        self._bin = bin_dir
        self._environment = environment
        self._links: dict[str, AgentLink] = {}
        self._starting: dict[str, asyncio.Task[AgentLink]] = {}
        self._placed: dict[int, _Placed] = {}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._closing = False
        self._claim = claim  # the ledger entry that this engine's agents keep locked
        self._down: set[str] = set()  # nodes whose agent could not be started
        self._outdated: set[str] = set()  # nodes whose agent is of another version and still has jobs

    # --- agents

    def _socket(self, node: str) -> Path:
        return self._home / "nodes" / node / paths.AGENT_SOCKET

    async def _connect(self, node: str) -> AgentLink:
        link = AgentLink(node, self._event, self._lost)
        loop = asyncio.get_running_loop()
        path = self._socket(node)
        # The folder's descriptor keeps the path short: a socket address has 108 bytes.
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            await loop.create_unix_connection(lambda: link, f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)
        # Before the agent's first event: that event lists the agent's jobs, and jobs missing from it are launched
        # again.
        self._links[node] = link
        link.send(Hello(role="controller", version=VERSION))
        await asyncio.wait_for(link.greeted, START_TIMEOUT_S)
        if not link.alive:
            raise ConnectionResetError(errno.ECONNRESET, "the agent closed the connection", str(path))
        return link

    async def link(self, node: str) -> AgentLink:
        """The connection to the node's agent; starts the agent if none runs."""
        known = self._links.get(node)
        if known is not None and known.alive and known.greeted.done():
            return known
        task = self._starting.get(node)
        if task is None:
            task = self._starting[node] = spawn(self._bring_up(node))
            task.add_done_callback(partial(self._brought_up, node))
        return await asyncio.shield(task)

    def _brought_up(self, node: str, task: asyncio.Task[AgentLink]) -> None:
        self._starting.pop(node, None)
        if not task.cancelled():
            task.exception()  # all callers may have been cancelled

    async def _bring_up(self, node: str) -> AgentLink:
        """Connect to the node's agent, or start one. Raises NodeUnavailable after it has reported the node as down."""
        try:
            link = await self._connect(node)
            if link.outdated:
                link = await self._replace(node, link)
        except (OSError, EngineError, asyncio.TimeoutError):  # no agent listens, or it exited while we connected
            link = await self._start_agent(node)
        self._links[node] = link
        if link.outdated:
            return link
        if node in self._outdated:
            self._outdated.discard(node)
            self._on_event(NodeUp(node=node))
        if node in self._down:
            self._down.discard(node)
            self._on_event(NodeUp(node=node))
        return link

    async def _replace(self, node: str, link: AgentLink) -> AgentLink:
        """Make an idle agent of another version exit, so that a new one can start.

        An agent with jobs finishes them first; the node is drained until the agent exits. Raises ConnectionError once
        the agent has exited.
        """
        self._links[node] = link
        link.send(Exit())
        end = asyncio.get_running_loop().time() + LEAVES_WITHIN_S
        while link.alive and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.05)
        if not link.alive:
            raise ConnectionError
        if node not in self._outdated:
            self._outdated.add(node)
            self._on_event(NodeDrain(node=node, reason=OUTDATED))
        return link

    async def _start_agent(self, node: str) -> AgentLink:
        problem = ""
        for _ in range(START_ATTEMPTS):
            try:
                return await self._spawn(node)
            except OSError as error:
                problem = f"{error.filename or node}: {error.strerror or error}"
            except EngineError as error:
                problem = str(error)
            if self._closing:
                break
        if not self._closing:
            if node not in self._down:
                self._down.add(node)
                background(self._revive(node))
            self._on_event(NodeDown(node=node, reason=problem))
        raise NodeUnavailable(problem)

    async def _revive(self, node: str) -> None:
        """Retry starting the agent of a node that is down, until one starts."""
        pause = REVIVE_FIRST_S
        while node in self._down and not self._closing:
            await asyncio.sleep(pause)
            pause = min(pause * 2, REVIVE_LONGEST_S)
            try:
                await self.link(node)
            except EngineError as error:
                log.debug("node %s: %s", node, error)

    async def _spawn(self, node: str) -> AgentLink:
        folder = self._socket(node).parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._processes = [process for process in self._processes if process.poll() is None]
        modules = [entry for entry in sys.path if entry and not entry.endswith(".zip")]
        environment = {
            **self._environment,
            "PYTHONPATH": os.pathsep.join(modules),
            paths.HOME: str(self._home),
        }
        if self._claim:
            environment[CLAIM] = self._claim
        if self._bin is not None:
            environment[paths.BIN] = str(self._bin)
        program = [sys.executable, "-S", "-m", "slurmsky.agent"]
        command = [*program, "--node", node, "--home", str(self._home)]
        command += ["--controller", f"unix:{self._home / paths.SOCKET_NAME}", "--root", str(_ROOT)]
        before = (folder / paths.AGENT_LOG).stat().st_size if (folder / paths.AGENT_LOG).exists() else 0
        process = daemonize.start(command, environment, str(folder / paths.AGENT_LOG))
        self._processes.append(process)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + START_TIMEOUT_S
        pause = 0.005
        while loop.time() < deadline:
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.1)
            try:
                return await self._connect(node)
            except OSError:
                code = process.poll()
                if code is not None:
                    how = f"signal {-code}" if code < 0 else _last_line(folder / paths.AGENT_LOG, before)
                    raise EngineError(f"agent ended while starting: {how}") from None
        process.kill()  # otherwise it could still take the node's lock later
        raise EngineError(f"agent does not answer within {START_TIMEOUT_S:.0f} s")

    def _event(self, node: str, event: Event) -> None:
        if isinstance(event, JobList):
            self._listed(node, set(event.jobs))
            return
        if isinstance(event, LaunchRefused):
            # The agent did not understand the launch; a retry would fail in the same way.
            log.error("node %s refused the launch of job %s: %s", node, event.job_id, event.comment)
            ended = Ended(state="FAILED", exit_code=1, reason="JobLaunchFailure", comment=event.comment)
            event = ended.but(job_id=event.job_id, run=event.run)
        if isinstance(event, JobEvent) and not event.node:
            event = event.but(node=node)
        if isinstance(event, Ended):
            placed = self._placed.get(event.job_id)
            if placed is not None and event.run in (placed.run, PRESENT_RUN):
                del self._placed[event.job_id]
        self._on_event(event)

    def _listed(self, node: str, here: set[tuple[int, int]]) -> None:
        """Compare the agent's list of jobs with ours: jobs missing from it never arrived."""
        link = self._links.get(node)
        for job_id, placed in list(self._placed.items()):
            key = (job_id, placed.run)
            if placed.nodes[0] != node or placed.ready:
                continue
            if key in here:
                self._has_it(job_id, placed)
            elif link is not None and key not in link.launched and not placed.starting:
                self._on_event(Missing(job_id=job_id, run=placed.run, node=node))
        launched = {job_id for job_id, _ in link.launched} if link is not None else set()
        for job_id in {job_id for job_id, _ in here} - self._placed.keys() - launched:
            # Job of another database, or ended. As slurmctld, which aborts jobs that it does not know.
            if link is not None and link.alive:
                link.send(TerminateJob(job_id=job_id, kill_wait_s=30))

    def _has_it(self, job_id: int, placed: _Placed) -> None:
        placed.ready = True
        for message in placed.waiting:
            self._to_head(job_id, message)
        placed.waiting.clear()
        self._on_event(JobReachable(job_id=job_id, run=placed.run))

    def _lost(self, node: str) -> None:
        """An agent's connection is lost. If it served jobs, a new agent starts and reports what remains of them."""
        self._links.pop(node, None)
        here = {job_id: placed for job_id, placed in self._placed.items() if node in placed.nodes}
        if not self._closing and not here and node in self._outdated:
            background(self._relink(node))  # it has finished its jobs: its successor accepts new jobs
        if self._closing or not here:
            return
        for job_id, placed in here.items():
            if placed.nodes[0] == node:
                placed.ready = False  # until the next agent lists the job
            else:
                self._tell(job_id, NodeLost(job_id=job_id, node=node))
        background(self._relink(node))

    async def _relink(self, node: str) -> None:
        """Start an agent on the node and let it list its jobs (``_listed``); if none starts, the jobs have failed."""
        try:
            await self.link(node)
        except EngineError as error:
            for job_id, placed in list(self._placed.items()):
                if placed.nodes[0] == node:
                    why = f"its node's agent is gone and no other can be started: {error}"
                    lost = Ended(job_id=job_id, run=placed.run, state="NODE_FAIL", reason="NodeDown", comment=why)
                    self._event(node, lost)

    # --- Engine

    async def start(self, launch: Launch) -> None:
        # The leader of a het job starts it: the job's nodes are those of all components, the leader's first.
        shares = launch.shares + (launch.every_share if launch.het else [])
        nodes = tuple(dict.fromkeys(share.name for share in shares))
        for share in shares:
            share.address = f"unix:{self._home}/nodes/{share.name}/agent.sock"
        key = (launch.job_id, launch.restart_count)
        placed = self._placed.get(launch.job_id)
        if placed is None or placed.run != launch.restart_count:
            placed = self._placed[launch.job_id] = _Placed(launch.restart_count, nodes)
        placed.starting += 1
        try:
            links = [await self.link(node) for node in nodes]
        except EngineError:
            if self._placed.get(launch.job_id) is placed:
                del self._placed[launch.job_id]
            raise
        finally:
            placed.starting -= 1
        # The job may have been cancelled or relaunched while we connected; launch only if our placement is still
        # current.
        if (
            self._placed.get(launch.job_id) is placed
            and not placed.ready
            and links[0].alive
            and key not in links[0].launched
        ):
            if any(link.outdated for link in links):
                del self._placed[launch.job_id]
                raise NodeUnavailable(OUTDATED)
            links[0].launch(launch)
            self._has_it(launch.job_id, placed)

    def _tell(self, job_id: int, message: JobRequest) -> None:
        """Send a message to a job's head agent, as soon as that has the job.

        Raises EngineError for a job without nodes.
        """
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
        self._tell(job_id, SignalJob(job_id=job_id, signal=signal, target=target))

    async def terminate(self, job_id: int, state: str, signal: int, kill_wait_s: int) -> None:
        self._tell(job_id, TerminateJob(job_id=job_id, state=state, signal=signal, kill_wait_s=kill_wait_s))

    async def suspend(self, job_id: int) -> None:
        self._tell(job_id, SuspendJob(job_id=job_id))

    async def resume(self, job_id: int) -> None:
        self._tell(job_id, ResumeJob(job_id=job_id))

    async def shrink(self, job_id: int, nodes: Sequence[str]) -> None:
        placed = self._placed.get(job_id)
        if placed is not None:
            placed.nodes = tuple(node for node in placed.nodes if node in nodes)
        self._tell(job_id, ShrinkJob(job_id=job_id, nodes=tuple(nodes)))

    async def limit(self, job_id: int, end_time: float | None, step_id: str = "") -> None:
        self._tell(job_id, LimitJob(job_id=job_id, end_time=end_time, step=step_id))

    def check(self, components: Sequence[tuple[JobSpec, str]]) -> None:
        """Accept every job: any job with nodes can run on this machine."""

    def packs(self, spec: JobSpec, partition: str) -> bool:
        """False: array elements start one by one, as resources become free."""
        return False

    def acks(self, node: str, acks: list[tuple[int, int, int]]) -> None:
        """Acknowledge (job, run, number) to the agent that sent the events; ended jobs have no head agent any more."""
        link = self._links.get(node)
        if link is not None and link.alive:
            link.send(Acknowledge(acks=tuple(acks)))

    async def recover(self, jobs: Iterable[Job]) -> None:
        """Connect to the agents of these jobs.

        Each agent repeats its unacknowledged events and lists its jobs. Jobs missing from the list are reported as
        Missing; the controller may launch those again.
        """
        nodes: dict[str, None] = {}
        for job in jobs:
            if job.shares:
                self._placed[job.job_id] = _Placed(job.restarts, job.nodes)
                nodes.update(dict.fromkeys(job.nodes))
        await asyncio.gather(*(self._relink(node) for node in nodes))
        sockets = await asyncio.to_thread(lambda: [*self._home.glob(f"nodes/*/{paths.AGENT_SOCKET}")])
        for path in sockets:
            if path.parent.name not in nodes:
                await self._greet(path.parent.name)

    async def _greet(self, node: str) -> None:
        """Connect to an agent that serves none of our jobs, if one runs.

        The agent may have a job's end to repeat, and it exits when this engine closes the connection.
        """
        try:
            self._links[node] = await self._connect(node)
        except OSError:
            log.debug("no agent runs on node %s", node)

    def agent_address(self, job_id: int) -> str | None:
        placed = self._placed.get(job_id)
        return str(self._socket(placed.nodes[0])) if placed is not None and placed.ready else None

    async def close(self) -> None:
        """Close the connections: each agent exits as soon as it has no job."""
        self._closing = True
        if self._starting:
            await asyncio.wait(list(self._starting.values()), timeout=5.0)  # its agent would wait for a connection
        expected = {node for placed in self._placed.values() for node in placed.nodes[1:]}
        for link in list(self._links.values()):
            if link.alive:
                link.send(Exit(expected=link.node in expected))
            link.close()


def _last_line(path: Path, start: int) -> str:
    """The last line of a log after its first ``start`` bytes."""
    lines = path.read_bytes()[start:].decode("utf-8", "replace").strip().splitlines() if path.exists() else []
    return lines[-1] if lines else "no message"
