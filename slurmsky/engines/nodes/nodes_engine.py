"""Engine of warm nodes, on agents that a provider starts. It places jobs as the local engine does."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable

from ...model.allocation import Launch
from ...model.job import Job
from ...model.states import JobFlag
from ...protocol.messages import (
    Configured,
    Missing,
    Waiting,
)
from ..base import EngineError, NodeUnavailable, background, cancel_all
from ..local.agent_link import OUTDATED, AgentLink
from ..local.placed_jobs import PlacedJob
from .node_lines import ConnectionLost
from .reconnecting import RETRY_S
from .warm_agents import WarmAgents

log = logging.getLogger("slurmsky.nodes")


class NodesEngine(WarmAgents):
    """Implements engines.base.Engine on warm nodes."""

    name = "nodes"
    this_machine = False

    async def start(self, launch: Launch) -> None:
        shares = launch.shares + (launch.every_share if launch.het else [])
        nodes = tuple(dict.fromkeys(share.name for share in shares))
        run = launch.restart_count
        placed = self._placed.get(launch.job_id)
        if placed is None or placed.run != run:
            placed = self._placed[launch.job_id] = PlacedJob(run, nodes)
        if self._not_sent.get(launch.job_id) == run:
            return  # an earlier call already waits for the nodes
        waits = not all(self.fleet.is_up(node) for node in nodes)
        self._not_sent[launch.job_id] = run
        try:
            await self.fleet.up(nodes, lambda text: self._waiting_for(launch, text))
            there, links = await self._prepared(launch, placed)
        except (EngineError, OSError) as error:
            if self._placed.get(launch.job_id) is not placed:
                return
            del self._placed[launch.job_id]
            raise NodeUnavailable(str(error)) from error
        finally:
            if self._not_sent.get(launch.job_id) == run:  # else a later run of the job waits
                del self._not_sent[launch.job_id]
        # The job may have ended or been launched again: launch only if this run is current.
        key = (launch.job_id, run)
        if self._placed.get(launch.job_id) is not placed:
            self._files.forget(launch.job_id, run)
            return
        if placed.ready or key in links[0].launched:
            return
        if waits:
            there.start_time = time.time()
        self._on_event(Configured(job_id=launch.job_id, run=run, time=there.start_time))
        links[0].launch(there)
        self._job_arrived(launch.job_id, placed)

    async def _prepared(self, launch: Launch, placed: PlacedJob) -> tuple[Launch, list[AgentLink]]:
        """Adapt a launch to nodes that are up. Raises EngineError. If a connection breaks, retry over the next one."""
        problem: Exception = EngineError("its connections broke repeatedly")
        for pause in (*RETRY_S, 0.0):
            links = [await self._linked(node) for node in placed.nodes]
            if any(link.outdated for link in links):
                raise NodeUnavailable(OUTDATED)
            if self._placed.get(launch.job_id) is not placed:
                raise EngineError(f"job {launch.job_id} has no agent")  # the job ended during the bring-up of its nodes
            for share in launch.shares + (launch.every_share if launch.het else []):
                share.address = self.fleet.address(share.name)
            try:
                there = await self._setup.prepared(launch, links)
                if links[0].alive:
                    return there, links
            except (EngineError, OSError) as error:
                if not isinstance(error, (ConnectionLost, ConnectionError)) and all(link.alive for link in links):
                    raise
                problem = error
                log.info("job %d: %s", launch.job_id, error)
            await asyncio.sleep(pause)
        raise problem

    def _waiting_for(self, launch: Launch, text: str) -> None:
        self._on_event(Waiting(job_id=launch.job_id, run=launch.restart_count, comment=text))

    async def terminate(self, job_id: int, state: str, signal: int, kill_wait_s: int) -> None:
        placed = self._placed.get(job_id)
        if placed is not None and job_id in self._not_sent:
            self._over(job_id, placed.nodes[0], state, "None", "")
        else:
            await super().terminate(job_id, state, signal, kill_wait_s)

    async def recover(self, jobs: Iterable[Job]) -> None:
        """Resume the nodes and jobs of an earlier controller.

        Agents repeat unacknowledged events and list their jobs. Jobs whose launch was not sent are launched; jobs of
        lost nodes have failed.
        """
        self.fleet.load()
        for job in jobs:
            if not job.shares:
                continue
            placed = self._placed[job.job_id] = PlacedJob(job.restarts, job.nodes)
            orders = [self.fleet.order_of(node) for node in placed.nodes]
            there = all(order is not None and order.phase != "leaving" for order in orders)
            if JobFlag.CONFIGURING in job.flags and not all(map(self.fleet.is_up, placed.nodes)):
                background(self._again(job.job_id, placed))
            elif not there:
                background(self._gone(job.job_id, placed))
        self._files.load((job_id, placed.run) for job_id, placed in self._placed.items())
        up = [node for order in self.fleet.orders.values() if order.phase == "up" for node in order.nodes]
        if up:  # agents that answer at once are ready for the first command
            watching = self._reconnecting.running()
            await asyncio.wait(watching, timeout=2.0) if watching else None

    async def _again(self, job_id: int, placed: PlacedJob) -> None:
        self._on_event(Missing(job_id=job_id, run=placed.run, node=placed.nodes[0]))

    async def _gone(self, job_id: int, placed: PlacedJob) -> None:
        why = "the node was gone when the controller started"
        self._over(job_id, placed.nodes[0], "NODE_FAIL", "NodeDown", why)

    def agent_address(self, job_id: int) -> str | None:
        placed = self._placed.get(job_id)
        if placed is None or not placed.ready or not self._sockets.has(placed.nodes[0]):
            return None
        return str(self._socket(placed.nodes[0]))

    async def node_socket(self, node: str) -> str | None:
        try:
            await self._linked(node)
        except EngineError:
            return None
        return str(self._socket(node))

    def missing_connections(self, job_id: int) -> str:
        placed = self._placed.get(job_id)
        if placed is None or placed.ready:
            return ""
        return f"node {placed.nodes[0]} {'powers up' if job_id in self._not_sent else 'does not answer now'}"

    def holds_nodes(self) -> bool:
        """True if nodes are up or ordered. The controller keeps running to power them down."""
        return bool(self.fleet.orders) or any(one.keep_up or one.cluster for one in self.fleet.warm_nodes.values())

    async def close(self) -> None:
        """Close the connections; nodes and jobs keep running."""
        self._closing = True
        tasks = [*self.fleet.close(), *self._reconnecting.running(), *self._sockets.close(), *self._starting.values()]
        tasks += [self._pinging] if self._pinging is not None else []
        for link in list(self._links.values()):
            link.close()
        self._files.close()
        self._lines.close()
        await cancel_all(tasks)
