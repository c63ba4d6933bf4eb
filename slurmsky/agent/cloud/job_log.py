"""Writer of a cloud node's standard output, in frames. The frames have the job's output and its changed files."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Optional

from ...protocol.log_frames import MAX_FRAME, Encoder
from ...protocol.messages import Event, FileBegun, FileEnded, FileKept
from . import submit_folder

if TYPE_CHECKING:
    from .cloud_node import CloudNode

FLUSH_S = 0.5  # seconds that an incomplete line is buffered


class JobLogWriter:
    """Writes frames to standard output, one write per call.

    SkyPilot reads the output line by line. ``key``: the job's ``log_key``; ``store`` is called with all data before
    the data is written.
    """

    def __init__(
        self, session: int, rank: int, key: bytes, store: Callable[[bytes], None] = lambda data: None, seq: int = 0
    ) -> None:
        self.encoder = Encoder(session, rank, key, seq)
        self._store = store
        self.closed = False

    def write(self, data: bytes) -> None:
        """Write frames; ignore errors after SkyPilot has stopped reading."""
        if data:
            self._store(data)
        while data and not self.closed:
            try:
                data = data[os.write(1, data) :]
            except BlockingIOError:
                time.sleep(0.01)
            except OSError:
                self.closed = True

    def event(self, event: Event) -> None:
        """Write an event frame."""
        self.write(self.encoder.event(event.encode()))


class LogTail:
    """A growing file of the job, sent as a stream. ``stream``: its number; an earlier event maps it to the path."""

    def __init__(self, log: JobLogWriter, stream: int, path: str, digest: bool = False) -> None:
        self.log, self.stream, self.path = log, stream, path
        self.digest = hashlib.sha256() if digest else None  # of the sent content
        self.position = 0
        self._partial_since: Optional[float] = None

    def send_new(self, final: bool = False) -> None:
        """Send new content. A file that has become shorter is sent again from its beginning."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self.position)
                while True:
                    data = file.read(1 << 16)
                    if not data:
                        break
                    self.position += len(data)
                    if self.digest is not None:
                        self.digest.update(data)
                    self.log.write(self.log.encoder.data(self.stream, data))
                    self._partial_since = None if data.endswith(b"\n") else time.monotonic()
        except OSError:
            return  # not created yet, or removed by the job
        if self._partial_since is not None and (final or time.monotonic() - self._partial_since > FLUSH_S):
            self._partial_since = None
            self.log.write(self.log.encoder.flush(self.stream))


def send_back(node: CloudNode, log: JobLogWriter, skip: frozenset[str], new_stream: Callable[[], int]) -> None:
    """Send files that the job changed, smallest first, within the limit."""
    if node.same_files or not node.return_left:
        return
    for file in submit_folder.changes(node.before, node.shipped_folder, skip):
        node.before[file.path] = (file.size, file.mtime_ns)
        path = os.path.join(node.shipped_folder, file.path)
        total = submit_folder.digest(path)
        if file.size > node.return_left or total is None:
            log.event(FileKept(path=file.path, size=file.size, at=node.copy_to_bucket(path, file.path)))
            continue
        node.return_left -= file.size
        stream = new_stream()
        log.event(
            FileBegun(
                stream=stream,
                path=file.path,
                size=file.size,
                mode=file.mode,
                mtime=file.mtime_ns / 1e9,
                sha256=total,
                folders=tuple(submit_folder.modes(node.shipped_folder, file.path)),
            )
        )
        for piece in submit_folder.pieces(path, file.size):
            for start in range(0, len(piece), MAX_FRAME):
                log.write(log.encoder.data(stream, piece[start : start + MAX_FRAME]))
        log.write(log.encoder.flush(stream))
        log.event(FileEnded(stream=stream))
