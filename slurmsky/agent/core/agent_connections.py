"""Listens for an agent's connections, and dispatches them by first frame.

A client opens with its request. A controller or an agent opens with a hello that names its role.
"""

from __future__ import annotations

import json
import socket
from functools import partial
from typing import TYPE_CHECKING, Callable

from ...protocol import wire
from ...protocol.messages import AgentRequest, Hello
from ..net import endpoints
from ..net.channel import Channel
from ..net.event_loop import READ
from ..net.spare_descriptor import SpareDescriptor

if TYPE_CHECKING:
    from ..net.session_channel import Sessions
    from .agent import Agent


class AgentConnections:
    """Listening sockets and accepted connections of an agent.

    The agent runs while it has connections of head agents.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        #: connections of head agents whose jobs use this node
        self.held: set[Channel] = set()
        #: accepted connections that have not sent a hello
        self.unknown: set[Channel] = set()
        #: handlers of connections, by the role in the hello
        self.roles: dict[str, Callable[[Channel], None]] = {"holder": self._hold, "session": self._begin}
        self._sessions: Sessions = {}
        self._listeners: list[socket.socket] = []
        self._spare = SpareDescriptor("the agent of node %s" % agent.node)

    def listen(self, *addresses: str) -> None:
        """Open the listening sockets. Raises OSError if another agent of this node is alive."""
        for sock in map(endpoints.listen, filter(None, addresses)):
            sock.setblocking(False)
            self._listeners.append(sock)
            self._agent.loop.watch(sock.fileno(), READ, partial(self._arrived, sock))

    def _arrived(self, listener: socket.socket, _events: int) -> None:
        self._accept(listener)

    def accept_waiting(self) -> None:
        """Accept the connections that wait at the listening sockets."""
        for listener in self._listeners:
            self._accept(listener)

    def _accept(self, listener: socket.socket) -> None:
        for sock in endpoints.accept(listener, self._spare):
            if sock.family == socket.AF_UNIX:
                self._dispatch(Channel(self._agent.loop, sock))
            else:
                from ..net.session_channel import SessionChannel
                from ..net.tls_channel import accept

                accept(self._agent.loop, sock, self._agent.tls_server, self._dispatch, SessionChannel)

    def _dispatch(self, channel: Channel) -> None:
        """Dispatch a new connection when its first frame arrives."""

        def first(kind: bytes, payload: bytes) -> None:
            channel.on_frame = lambda kind, payload: None
            self.unknown.discard(channel)
            if kind == wire.REQUEST:
                from .client_requests import serve

                serve(self._agent, channel, payload)
                return
            if kind == wire.SESSION:
                from ..net.session_channel import continue_session

                continue_session(self._sessions, channel, payload)
                return
            try:
                hello = AgentRequest.decode(json.loads(payload)) if kind == wire.JSON else None
            except ValueError:
                hello = None
            if not isinstance(hello, Hello):
                channel.close(at_once=True)
            elif hello.role == "controller":
                self._agent.controller_connected(channel, hello.version)
            elif hello.role in self.roles:
                self.roles[hello.role](channel)
            else:
                from ..steps.remote_host import serve_agent

                serve_agent(self._agent, channel)

        self.unknown.add(channel)
        channel.on_close = lambda: self.unknown.discard(channel)
        channel.on_frame = first

    def _begin(self, channel: Channel) -> None:
        """Serve a client whose session may continue over another connection."""
        from ..net.session_channel import SessionChannel
        from .client_requests import serve

        if not isinstance(channel, SessionChannel):
            channel.close(at_once=True)
            return
        channel.begin(self._sessions)
        channel.on_frame = lambda kind, payload: serve(self._agent, channel, payload)

    def _hold(self, channel: Channel) -> None:
        """Keep this agent running while the head agent is connected."""

        def closed() -> None:
            self.held.discard(channel)
            self._agent.head_agent_left()

        self.held.add(channel)
        channel.on_close = closed
