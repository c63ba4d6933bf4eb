"""Where a cloud node's agent turns with commands that it does not answer itself.

What can be said without the controller is said here. For the rest the controller, which can often reach the first
node but cannot be reached from it, keeps a connection *parked* there: a client gets it and talks through it,
and the controller parks another. Other nodes pass their clients on to the first. Where no controller comes, letters
(agent/cloud/outbox.py) are left for it.
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
from ..core.client_requests import join
from ..net import endpoints
from ..net.channel import Channel
from ..net.event_loop import READ, Loop
from .outbox import UNREACHABLE, Outbox, with_script

LETTER_S = 15.0  # how long a client waits for a parked connection, if a letter would do
ANSWER = 3  # ... so many times longer if it needs an answer
FIRST_ANSWER = 8  # ... and for the first of all: the controller learns from the job's log where we are
Upstream = Callable[[], Optional[Channel]]


class CommandRelay:
    """Listens on a unix socket. ``upstream``: how another node reaches the first (None on the first)."""

    def __init__(self, loop: Loop, path: str, upstream: Optional[Upstream] = None) -> None:
        self.loop = loop
        self.upstream = upstream
        self.letters: Optional[Outbox] = None
        self._last_seen = time.monotonic()  # when a controller was here, or could first have been
        self._met = False  # a controller was here once
        self._parked: deque[Channel] = deque()
        self._waiting: deque[tuple[Channel, bytes]] = deque()
        listener = endpoints.listen(endpoints.UNIX + path)
        listener.setblocking(False)
        loop.watch(listener.fileno(), READ, lambda _events: self._accept(listener))

    def _accept(self, listener: socket.socket) -> None:
        for sock in endpoints.accept(listener):
            self.client(Channel(self.loop, sock))

    def client(self, channel: Channel) -> None:
        """Serve a client, of this node or passed on by another."""

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
                self._pass_on(channel, with_script(request))

        channel.on_frame = first

    def answer(self, request: wire.CommandRequest, channel: Channel) -> Optional[int]:
        """The exit code of a command that needs no controller; None for all others."""
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

    # --- the way up
    def park(self, channel: Channel) -> None:
        """The controller has left a connection here."""
        channel.on_close = lambda: self._lost(channel)
        self._last_seen, self._met = time.monotonic(), True
        self._parked.append(channel)
        self._match()

    def _lost(self, channel: Channel) -> None:
        if channel in self._parked:
            self._parked.remove(channel)
            self._last_seen = time.monotonic()

    def _pass_on(self, channel: Channel, request: wire.CommandRequest) -> None:
        payload = request.to_payload()
        if self.upstream is not None:
            peer = self.upstream()
            if peer is None:
                self._refuse(channel)
                return
            self._connect(channel, peer, payload)
            return
        self._waiting.append((channel, payload))
        patience = LETTER_S if self.letters is None else self.letters.after_s
        if self.letters is None or not self.letters.takes(request):
            patience *= ANSWER if self._met else FIRST_ANSWER
        self._match()
        left = max(0.0, self._last_seen + patience - time.monotonic())
        self.loop.after(left, lambda: self._give_up(channel, request))

    def _match(self) -> None:
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

    def _give_up(self, channel: Channel, request: wire.CommandRequest) -> None:
        for entry in list(self._waiting):
            if entry[0] is channel:
                self._waiting.remove(entry)
                if self.letters is not None and self.letters.takes(request) and not channel.closed:
                    self.letters.take(request, channel)
                else:
                    self._refuse(channel)

    @staticmethod
    def _refuse(channel: Channel) -> None:
        channel.send(wire.STDERR, UNREACHABLE.encode())
        channel.send(wire.EXIT, b"1")
        channel.close()
