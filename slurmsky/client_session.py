"""The client's end of a resumable session. It continues over another connection after a cut.

`client_relay` loads this module when the node's agent gives the session a token. Standard library only, like the
client. `slurmsky/agent/net/session_channel.py` is the agent's end.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from slurmsky.client import connect, frame, pack
from slurmsky.client_relay import ACK, SESSION

if TYPE_CHECKING:
    from slurmsky.client import ControllerConnection

ACK_BYTES = 1 << 16
#: set in the request with which a client looks for its session at the next controller: the node
VARIABLE = b"SLURMSKY_SESSION_NODE"
_PAUSE_S = 0.05


class ResumableSession:
    """Connection to an agent that continues after a cut: unacknowledged bytes are sent again.

    ``path``: the node's socket; ``variables``: environment variables that the controller had added to the request.
    """

    def __init__(self, channel: ControllerConnection, path: bytes, variables: list[bytes]) -> None:
        self.channel = channel
        self._variables = variables
        self.joined = True  # False: the agent has not answered over this connection
        self._path = path
        self._token = b""
        self._kept = b""
        self._acknowledged = 0  # bytes that the agent has received
        self._reported = 0  # received bytes that the agent knows of
        self._place = (0, b"", 0)  # where the former connection was cut

    @property
    def variables(self) -> list[bytes]:
        """Variables of a request for the session at the next controller."""
        return [*self._variables, VARIABLE + b"=" + self._path.rpartition(b"/")[2]]

    def welcome(self, payload: bytes) -> None:
        """Handle the agent's D frame, and send what it has not received."""
        if not self._token:
            self._token = payload
            self.channel.resume(5 + len(payload), b"", 0)
            return
        self.channel.resume(*self._place)
        self.acknowledge(int(payload))
        self.joined = True
        try:
            self.channel.sock.sendall(self._kept)
        except OSError:
            pass  # the next read reports the end

    def sent(self, data: bytes) -> bool:
        """Keep a frame; False if it is to be sent after the agent's answer."""
        self._kept += data
        return self.joined

    def acknowledge(self, received: int) -> None:
        """Forget the bytes that the agent has received."""
        self._kept = self._kept[received - self._acknowledged :]
        self._acknowledged = received

    def report(self, at_once: bool) -> bytes:
        """The frame that acknowledges what has arrived; empty while that is little."""
        taken = self.channel.bytes_received()[0]
        if not (self._token and self.joined) or taken - self._reported < (1 if at_once else ACK_BYTES):
            return b""
        self._reported = taken
        return frame(ACK, b"%d" % taken)

    def part(self) -> None:
        """Note that the connection was cut."""
        self.channel.sock.close()
        if self.joined:
            self.joined = False
            self._place = self.channel.bytes_received()
        else:
            time.sleep(_PAUSE_S)  # this connection was cut before the agent's answer

    def reconnect(self, path: bytes = b"") -> None:
        """Connect to the node's socket, which may have moved, and name the session. Raises OSError."""
        self._path = path or self._path
        sock = connect(self._path)
        self.channel.restart(sock)
        sock.sendall(frame(SESSION, pack([self._token, b"%d" % self._place[0]])))
