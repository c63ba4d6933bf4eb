"""Holds worker nodes of a duplicate launch. The first node replays the earlier run's log meanwhile."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

from . import rendezvous

if TYPE_CHECKING:
    from .cloud_node import CloudNode

WORKERS_S = 120.0  # seconds to wait for the worker nodes, which SkyPilot starts at the same time


class DuplicateRunBarrier:
    """Accepts the worker nodes of a duplicate launch, and dismisses them."""

    def __init__(self, node: CloudNode, listener: socket.socket) -> None:
        self._node, self._listener = node, listener
        self._tls, _ = node.contexts()
        self._lines: dict[int, rendezvous.Line] = {}
        self._stopped = False
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def _receive(self) -> None:
        while not self._stopped:
            self._listener.settimeout(0.5)
            try:
                sock, _ = self._listener.accept()
            except socket.timeout:
                continue
            came = rendezvous.admit(sock, self._tls, self._node.given)
            if came is not None:
                line, info = came
                try:
                    line.send({"welcome": True})
                    line.send({"follow": True})
                except OSError:
                    continue  # the node will reconnect
                self._lines[info.rank] = line

    def dismiss(self, word: str, patience: float = 0.0) -> None:
        """Send the worker nodes ``finish``, or ``again``: reconnect, in order to run.

        ``patience``: seconds to wait for nodes that have not connected.
        """
        deadline = time.monotonic() + patience
        while len(self._lines) < self._node.count - 1 and time.monotonic() < deadline:
            time.sleep(0.1)
        self._stopped = True
        self._thread.join()
        for line in self._lines.values():
            try:
                line.send({word: True})
                line.sock.close()
            except OSError:
                continue  # the node has disconnected
