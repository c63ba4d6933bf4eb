"""Agents on this machine: one process per node, started when a job needs it, found again after a restart."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ...model.allocation import Launch
from ...model.job import Job
from ...node import wire
from ..base import EngineError, Event, OnEvent, background

START_TIMEOUT_S = 30.0


class AgentLink(asyncio.Protocol):
    """The controller's connection to one agent."""

    def __init__(
        self, node: str, on_event: Callable[[str, Event], None], on_lost: Callable[[str], None]
    ) -> None:
        self.node = node
        self._on_event = on_event
        self._on_lost = on_lost
        self._reader = wire.FrameReader()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for frame in self._reader.feed(data):
            if frame.kind == wire.JSON:
                self._on_event(self.node, json.loads(frame.payload))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._on_lost(self.node)

    @property
    def alive(self) -> bool:
        """True while messages can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, message: dict[str, Any]) -> None:
        """Send one message; raises EngineError when the agent is gone."""
        if self._transport is None or self._transport.is_closing():
            raise EngineError(f"the agent of node {self.node} is gone")
        self._transport.write(wire.encode(wire.JSON, json.dumps(message, separators=(",", ":")).encode()))

    def close(self) -> None:
        """Leave the agent to itself."""
        if self._transport is not None:
            self._transport.close()


class LocalEngine:
    """Implements engines.base.Engine with agents of this machine."""

    name = "local"
    places = True

    def __init__(
        self, home: Path, on_event: OnEvent, bin_dir: Path | None, environment: dict[str, str]
    ) -> None:
        self._home = home
        self._on_event = on_event
        self._bin = bin_dir
        self._environment = environment
        self._links: dict[str, AgentLink] = {}
        self._starting: dict[str, asyncio.Task[AgentLink]] = {}
        self._heads: dict[int, str] = {}
        self._nodes_of: dict[int, tuple[str, ...]] = {}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._closing = False

    # --- agents

    def _socket(self, node: str) -> Path:
        return self._home / "nodes" / node / "agent.sock"

    async def _connect(self, node: str) -> AgentLink:
        link = AgentLink(node, self._event, self._lost)
        loop = asyncio.get_running_loop()
        path = self._socket(node)
        # The folder's descriptor keeps the name short: a socket address has 108 bytes.
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            await loop.create_unix_connection(lambda: link, f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)
        jobs = [job_id for job_id, nodes in self._nodes_of.items() if node in nodes]
        link.send({"op": "hello", "role": "controller", "jobs": jobs})
        return link

    async def link(self, node: str) -> AgentLink:
        """A connection to the node's agent, which is started when there is none."""
        known = self._links.get(node)
        if known is not None and known.alive:
            return known
        task = self._starting.get(node)
        if task is None:
            task = self._starting[node] = asyncio.ensure_future(self._bring_up(node))
            task.add_done_callback(lambda _: self._starting.pop(node, None))
        return await asyncio.shield(task)

    async def _bring_up(self, node: str) -> AgentLink:
        try:
            link = await self._connect(node)
        except OSError:
            link = await self._spawn(node)
        self._links[node] = link
        return link

    async def _spawn(self, node: str) -> AgentLink:
        folder = self._socket(node).parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._processes = [process for process in self._processes if process.poll() is None]
        paths = [entry for entry in sys.path if entry and not entry.endswith(".zip")]
        environment = {
            **self._environment,
            "PYTHONPATH": os.pathsep.join(paths),
            "SLURMSKY_HOME": str(self._home),
        }
        if self._bin is not None:
            environment["SLURMSKY_BIN"] = str(self._bin)
        log = os.open(folder / "agent.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-S",
                    "-m",
                    "slurmsky.node.agent",
                    "--node",
                    node,
                    "--home",
                    str(self._home),
                    "--controller",
                    f"unix:{self._home / 'controller.sock'}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd="/",
                start_new_session=True,
            )
        finally:
            os.close(log)
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
                if process.poll() is not None:
                    raise EngineError(
                        f"the agent of node {node} ended at once: {_last_line(folder / 'agent.log')}"
                    ) from None
        raise EngineError(f"the agent of node {node} does not answer")

    def _event(self, node: str, event: Event) -> None:
        event.setdefault("node", node)
        if event.get("ev") == "ended":
            job_id = int(event["job_id"])
            self._heads.pop(job_id, None)
            self._nodes_of.pop(job_id, None)
        self._on_event(event)

    def _lost(self, node: str) -> None:
        """An agent went away. If it served jobs, a new one takes its place and settles what is left of them."""
        self._links.pop(node, None)
        if not self._closing and any(node in nodes for nodes in self._nodes_of.values()):
            background(self._settle(node))

    async def _settle(self, node: str) -> None:
        try:
            link = await self.link(node)
        except EngineError as error:
            for job_id in [job for job, nodes in self._nodes_of.items() if node in nodes]:
                self._event(
                    node,
                    {
                        "ev": "ended",
                        "job_id": job_id,
                        "seq": 0,
                        "state": "NODE_FAIL",
                        "exit_code": 0,
                        "exit_signal": 0,
                        "time": None,
                        "reason": "NodeDown",
                        "detail": str(error),
                    },
                )
            return
        # Jobs whose head ran elsewhere lose this node: their head must be told, and ends them.
        for job_id, nodes in list(self._nodes_of.items()):
            if node in nodes and self._heads.get(job_id) != node:
                head = await self.link(self._heads[job_id])
                head.send({"op": "node_lost", "job_id": job_id, "node": node})
        del link

    # --- Engine

    async def start(self, launch: Launch) -> None:
        nodes = tuple(share.name for share in launch.shares)
        links = [await self.link(node) for node in nodes]
        for share in launch.shares:
            share.address = f"unix:{self._socket(share.name)}"
        self._heads[launch.job_id] = nodes[0]
        self._nodes_of[launch.job_id] = nodes
        links[0].send({"op": "launch", "launch": launch.to_dict()})

    def _head(self, job_id: int) -> AgentLink:
        node = self._heads.get(job_id)
        link = self._links.get(node) if node else None
        if link is None:
            raise EngineError(f"job {job_id} has no agent")
        return link

    async def signal(self, job_id: int, signal: int, target: str) -> None:
        self._head(job_id).send({"op": "signal", "job_id": job_id, "signal": signal, "target": target})

    async def terminate(self, job_id: int, state: str, signal: int, kill_wait_s: int) -> None:
        self._head(job_id).send(
            {
                "op": "terminate",
                "job_id": job_id,
                "state": state,
                "signal": signal,
                "kill_wait_s": kill_wait_s,
            }
        )

    async def suspend(self, job_id: int) -> None:
        self._head(job_id).send({"op": "suspend", "job_id": job_id})

    async def resume(self, job_id: int) -> None:
        self._head(job_id).send({"op": "resume", "job_id": job_id})

    async def limit(self, job_id: int, end_time: float | None) -> None:
        self._head(job_id).send({"op": "limit", "job_id": job_id, "end_time": end_time})

    async def ack(self, job_id: int, seq: int) -> None:
        node = self._heads.get(job_id)
        link = self._links.get(node) if node else None
        if link is not None and link.alive:
            link.send({"op": "ack", "job_id": job_id, "seq": seq})

    def ack_to(self, node: str, job_id: int, seq: int) -> None:
        """Acknowledge to the agent that sent the event (an ended job has no head any more)."""
        link = self._links.get(node)
        if link is not None and link.alive:
            link.send({"op": "ack", "job_id": job_id, "seq": seq})

    async def recover(self, jobs: Iterable[Job]) -> None:
        by_node: dict[str, None] = {}
        for job in jobs:
            if job.shares:
                self._heads[job.job_id] = job.nodes[0]
                self._nodes_of[job.job_id] = job.nodes
                by_node.update(dict.fromkeys(job.nodes))
        for node in by_node:
            await self._settle(node)

    def agent_address(self, job_id: int) -> str | None:
        node = self._heads.get(job_id)
        return str(self._socket(node)) if node else None

    async def close(self) -> None:
        """Leave the agents: those with jobs go on, idle ones are told to exit."""
        self._closing = True
        busy = {node for nodes in self._nodes_of.values() for node in nodes}
        for node, link in list(self._links.items()):
            if node not in busy and link.alive:
                link.send({"op": "exit"})
            link.close()


def _last_line(path: Path) -> str:
    lines = path.read_text("utf-8", "replace").strip().splitlines() if path.exists() else []
    return lines[-1] if lines else "no message"
