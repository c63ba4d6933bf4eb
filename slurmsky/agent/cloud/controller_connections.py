"""Connections of the controller to a job's first node."""

from __future__ import annotations

import functools
import socket
import ssl
import threading
from collections.abc import Mapping
from typing import Callable, Optional

from ...protocol.messages import AgentRequest
from ..net.event_loop import Loop, wake
from ..net.session_channel import SessionChannel
from . import rendezvous


class ControllerConnections:
    """Serves each connection in a thread. ``request`` and ``handlers`` (by the role in the hello) run in the loop."""

    def __init__(
        self,
        listener: socket.socket,
        server: ssl.SSLContext,
        loop: Loop,
        request: Callable[[AgentRequest], None],
        handlers: Mapping[str, Callable[[SessionChannel], None]],
    ) -> None:
        self._listener = listener
        self._server = server
        self._loop = loop
        self._request = request
        self._handlers = handlers

    def begin(self) -> None:
        """Accept connections in a thread."""
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        """Accept TLS connections of the controller. They may come at any time, with requests for the agent."""
        self._listener.settimeout(None)
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: Optional[socket.socket]) -> None:
        assert sock is not None
        try:
            sock.settimeout(10)
            # A connection that is cut must not read like one that the peer has closed.
            tls = self._server.wrap_socket(sock, server_side=True, suppress_ragged_eofs=False)
            line = rendezvous.Line(tls)
            role = str(line.receive(10).get("role"))
            if role != "controller" and role not in self._handlers:
                return
            line.send({"welcome": True})
            if role != "controller":
                take = self._handlers[role]
                sock = None
                self._loop.soon(lambda: take(SessionChannel(self._loop, tls)))
                wake()
                return
            while True:
                message = line.receive(None)
                request = AgentRequest.decode(message)
                self._loop.soon(functools.partial(self._request, request))
                wake()
                line.send({"taken": message.get("id")})
        except (OSError, ValueError):
            return
        finally:
            if sock is not None:
                sock.close()
