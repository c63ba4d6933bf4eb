"""Reads the end of a job's output file repeatedly."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from .plain_text import output_line

#: limits of the part that is shown
TAIL_BYTES = 256 << 10
MOST_LINES = 2000
_PIECE = 1 << 16


@dataclass(frozen=True)
class TailView:
    """Last lines, ready to show, or the reason without them."""

    lines: tuple[str, ...] = ()
    problem: str = ""
    size: int = 0


class Tail:
    """File identified by its path. A replaced file (of a requeued job) is detected at the next read."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._known: tuple[int, ...] = ()
        self._last = TailView()

    def read(self) -> TailView:
        """Read the end of the file. Returns the same object as before if the file has not changed."""
        try:
            # Do not block on a FIFO, and do not acquire a terminal as the controlling terminal.
            fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            return self._problem("no such file (yet)" if isinstance(error, FileNotFoundError) else str(error.strerror))
        except ValueError:
            return self._problem("no file has such a name")
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                return self._problem("not a regular file")
            known = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            if known != self._known:
                self._last = TailView(
                    _lines(_end(fd, status.st_size), status.st_size > TAIL_BYTES), size=status.st_size
                )
                self._known = known
            return self._last
        except OSError as error:
            return self._problem(str(error.strerror))
        finally:
            os.close(fd)

    def _problem(self, text: str) -> TailView:
        self._known = ()
        if self._last.problem != text:
            self._last = TailView(problem=text)
        return self._last


def _end(fd: int, size: int) -> bytes:
    position = max(0, size - TAIL_BYTES)
    pieces = []
    while piece := os.pread(fd, _PIECE, position):
        pieces.append(piece)
        position += len(piece)
        if position - size > TAIL_BYTES:
            break  # the file grows faster than we read; the next call continues
    return b"".join(pieces)


def _lines(data: bytes, cut: bool) -> tuple[str, ...]:
    lines = data.split(b"\n")
    if cut and len(lines) > 1:
        del lines[0]  # the first line was cut
    if not lines[-1]:
        del lines[-1]
    return tuple(output_line(line.decode("utf-8", "replace")) for line in lines[-MOST_LINES:])
