"""Agents of warm nodes: power, connections, events, lost nodes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ... import paths
from ...agent.job.version import VERSION
from ...protocol.messages import (
    Ended,
    Event,
    Exit,
    Hello,
    JobList,
    NodeEnds,
    NodeLost,
    NodeTaken,
    Ping,
    Pong,
    Power,
)
from ...site.record import WarmNodes
from ..base import EngineError, OnEvent, background
from ..local.agent_link import OUTDATED, AgentLink
from ..local.local_engine import LocalEngine
from ..powered import Order
from .agent_requests import ANSWER_S, AgentRequests
from .fleet import Fleet
from .neighbourhoods import Neighbourhoods
from .node_lines import ConnectionLost, NodeConnections, Streams
from .node_setup import NodeSetup
from .node_sockets import NodeSockets
from .provider import Provider
from .reconnecting import RETRY_S, Reconnecting
from .remote_files import RemoteFiles

log = logging.getLogger("slurmsky.nodes")

#: seconds of silence after which a connection to an agent counts as broken
PING_S = 10.0
_READY_POLL_S = 0.2
#: factor on [sky] upload_mib for a submit folder, because a warm node receives a file only once
UPLOADS = 4


class WarmAgents(LocalEngine):
    """Base of NodesEngine: the connections to agents of warm nodes.

    ``reach``: auto, direct or ssh; ``idle_s``: seconds for which a node stays up without job and controller.
    """

    def __init__(
        self,
        home: Path,
        on_event: OnEvent,
        warm: Mapping[str, WarmNodes],
        provider: Provider,
        prepare: Any,
        reach: str = "auto",
        upload_mib: int = 1024,
        allowed: Sequence[str] = ("*",),
    ) -> None:
        super().__init__(home, on_event, None, {})
        self.folder = home / "kept"
        self.fleet = Fleet(self.folder, warm, provider, self._power, prepare)
        self._lines = NodeConnections(provider, reach)
        self.fleet.on_over = self._lines.leave

        async def connect(node: str) -> Streams:
            return await self._streams(node, "files")

        self._files = RemoteFiles(self.folder / "jobs", home, UPLOADS * upload_mib << 20, connect)
        self._requests = AgentRequests()
        self._setup = NodeSetup(self._files, self._requests, self.fleet.address, allowed)
        self._pids: dict[str, int] = {}  # of each node's agent; a new pid means that the agent was killed
        self._unread_lists: dict[str, Event] = {}  # job lists that arrived before their connection was ready
        self._last_message: dict[str, float] = {}  # loop time of each agent's last message
        adapt = self._setup.request_there
        self._sockets = NodeSockets(self.folder / "doors", home / paths.SOCKET_NAME, self._for_command, adapt)
        self._reconnecting = Reconnecting(self.fleet, provider, self.link, self._show, self.lose)
        self._not_sent: dict[int, int] = {}  # jobs whose launch has not been sent yet, with their run
        self._pinging: asyncio.Task[None] | None = None
        self._neighbourhoods = Neighbourhoods(self.fleet, self._reach)

    # --- power

    def _power(self, node: str, state: str, why: str) -> None:
        order = self.fleet.order_of(node)
        if state in ("off", "leaving", "failed"):
            if state == "leaving" and order is not None and order.existing:
                self._end_agent(node)
            self._drop(node)
        if state == "up" and order is not None:
            if self._neighbourhoods.add(order):
                background(self._connect_peers(order))
            self._watch(node)
        if state in ("off", "failed"):
            self._neighbourhoods.prune()
        self._on_event(Power(node=node, state=state, why=why))

    def _show(self, node: str, state: str) -> None:
        self._on_event(Power(node=node, state=state))

    def _end_agent(self, node: str) -> None:
        """Make the agent of a remaining node exit. The next order then starts another agent."""
        link = self._links.get(node)
        if link is not None and link.alive:
            link.send(Exit())

    def _drop(self, node: str) -> None:
        """Close the connection to a node that is lost or powers down."""
        self._reconnecting.drop(node)
        self._sockets.drop(node)
        link = self._links.pop(node, None)
        if link is not None:
            link.close()
        self._files.drop(node)
        self._setup.drop(node)
        self._pids.pop(node, None)

    def ready_in(self, nodes: Iterable[str]) -> float:
        return self.fleet.ready_in(nodes)

    def neighbourhood(self, node: str) -> int:
        """Number of a node's connected group; 0: the node is off."""
        return self._neighbourhoods.of(node)

    async def price(self, partition: str) -> float:
        return await self.fleet.provider.price(partition)

    async def _connect_peers(self, order: Order) -> None:
        await self._neighbourhoods.connect_peers(order)
        self._show(order.nodes[0], "met")

    async def _reach(self, order: Order, other: Order) -> bool:
        for node in order.nodes:
            if not await self._requests.reaches(await self._linked(node), other):
                return False
        return True

    # --- connections

    def _socket(self, node: str) -> Path:
        return self._sockets.path(node)

    def _address(self, node: str) -> str:
        return self.fleet.address(node)

    async def _connect(self, node: str) -> AgentLink:
        order = self.fleet.order_of(node)
        if order is None:
            raise EngineError(f"node {node} is not up")
        link = AgentLink(node, self._event, self._lost)
        self._unread_lists.pop(node, None)  # of a connection that broke before it was ready
        environment = self._requests.expect(node, "facts")
        await self._lines.protocol(order, node, lambda: link)
        link.send(Hello(role="controller", version=VERSION))
        try:
            now = await asyncio.wait_for(environment, ANSWER_S)
        except asyncio.TimeoutError:
            link.abort()
            raise
        known = self._pids.get(node)
        self._setup.detected[node], self._pids[node] = now, now.pid
        if known is not None and known != now.pid:
            self._restarted(node)
        return link

    def _restarted(self, node: str) -> None:
        """Report lost processes after a restart of a node's agent.

        These are its parts of jobs whose head is another node.
        """
        for job_id, placed in list(self._placed.items()):
            if node in placed.nodes[1:] and job_id not in self._not_sent:
                self._request(job_id, NodeLost(job_id=job_id, node=node))

    async def _bring_up(self, node: str) -> AgentLink:
        """Connect to the node's agent. Raises EngineError if it does not answer now."""
        loop = asyncio.get_running_loop()
        try:
            link = await self._connect(node)
        except (OSError, asyncio.TimeoutError) as error:
            raise EngineError(f"the agent of node {node} does not answer: {str(error) or 'no answer'}") from None
        self._links[node] = link
        self._last_message[node] = loop.time()
        await self._sockets.open(node)
        await self._files.resume(node)
        if not link.alive:
            self._links.pop(node, None)
            raise ConnectionLost(f"the connection to node {node} broke")
        if link.outdated:
            self._on_event(Power(node=node, state="outdated", why=OUTDATED))
        early = self._unread_lists.pop(node, None)
        if early is not None:
            super()._event(node, early)
        if self._pinging is None:
            self._pinging = background(self._ping())
        return link

    async def _linked(self, node: str) -> AgentLink:
        """Wait for the connection to a node's agent. Raises EngineError once the node is lost."""
        while True:
            try:
                return await self.link(node)
            except EngineError:
                if not self.fleet.is_up(node):
                    raise
            self._watch(node)
            await asyncio.sleep(_READY_POLL_S)

    async def _streams(self, node: str, role: str) -> Streams:
        order = self.fleet.order_of(node)
        if order is None:
            raise OSError(f"node {node} is not up")
        try:
            return await self._lines.streams(order, node, role)
        except EngineError as error:
            raise OSError(str(error)) from error

    async def _for_command(self, node: str, role: str) -> Streams:
        """Connect a command to a node.

        A command of this machine waits until the node is reconnected or lost.
        ``role``: "session", "agent" to continue a session, or "desk" for the commands of the node.
        """
        if role == "desk":
            return await self._streams(node, role)
        for pause in RETRY_S:
            try:
                link = await self._linked(node)
                return await self._streams(node, role if role == "session" and not link.outdated else "")
            except EngineError as error:
                raise OSError(str(error)) from error
            except OSError as error:
                log.info("node %s: %s", node, error)
            await asyncio.sleep(pause)
        return await self._streams(node, "")

    async def _ping(self) -> None:
        """Detect agents that stop answering. A machine that is switched off closes no connection."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(PING_S)
            for node, link in list(self._links.items()):
                if loop.time() - self._last_message.get(node, 0.0) > 3 * PING_S:
                    link.abort()
                elif link.alive:
                    link.send(Ping())

    # --- events

    def _event(self, node: str, event: Event) -> None:
        self._last_message[node] = asyncio.get_running_loop().time()
        if self._requests.resolve_request(node, event):
            return
        if isinstance(event, Ended) and self._files.has(event.job_id, event.run):
            background(self._bring_back(node, event))
        elif isinstance(event, JobList) and node not in self._links:
            self._unread_lists[node] = event  # compared with the launches sent, which are not known yet
        elif isinstance(event, NodeTaken):
            self._node_taken(node, event)
        elif not isinstance(event, Pong):
            super()._event(node, event)

    async def _bring_back(self, node: str, event: Ended) -> None:
        """Report a job's end once its output and files have arrived."""
        job_id, run = event.job_id, event.run
        whole, problem = await self._files.receive_changes(job_id, run, self.fleet.is_up)
        if self._files.has(job_id, run) or self._closing:
            return  # an earlier call is doing it, or the next controller will
        if problem:
            event = event.evolve(comment="; ".join(filter(None, (event.comment, problem))))
        if not whole and event.state == "COMPLETED":
            event = event.evolve(state="NODE_FAIL", reason="NodeDown")  # its results are lost
        super()._event(node, event)

    # --- lost nodes

    def _node_taken(self, node: str, event: NodeTaken) -> None:
        """Handle the notice that a node will be reclaimed.

        No job starts there, and heads of its jobs on other nodes get the notice, too.
        """
        if not self.fleet.is_up(node):
            return  # taken down by us
        self._on_event(Power(node=node, state="taken", why=event.why))
        left = max(1, int(event.at - time.time()))
        for job_id, placed in self._placed.items():
            if node in placed.nodes[1:] and job_id not in self._not_sent:
                self._request(job_id, NodeEnds(job_id=job_id, left_s=left))

    def _lost(self, node: str) -> None:
        """Reconnect to an agent after its connection broke. The agent and its jobs may be well."""
        known = self._links.get(node)
        if self._closing or (known is not None and known.alive):
            return  # this was an earlier connection
        self._links.pop(node, None)
        self._requests.fail(node)
        self._files.drop(node)
        for job_id, placed in self._placed.items():
            if placed.nodes[0] == node and job_id not in self._not_sent:
                placed.ready = False  # until the agent lists the job
        if self.fleet.is_up(node):
            self._watch(node)

    def _watch(self, node: str) -> None:
        if not self._closing:
            self._reconnecting.begin(node)

    def lose(self, order: Order, why: str) -> None:
        """End or requeue the jobs of lost nodes."""
        self.fleet.forget(order, why)
        for job_id, placed in list(self._placed.items()):
            lost = [node for node in placed.nodes if node in order.nodes]
            if not lost or job_id in self._not_sent:
                continue
            if placed.nodes[0] in order.nodes:
                self._over(job_id, placed.nodes[0], "NODE_FAIL", "NodeDown", f"{','.join(lost)}: {why}")
            else:
                self._request(job_id, NodeLost(job_id=job_id, node=lost[0]))

    def _over(self, job_id: int, node: str, state: str, reason: str, comment: str) -> None:
        """Report the end of a job without an agent's report."""
        placed = self._placed.get(job_id)
        if placed is None:
            return
        self._files.forget(job_id, placed.run)
        super()._event(node, Ended(job_id=job_id, run=placed.run, state=state, reason=reason, comment=comment))
