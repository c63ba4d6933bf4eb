"""Channels whose sessions continue over another connection when theirs is cut."""

from __future__ import annotations

import os
from collections import deque
from typing import Dict

from ...protocol import wire
from .channel import Channel
from .event_loop import READ, Timer
from .tls_channel import TlsChannel

#: seconds that a session waits for its client: SlurmdTimeout
KEPT_S = 300.0
Sessions = Dict[bytes, "SessionChannel"]


def continue_session(sessions: Sessions, channel: Channel, payload: bytes) -> None:
    """Continue a session over this connection. An unknown session is lost."""
    token, received = wire.decode_list(payload)
    session = sessions.get(token)
    if session is not None and isinstance(channel, TlsChannel):
        session.rejoin(channel, int(received))
    else:
        channel.send(wire.EXIT, b"%d" % wire.SESSION_LOST)
        channel.close()


class SessionChannel(TlsChannel):
    """A TLS channel. After ``begin`` it survives connections that end without TLS's closing alert.

    Bytes that the client has not acknowledged are kept, and sent again over the next connection.
    """

    _sessions: Sessions
    _token = b""  # of a session that has begun

    def begin(self, sessions: Sessions) -> None:
        """Give the session a token, by which ``sessions`` and the client know it."""
        self._sessions, self._token = sessions, os.urandom(16)
        sessions[self._token] = self
        self._kept: deque[bytes] = deque()  # sent, and not acknowledged
        self._acknowledged = 0  # bytes that the client has received
        self._taken = self._reported = 0  # bytes of the client's frames; the number that the client knows
        self._exiting = False  # the exit code has been queued: the session ends when the client has it
        self._cut = self._parted = False
        self._silent = False  # this connection takes no more bytes
        self._patience: Timer | None = None
        self.send(wire.SESSION, self._token)

    def rejoin(self, channel: TlsChannel, received: int) -> None:
        """Continue over the connection of ``channel``; the client has received this number of bytes."""
        if not self._parted:
            self._part()  # the former connection is dead without notice
        self._acknowledge(received)
        sock = channel.release()
        try:
            sock.send(wire.encode(wire.SESSION, b"%d" % self._taken))  # a connection's first bytes fit into its buffer
        except OSError:
            sock.close()
            return
        if self._patience is not None:
            self._patience.cancel()
        self.sock = self._tls = sock
        self._parted = self._silent = self._cut = False
        self._out.extendleft(reversed(self._kept))
        self._unsent += sum(map(len, self._kept))
        self._kept.clear()
        self.loop.watch(sock.fileno(), READ, self._ready)
        self._flush()

    def _part(self) -> None:
        self.loop.forget(self.sock.fileno())
        self.sock.close()
        self._parted = True
        self._reader = wire.FrameReader()  # the client repeats a frame that was cut
        self._patience = self.loop.after(KEPT_S, self._end)

    def _end(self) -> None:
        self._cut = False
        self._lost()

    # --- sending
    def send(self, kind: bytes, payload: bytes = b"") -> None:
        """Queue one frame, also while there is no connection."""
        super().send(kind, payload)
        if kind == wire.EXIT and self._token:
            self._exiting = True

    def _send(self, batch: list[bytes]) -> int:
        if not self._token:
            return super()._send(batch)
        if self._parted or self._silent:
            raise BlockingIOError
        data = b"".join(batch)
        sent = super()._send([data])
        self._kept.append(data[:sent])
        return sent

    def _cannot_send(self) -> None:
        if self._token:
            self._silent = True  # its end is read next
        else:
            super()._cannot_send()

    def _all_sent(self) -> bool:
        return super()._all_sent() and not (self._token and self._exiting and self._kept)

    def close(self, at_once: bool = False) -> None:
        """Close immediately, or after all frames. A queued exit code must have been acknowledged."""
        if at_once or self._all_sent():
            self._cut = False
            self._lost()
        else:
            self._closing = True
            self._flush()

    def _interest(self) -> None:
        if not (self._token and self._parted):
            super()._interest()

    def _acknowledge(self, received: int) -> None:
        """Forget the bytes that the client has received."""
        count = received - self._acknowledged
        self._acknowledged = received
        while count > 0:
            piece = self._kept.popleft()
            if len(piece) > count:
                self._kept.appendleft(piece[count:])
            count -= len(piece)

    # --- receiving
    def _receive(self) -> bytes:
        try:
            return super()._receive()
        except BlockingIOError:
            raise
        except OSError:
            self._cut = True
            raise

    def _received(self, kind: bytes, payload: bytes) -> None:
        if not self._token or kind == wire.REQUEST:
            super()._received(kind, payload)
            return
        self._taken += wire.HEADER_SIZE + len(payload)
        if kind == wire.ACK:
            self._acknowledge(int(payload))
            if self._closing and self._all_sent():
                self._lost()
            return
        if self._taken - self._reported >= wire.ACK_BYTES:
            self._reported = self._taken
            self.send(wire.ACK, b"%d" % self._taken)
        super()._received(kind, payload)

    def _lost(self) -> None:
        if self._token and not self.closed:
            if self._cut and not self._parted:
                self._part()
                return
            del self._sessions[self._token]
            if self._patience is not None:
                self._patience.cancel()
        super()._lost()
