"""A framed, non-blocking connection with bounded buffers."""

from __future__ import annotations

import json
import socket
from collections import deque
from typing import Any, Callable, Optional

from ...protocol import wire
from .event_loop import READ, WRITE, Loop

READ_SIZE = 1 << 18
#: unsent bytes above which a channel is full, so that producers must pause
HIGH_WATER = 1 << 20
LOW_WATER = 1 << 18


class Channel:
    """One connection: ``send`` frames, get ``on_frame(kind, payload)`` and one ``on_close()``.

    ``full`` is the back-pressure: a producer of much data checks it, pauses, and continues in ``on_drain``.
    """

    def __init__(self, loop: Loop, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.loop = loop
        self.sock = sock
        self.on_frame: Callable[[bytes, bytes], None] = lambda kind, payload: None
        self.on_close: Callable[[], None] = lambda: None
        self.on_drain: Callable[[], None] = lambda: None
        self.peer_uid: Optional[int] = None
        self._reader = wire.FrameReader()
        self._out: deque[bytes] = deque()
        self._unsent = 0
        self._flushing = False
        self._reading = True
        self._was_full = False
        self._closing = False
        self._broken = False
        self.closed = False
        loop.watch(sock.fileno(), READ, self._ready)

    # --- sending
    @property
    def full(self) -> bool:
        """True if the peer is slow, so that producers must pause."""
        if self._unsent > HIGH_WATER:
            self._was_full = True
        return self._was_full

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        """Queue one frame. The frames of one loop iteration are sent in one system call."""
        if self.closed or self._closing or self._broken:
            return
        self._out.append(wire.header(kind, len(payload)))
        if payload:
            self._out.append(payload)
        self._unsent += 5 + len(payload)
        if self._unsent > READ_SIZE:
            self._flush()
        elif not self._flushing:
            self._flushing = True
            self.loop.soon(self._flush_soon)

    def send_json(self, message: dict[str, Any]) -> None:
        """Queue a J frame."""
        self.send(wire.JSON, json.dumps(message, separators=(",", ":")).encode())

    def _flush_soon(self) -> None:
        self._flushing = False
        self._flush()

    def _flush(self) -> None:
        if self.closed:
            return
        try:
            while self._out:
                batch = []
                size = 0
                for piece in self._out:
                    batch.append(piece)
                    size += len(piece)
                    if len(batch) == 64 or size > READ_SIZE * 2:
                        break
                sent = self._send(batch)
                self._unsent -= sent
                while sent and self._out:
                    piece = self._out[0]
                    if len(piece) <= sent:
                        sent -= len(piece)
                        self._out.popleft()
                    else:
                        self._out[0] = piece[sent:]
                        sent = 0
        except (BlockingIOError, InterruptedError):
            pass  # the rest is sent when the socket is writable again
        except OSError:
            self._cannot_send()
        self._interest()
        if self._closing and self._all_sent():
            self._lost()

    def _cannot_send(self) -> None:
        # The peer has closed, but frames that it sent before may still arrive: keep reading.
        self._broken = True
        self._out.clear()
        self._unsent = 0

    def _all_sent(self) -> bool:
        return not self._out

    def _send(self, batch: list[bytes]) -> int:
        return self.sock.sendmsg(batch)

    # --- reading
    def pause(self) -> None:
        """Stop reading; the peer blocks when the kernel's buffers are full."""
        self._reading = False
        self._interest()

    def resume(self) -> None:
        """Start reading again."""
        self._reading = True
        self._interest()

    def _interest(self) -> None:
        if not self.closed:
            self.loop.change(self.sock.fileno(), (READ if self._reading else 0) | (WRITE if self._out else 0))
            if self._was_full and self._unsent <= LOW_WATER:
                self._was_full = False
                self.on_drain()

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if self.closed or not events & ~WRITE:
            return
        try:
            data = self._receive()
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._lost()
            return
        try:
            for kind, payload in self._reader.feed(data):
                try:
                    self._received(kind, payload)
                except wire.WireError:
                    raise
                except Exception:
                    self.loop.report()  # for this frame only: the reader still holds the later frames
                if self.closed:
                    return
        except wire.WireError:
            self._lost()

    def _receive(self) -> bytes:
        return self.sock.recv(READ_SIZE)

    def _received(self, kind: bytes, payload: bytes) -> None:
        self.on_frame(kind, payload)

    def drain(self) -> None:
        """Handle the received frames of a dead peer, then close."""
        while not self.closed:
            try:
                data = self._receive()
            except OSError:
                data = b""  # no more data, or a broken connection
            if not data:
                break
            try:
                for kind, payload in self._reader.feed(data):
                    self.on_frame(kind, payload)
            except wire.WireError:
                break
        self._lost()

    # --- ending
    def close(self, at_once: bool = False) -> None:
        """Close after all queued frames are sent, or at once. ``on_close`` is called in both cases."""
        if at_once or not self._out:
            self._lost()
        else:
            self._closing = True
            self._flush()

    def _lost(self) -> None:
        if self.closed:
            return
        self.closed = True
        self.loop.forget(self.sock.fileno())
        self.sock.close()
        self._out.clear()
        self._unsent = 0
        self.on_close()
