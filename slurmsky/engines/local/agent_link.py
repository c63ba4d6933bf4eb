"""The controller's connection to the agent of one node."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import Callable

from ...agent.job.launch_codec import LaunchWriter
from ...agent.job.version import VERSION
from ...agent.net.endpoints import peer_uid
from ...model.allocation import Launch
from ...model.codec import compact
from ...protocol import wire
from ...protocol.messages import AgentRequest, Event, NodeStatus
from ..base import EngineError, NodeUnavailable

log = logging.getLogger("slurmsky.controller")

OUTDATED = "its agent is of another version, finishes its jobs and is replaced then"


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
        #: set when the agent has sent its version, or the connection is lost
        self.greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        #: (job, run) of every launch sent over this connection
        self.launched: set[tuple[int, int]] = set()
        #: True if the agent has listed its jobs
        self.listed = False

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
                    self._version = event.version if isinstance(event, NodeStatus) else ""
                    self.greeted.set_result(None)
                self._on_event(self.node, event)
            except Exception:  # an event of one job failed; events of other jobs share this connection
                log.exception("node %s: %.200r", self.node, frame.payload)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.greeted.done():
            self.greeted.set_result(None)
        self._on_lost(self.node)

    @property
    def outdated(self) -> bool:
        """True for an agent of another version of slurmsky. It accepts no launch of this version."""
        return self.greeted.done() and self._version != VERSION

    @property
    def alive(self) -> bool:
        """True while messages can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: AgentRequest) -> None:
        """Send one request. Raises EngineError if the connection is closed."""
        if self._transport is None or self._transport.is_closing():
            raise EngineError(f"the agent of node {self.node} is gone")
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)  # one system call for all messages of this loop iteration
        self._out.append(wire.encode(wire.JSON, compact(request.encode()).encode()))

    def launch(self, launch: Launch, behind: int | None = None) -> None:
        """Send a launch to the agent (``behind``: see LaunchJob).

        Raises NodeUnavailable if the agent would not understand it.
        """
        if self.outdated:
            raise NodeUnavailable(f"node {self.node}: {OUTDATED}")
        message = self._launches.message(launch)
        self.send(message if behind is None else message.evolve(behind=behind))
        self.launched.add((launch.job_id, launch.restart_count))

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None and out:
            self._transport.write(b"".join(out))

    def abort(self) -> None:
        """Abort a connection with a silent peer."""
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close the connection; the agent keeps running."""
        self._flush()
        if self._transport is not None:
            self._transport.close()
