"""The local engine: one agent process per node, started on demand."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from ... import paths
from ...agent.job.version import VERSION
from ...agent.process import daemonize
from ...agent.process.machine_claim import CLAIM
from ...model.allocation import Launch
from ...model.job import Job
from ...protocol.messages import (
    Ended,
    Exit,
    Hello,
    NodeDown,
    NodeDrain,
    NodeLost,
    NodeUp,
)
from ..base import EngineError, NodeUnavailable, OnEvent, background, cancel_all, spawn
from . import agent_program
from .agent_link import OUTDATED, AgentLink
from .placed_jobs import PlacedJob, PlacedJobs

log = logging.getLogger("slurmsky.controller")

#: folder that contains the package
_ROOT = Path(__file__).resolve().parents[3]

START_TIMEOUT_S = 120.0  # a loaded machine starts slowly; an agent that exits is detected at once
#: attempts to start an agent before the node counts as down: the first process may have been killed by accident
START_ATTEMPTS = 2
#: seconds for which closing waits for starting agents; later ones are killed
CLOSE_S = 5.0
#: agents of a job that start at the same time
STARTS_AT_ONCE = os.cpu_count() or 1
#: memory that an idle agent does not share with other processes
AGENT_MIB = 10
#: seconds in which an idle agent of another version must exit
LEAVES_WITHIN_S = 5.0
#: pauses before further attempts on a node that is down: the first and the longest
REVIVE_FIRST_S, REVIVE_LONGEST_S = 5.0, 60.0


class LocalEngine(PlacedJobs):
    """Implements engines.base.Engine with agents on this machine."""

    name = "local"
    places = True
    this_machine = True

    def __init__(
        self, home: Path, on_event: OnEvent, bin_dir: Path | None, environment: dict[str, str], claim: str = ""
    ) -> None:
        super().__init__(on_event)
        self._home = home
        self._bin = bin_dir
        self._environment = environment
        self._starting: dict[str, asyncio.Task[AgentLink]] = {}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._closing = False
        self._claim = claim  # the ledger entry whose lock this engine's agents keep
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
        # Before the agent's first event, which lists its jobs: jobs missing from the list are launched again.
        self._links[node] = link
        link.send(Hello(role="controller", version=VERSION))
        await asyncio.wait_for(link.greeted, START_TIMEOUT_S)
        if not link.alive:
            raise ConnectionResetError(errno.ECONNRESET, "the agent closed the connection", str(path))
        return link

    async def link(self, node: str) -> AgentLink:
        """Return the connection to the node's agent, started if needed."""
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
                link = await self._make_exit(node, link)
        except (OSError, EngineError, asyncio.TimeoutError):  # no agent listens, or it exited during the connection
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

    async def _make_exit(self, node: str, link: AgentLink) -> AgentLink:
        """Make an idle agent of another version exit.

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
        for attempt in range(START_ATTEMPTS):
            try:
                # The second start uses no copy, because the copy may be damaged.
                cache = None if attempt else paths.cache(self._environment)
                return await self._spawn(node, await asyncio.to_thread(agent_program.modules, cache, self._home))
            except OSError as error:
                problem = f"{error.filename or node}: {error.strerror or error}"
            except EngineError as error:
                problem = str(error)
            if self._closing:
                break
        if not self._closing:
            if node not in self._down:
                self._down.add(node)
                background(self._retry_start(node))
            self._on_event(NodeDown(node=node, reason=problem))
        raise NodeUnavailable(problem)

    async def _retry_start(self, node: str) -> None:
        """Start the agent of a node that is down, with retries."""
        pause = REVIVE_FIRST_S
        while node in self._down and not self._closing:
            await asyncio.sleep(pause)
            pause = min(pause * 2, REVIVE_LONGEST_S)
            try:
                await self.link(node)
            except EngineError as error:
                log.debug("node %s: %s", node, error)

    async def _spawn(self, node: str, modules: str) -> AgentLink:
        folder = self._socket(node).parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._processes = [process for process in self._processes if process.poll() is None]
        environment = {
            **self._environment,
            "PYTHONPATH": modules,
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
        try:
            while loop.time() < deadline:
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, 0.1)
                with contextlib.suppress(OSError):
                    return await self._connect(node)
                code = process.poll()
                if code is not None:
                    how = f"signal {-code}" if code < 0 else _last_line(folder / paths.AGENT_LOG, before)
                    raise EngineError(f"agent ended while starting: {how}")
        except asyncio.CancelledError:
            process.kill()
            raise
        process.kill()  # otherwise it could lock the node later
        raise EngineError(f"agent does not answer within {START_TIMEOUT_S:.0f} s")

    def _lost(self, node: str) -> None:
        """Handle the loss of an agent's connection.

        If the agent served jobs, a new agent starts and reports their state.
        """
        self._links.pop(node, None)
        here = {job_id: placed for job_id, placed in self._placed.items() if node in placed.nodes}
        if not self._closing and not here and node in self._outdated:
            background(self._relink(node))  # this agent has finished its jobs: its successor accepts new jobs
        if self._closing or not here:
            return
        for job_id, placed in here.items():
            if placed.nodes[0] == node:
                placed.ready = False  # until the next agent lists the job
            else:
                self._request(job_id, NodeLost(job_id=job_id, node=node))
        background(self._relink(node))

    async def _relink(self, node: str) -> None:
        """Start an agent that lists its node's jobs (``_listed``). If no agent starts, the jobs have failed."""
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
        # The leader of a het job starts it: the job's nodes include the nodes of all components, the leader's first.
        shares = launch.shares + (launch.every_share if launch.het else [])
        nodes = tuple(dict.fromkeys(share.name for share in shares))
        for share in shares:
            share.address = f"unix:{self._home}/nodes/{share.name}/agent.sock"
        key = (launch.job_id, launch.restart_count)
        placed = self._placed.get(launch.job_id)
        if placed is None or placed.run != launch.restart_count:
            placed = self._placed[launch.job_id] = PlacedJob(launch.restart_count, nodes)
        placed.starting += 1
        try:
            links = await self._agents(launch.job_id, placed, nodes)
        except EngineError:
            if self._placed.get(launch.job_id) is placed:
                del self._placed[launch.job_id]
            raise
        finally:
            placed.starting -= 1
        # The job may have been cancelled or relaunched meanwhile; launch only if this placement is current.
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
            self._job_arrived(launch.job_id, placed)

    async def _agents(self, job_id: int, placed: PlacedJob, nodes: Sequence[str]) -> list[AgentLink]:
        """Return the agents of a job's nodes, started a few at a time.

        Only the first few if the job ends meanwhile. Raises EngineError if this machine has too little memory for these
        agents.
        """
        needed = len(nodes) * AGENT_MIB
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
        if needed > memory // 2:
            what = f"{len(nodes)} nodes on one machine need {needed} MiB for their agents"
            raise EngineError(f"{what}, more than half of its memory")
        links = [await self.link(nodes[0])]
        while len(links) < len(nodes) and self._placed.get(job_id) is placed:
            links += await asyncio.gather(*map(self.link, nodes[len(links) : len(links) + STARTS_AT_ONCE]))
        return links

    async def terminate(self, job_id: int, state: str, signal: int, kill_wait_s: int) -> None:
        placed = self._placed.get(job_id)
        if placed is not None and placed.starting and not placed.ready:  # not sent before the last agent answers
            ended = Ended(job_id=job_id, run=placed.run, state=state, reason="None")
            self._event(placed.nodes[0], ended)
        else:
            await super().terminate(job_id, state, signal, kill_wait_s)

    async def recover(self, jobs: Iterable[Job]) -> None:
        """Connect to the agents of these jobs.

        Each agent repeats its unacknowledged events and lists its jobs. Jobs missing from the list are reported as
        Missing; the controller may launch those again.
        """
        nodes: dict[str, None] = {}
        for job in jobs:
            if job.shares:
                self._placed[job.job_id] = PlacedJob(job.restarts, job.nodes)
                nodes.update(dict.fromkeys(job.nodes))
        await asyncio.gather(*(self._relink(node) for node in nodes))
        sockets = await asyncio.to_thread(lambda: [*self._home.glob(f"nodes/*/{paths.AGENT_SOCKET}")])
        for path in sockets:
            if path.parent.name not in nodes:
                await self._connect_idle(path.parent.name)

    async def _connect_idle(self, node: str) -> None:
        """Connect to a running agent that serves none of our jobs.

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
        """Close the connections; each agent exits once it has no job."""
        self._closing = True
        if self._starting:
            starting = list(self._starting.values())
            await asyncio.wait(starting, timeout=CLOSE_S)  # its agent would wait for a connection
            # An agent that connects later would lose its controller without an Exit, and start another controller.
            await cancel_all(starting)
        expected = {node for placed in self._placed.values() for node in placed.nodes[1:]}
        for link in list(self._links.values()):
            if link.alive:
                link.send(Exit(expected=link.node in expected))
            link.close()


def _last_line(path: Path, start: int) -> str:
    """Last line of a log after its first ``start`` bytes."""
    lines = path.read_bytes()[start:].decode("utf-8", "replace").strip().splitlines() if path.exists() else []
    return lines[-1] if lines else "no message"
