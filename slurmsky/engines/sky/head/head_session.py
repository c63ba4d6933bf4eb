"""Session between a job's first node and the controller. Requests are sent in both directions."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ....protocol.messages import AgentRequest
from ...base import background
from ...relay import head_connection
from ...relay.head_connection import Line, OpenLine
from ...relay.proxy_socket import ProxySocket
from ...relay.relay_client import keep_parked, send_signs_of_life
from .node_access import NodeAccess

log = logging.getLogger("slurmsky.sky")


class HeadNodeSession:
    """Session with the first node of one job, across all its runs.

    ``folder``: the folder of the job's run, with its certificates. ``name``: the run's name at SkyPilot.
    ``controller``: our controller's socket. ``how`` and ``on_attempt`` are parameters of NodeAccess. ``allowed``:
    credential variables that may be sent to nodes.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        controller: Path,
        how: str,
        on_attempt: Callable[[bool], None],
        allowed: Sequence[str] = (),
    ) -> None:
        self._name = name
        self._on_attempt = on_attempt
        self._allowed = allowed
        self._folder = folder
        self._controller = controller
        self._how = how
        self._node_access: NodeAccess | None = None
        self._parked: asyncio.Task[None] | None = None
        self._keep_alive: asyncio.Task[None] | None = None
        self._proxy: ProxySocket | None = None
        self._opening: asyncio.Task[None] | None = None

    def open(self, address: str, cluster: str, on_open: Callable[[], None]) -> None:
        """Connect commands inside the job to our controller, and vice versa.

        ``address``: host:port of the node, as the node reported it; ``cluster``: SkyPilot's name of an allocation,
        whose node must get regular keep-alive messages, "" for a job; ``on_open`` is called once the job is reachable.
        """
        line = self._access(address, cluster).line
        if self._parked is None or self._parked.done():
            self._parked = background(keep_parked(line, self._controller))
        if cluster and self._keep_alive is None:
            self._keep_alive = background(send_signs_of_life(line))
        if self._proxy is None:
            to_agent = functools.partial(_open_session, line)
            path = self._folder / self._name  # by its name the next controller knows the run of a session
            self._proxy = ProxySocket(path, to_agent, self._controller, self._allowed, role="session")
            self._opening = background(self._open_proxy(self._proxy, on_open))

    @staticmethod
    async def _open_proxy(proxy: ProxySocket, on_open: Callable[[], None]) -> None:
        try:
            await proxy.open()
        except OSError as error:
            log.warning("%s: %s", proxy.path, error)
        if proxy.is_open:  # otherwise it was closed meanwhile
            on_open()

    async def send(self, address: str, cluster: str, request: AgentRequest) -> None:
        """Send a request to the node. Raises head_connection.HeadUnreachable."""
        await head_connection.send(self._access(address, cluster).line, request)

    @property
    def problem(self) -> str:
        """Return the error of the last attempt to connect; "" for none, and during the attempt."""
        return self._node_access.problem if self._node_access is not None else ""

    @property
    def address(self) -> str | None:
        """Return the local socket to the node, or None."""
        return str(self._proxy.path) if self._proxy is not None and self._proxy.is_open else None

    def _access(self, address: str, cluster: str) -> NodeAccess:
        """Return the access to the first node's current address."""
        if self._node_access is None or self._node_access.address != address:
            self._leave()
            self._node_access = NodeAccess(address, self._folder, cluster, self._how, self._on_attempt)
        return self._node_access

    def _leave(self) -> None:
        if self._node_access is not None:
            self._node_access.close()
            self._node_access = None

    def close(self) -> None:
        """Close the session and the connections of all its clients."""
        for task in (self._parked, self._keep_alive):
            if task is not None:
                task.cancel()
        self._parked = self._keep_alive = None
        if self._proxy is not None:
            self._proxy.close()
            self._proxy = None
        self._leave()


async def _open_session(open_one: OpenLine, hello: dict[str, Any]) -> Line:
    """Open a connection to the node. Nodes of earlier versions know no resumable sessions."""
    try:
        return await open_one(hello)
    except head_connection.HeadUnreachable:
        if hello["role"] != "session":
            raise
    return await open_one({"role": "agent"})
