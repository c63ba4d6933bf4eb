"""Refuses connections at the limit of open files.

Without a free descriptor accept() would fail, and the loop would call it repeatedly.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import time

from ...protocol import wire

#: errors of accept() at the limit of the process or of the system
LIMITS = (errno.EMFILE, errno.ENFILE)
#: seconds between two log lines about the limit
_LOG_S = 60.0
_LIMIT = "slurmsky: error: %s has too many open files, try again later\n"


class SpareDescriptor:
    """A reserved descriptor, closed while a connection is refused. ``who``: the server's name in the message."""

    def __init__(self, who: str) -> None:
        self._who = who
        self._fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._logged = -_LOG_S

    def refuse(self, listener: socket.socket) -> bool:
        """Refuse the next connection; False if there is none."""
        now = time.monotonic()
        if now - self._logged >= _LOG_S:
            self._logged = now
            print("%s has too many open files: connections are refused" % self._who, file=sys.stderr, flush=True)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        try:
            sock, _ = listener.accept()
        except OSError:
            self._reopen()
            return False
        try:
            if sock.family == socket.AF_UNIX:
                sock.setblocking(False)
                line = (_LIMIT % self._who).encode()
                sock.sendall(wire.encode(wire.STDERR, line) + wire.encode_int(wire.EXIT, 1))
        except OSError:
            return True  # the client has disconnected
        finally:
            sock.close()
            self._reopen()
        return True

    def _reopen(self) -> None:
        try:
            self._fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._fd = -1  # another thread or process used the descriptor: retry at the next connection
