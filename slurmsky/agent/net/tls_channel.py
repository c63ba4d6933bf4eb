"""Channels over mutual TLS, for agents of one job on different machines."""

from __future__ import annotations

import socket
import ssl
from typing import Callable, cast

from .channel import READ_SIZE, Channel
from .event_loop import READ, WRITE, Loop

HANDSHAKE_S = 15.0


class TlsChannel(Channel):
    """A channel over an ssl.SSLSocket after its handshake."""

    def __init__(self, loop: Loop, sock: socket.socket) -> None:
        super().__init__(loop, sock)
        self._tls = cast(ssl.SSLSocket, sock)

    def release(self) -> ssl.SSLSocket:
        """Give up the connection without closing it."""
        self.loop.forget(self.sock.fileno())
        self.closed = True
        return self._tls

    def _send(self, batch: list[bytes]) -> int:
        try:
            return self._tls.send(b"".join(batch))
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None

    def _receive(self) -> bytes:
        data = b""
        try:
            data = self._tls.recv(READ_SIZE)
            # Bytes that TLS has decrypted do not make the socket readable again.
            while data and self._tls.pending():
                data += self._tls.recv(self._tls.pending())
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if not data:
                raise BlockingIOError from None
        return data


def accept(
    loop: Loop,
    sock: socket.socket,
    context: ssl.SSLContext | None,
    greet: Callable[[Channel], None],
    make: Callable[[Loop, ssl.SSLSocket], Channel] = TlsChannel,
) -> None:
    """Run the handshake without blocking the loop, then call ``greet``. A peer without certificate is refused."""
    if context is None:
        sock.close()
        return
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A connection that is cut must not read like one that the peer has closed.
    tls = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False)
    shaken = False

    def done(good: bool) -> None:
        nonlocal shaken
        if shaken:
            return
        shaken = True
        patience.cancel()
        loop.forget(tls.fileno())
        if good:
            greet(make(loop, tls))
        else:
            tls.close()

    def step(_events: int) -> None:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            loop.change(tls.fileno(), READ)
        except ssl.SSLWantWriteError:
            loop.change(tls.fileno(), WRITE)
        except OSError:
            done(False)
        else:
            done(True)

    patience = loop.after(HANDSHAKE_S, lambda: done(False))
    loop.watch(tls.fileno(), READ, step)
