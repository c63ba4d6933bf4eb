"""Runs commands of the user's machine on a cloud node.

The commands are srun, sattach, sbcast and sstat. The controller opens a connection for each command and sends the
command's folder and environment on the user's machine. This module maps folder and environment to the node, as for the
job itself, and sends the request to the agent as one of a local client.
"""

from __future__ import annotations

import dataclasses

from ... import paths
from ...model.spec import ALLOCATED_VARIABLE
from ...protocol import wire
from ..core.client_requests import end_session, join
from ..net import endpoints
from ..net.channel import Channel
from ..net.event_loop import Loop
from ..net.session_channel import SessionChannel, Sessions, continue_session
from ..srun.step_stats import ONE_STEP
from .cloud_node import CloudNode

#: slurmsky's own variables that the agent needs for the command
RELAYED = frozenset((ALLOCATED_VARIABLE, paths.JOB_ID, ONE_STEP))


class RemoteCommands:
    """Connects remote commands to the node's agent."""

    def __init__(self, loop: Loop, node: CloudNode) -> None:
        self.loop = loop
        self.node = node
        self._sessions: Sessions = {}

    def begin(self, visitor: SessionChannel) -> None:
        """Serve a connection whose session may continue over another one."""
        visitor.begin(self._sessions)
        self.admit(visitor)

    def admit(self, visitor: Channel) -> None:
        """Serve a connection, whose first frame is a client's request or names a session."""

        def first(kind: bytes, payload: bytes) -> None:
            visitor.on_frame = lambda kind, payload: None
            if kind == wire.SESSION:
                continue_session(self._sessions, visitor, payload)
                return
            try:
                if kind != wire.REQUEST:
                    raise wire.WireError("not a request")
                request = self.relocated(wire.CommandRequest.from_payload(payload))
            except wire.WireError:
                visitor.close(at_once=True)
                return
            try:
                agent = Channel(self.loop, endpoints.connect(endpoints.UNIX + self.node.socket))
            except OSError as error:
                end_session(
                    visitor, 1, "%s: error: the agent of node %s: %s\n" % (request.command, self.node.name, error)
                )
                return
            agent.send(wire.REQUEST, request.to_payload())
            join(visitor, agent)

        visitor.on_frame = first

    def relocated(self, request: wire.CommandRequest) -> wire.CommandRequest:
        """Map the request's folder and environment to this node."""
        env = {
            name: value for name, value in request.env.items() if not name.startswith("SLURMSKY_") or name in RELAYED
        }
        here = self.node.environment_here(env)
        cwd = self.node.path_here(request.cwd)
        if "PWD" in env:
            here["PWD"] = cwd
        return dataclasses.replace(request, env=here, cwd=cwd)
