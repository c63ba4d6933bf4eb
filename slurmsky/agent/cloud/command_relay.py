"""Relays in-job commands of a cloud node to the controller.

The controller can often connect to the first node, while the node cannot connect to the controller. So the controller
keeps a connection *parked* on the first node. A client gets that connection, and the controller parks another. Other
nodes forward their clients to the first node. If no controller connects in time, the first node answers queries about
its own jobs (``offline_queries``), seals requests that need no answer in the job's log (``outbox``), and refuses the
rest as Slurm does while slurmctld does not respond.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Optional

from ...language import hostlist
from ...language.syntax_errors import LanguageError
from ...protocol import wire
from ..core.client_requests import end_session, join
from ..net import endpoints
from ..net.channel import Channel
from ..net.event_loop import READ, Loop
from ..net.spare_descriptor import SpareDescriptor
from .offline_queries import OfflineQueries, Reply
from .outbox import UNREACHABLE, Outbox, with_script

RECONNECT_S = 1.0  # seconds for which a client waits for a parked connection, since the controller's last one
#: seconds after the job's start in which the controller may connect for the first time, by ``reach``: the controller
#: learns the nodes' addresses from the job's log
FIRST_CONNECT_S = {"yes": 60.0, "": 10.0, "no": 0.0}
Upstream = Callable[[], Optional[Channel]]


class CommandRelay:
    """Relays clients of a unix socket to parked connections of the controller.

    ``upstream``: connects to the first node (None on the first node itself). ``reach``: result of earlier connections
    from the controller to nodes of this infra: "yes", "no", or "" for unknown.
    """

    def __init__(self, loop: Loop, path: str, reach: str = "", upstream: Optional[Upstream] = None) -> None:
        self.loop = loop
        self.upstream = upstream
        self.outbox: Optional[Outbox] = None
        self.offline_queries: Optional[OfflineQueries] = None
        self._reach = reach
        self._last_seen = time.monotonic()  # last contact with the controller; at first, the start
        self._controller_seen = False  # the controller has connected at least once
        self._parked: deque[Channel] = deque()
        self._waiting: deque[tuple[Channel, bytes]] = deque()
        self._spare = SpareDescriptor("the agent of this node")
        listener = endpoints.listen(endpoints.UNIX + path)
        listener.setblocking(False)
        loop.watch(listener.fileno(), READ, lambda _events: self._accept(listener))

    def _accept(self, listener: socket.socket) -> None:
        for sock in endpoints.accept(listener, self._spare):
            self.client(Channel(self.loop, sock))

    def client(self, channel: Channel) -> None:
        """Serve a client of this node, or a forwarded one."""

        def first(kind: bytes, payload: bytes) -> None:
            channel.on_frame = lambda kind, payload: None
            if kind != wire.REQUEST:
                channel.close(at_once=True)
                return
            channel.pause()
            try:
                request = wire.CommandRequest.from_payload(payload)
            except wire.WireError:
                channel.close(at_once=True)
                return
            code = self.answer(request, channel)
            if code is not None:
                channel.send(wire.EXIT, b"%d" % code)
                channel.close()
            else:
                self._forward(channel, with_script(request))

        channel.on_frame = first

    def answer(self, request: wire.CommandRequest, channel: Channel) -> Optional[int]:
        """Return the exit code of a command that needs no controller, or None."""
        words = [word for word in request.args if not word.startswith("-")]
        if request.command != "scontrol" or len(words) < 2 or words[0] != "show" or not words[1].startswith("host"):
            return None
        kind = words[1]
        text = words[2] if len(words) > 2 else request.env.get("SLURM_JOB_NODELIST", "")
        try:
            if kind.startswith("hostn"):
                answer = "".join("%s\n" % name for name in hostlist.expand(text))
            else:
                names = text.split(",")
                answer = (hostlist.compress_sorted if kind.startswith("hostlists") else hostlist.compress)(
                    host for name in names for host in hostlist.expand(name)
                ) + "\n"
        except LanguageError:
            channel.send(wire.STDERR, ("Invalid hostlist: %s\n" % text).encode())
            return 1
        channel.send(wire.STDOUT, answer.encode("utf-8", "surrogateescape"))
        return 0

    # --- connections to the controller
    def park(self, channel: Channel) -> None:
        """Keep a connection of the controller for the next client."""
        channel.on_close = lambda: self._lost(channel)
        self._last_seen, self._controller_seen = time.monotonic(), True
        self._parked.append(channel)
        self._connect_waiting()

    def _lost(self, channel: Channel) -> None:
        if channel in self._parked:
            self._parked.remove(channel)
            self._last_seen = time.monotonic()

    def _forward(self, channel: Channel, request: wire.CommandRequest) -> None:
        payload = request.to_payload()
        if self.upstream is not None:
            peer = self.upstream()
            if peer is None:
                self._refuse(channel)
                return
            self._connect(channel, peer, payload)
            return
        self._waiting.append((channel, payload))
        self._connect_waiting()
        self._answer_after_deadline(channel, request, None, time.monotonic())

    def _answer_after_deadline(
        self, channel: Channel, request: wire.CommandRequest, reply: Optional[Reply], since: float
    ) -> None:
        """Answer a client without the controller after its deadline."""
        if all(entry[0] is not channel for entry in self._waiting):
            return  # the client has a connection
        if reply is None and self.offline_queries is not None:
            reply = self.offline_queries.answer(request)
        now = time.monotonic()
        left = max(self._deadline(request, reply), since + RECONNECT_S) - now
        if left > 0:
            self.loop.after(left, lambda: self._answer_after_deadline(channel, request, reply, since))
        else:
            self._waiting = deque(entry for entry in self._waiting if entry[0] is not channel)
            self._answer_offline(channel, request, reply)

    def _deadline(self, request: wire.CommandRequest, reply: Optional[Reply]) -> float:
        """Return a request's deadline for a connection, on the monotonic clock."""
        patience = RECONNECT_S
        if reply is None and self._reach != "no" and self.outbox is not None and self.outbox.accepts_request(request):
            patience = self.outbox.after_s
        elif reply is None and not self._controller_seen:
            patience = max(RECONNECT_S, FIRST_CONNECT_S[self._reach])
        return self._last_seen + patience

    def _connect_waiting(self) -> None:
        while self._parked and self._waiting:
            channel, payload = self._waiting.popleft()
            if not channel.closed:
                self._last_seen = time.monotonic()
                self._connect(channel, self._parked.popleft(), payload)

    @staticmethod
    def _connect(channel: Channel, peer: Channel, payload: bytes) -> None:
        peer.send(wire.REQUEST, payload)
        join(channel, peer)
        channel.resume()

    def _answer_offline(self, channel: Channel, request: wire.CommandRequest, reply: Optional[Reply]) -> None:
        if reply is not None:
            end_session(channel, reply.code, reply.err, reply.out)
        elif self.outbox is not None and self.outbox.accepts_request(request) and not channel.closed:
            self.outbox.answer_request(request, channel)
        else:
            self._refuse(channel)

    @staticmethod
    def _refuse(channel: Channel) -> None:
        channel.send(wire.STDERR, UNREACHABLE.encode())
        channel.send(wire.EXIT, b"1")
        channel.close()
