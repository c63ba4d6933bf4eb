"""A cloud node's standard output: frames of the job's output and of the files that it leaves."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Optional

from ...protocol.log_frames import MAX_FRAME, Encoder
from . import submit_folder

if TYPE_CHECKING:
    from .cloud_node import CloudNode

FLUSH_S = 0.5  # how long a line without its end is held back


class JobLogWriter:
    """This node's standard output as a channel of frames. One write per call; SkyPilot reads it by the
    line. ``key``: the job's ``log_key``; ``keep`` gets all data before it is written.
    """

    def __init__(
        self, session: int, rank: int, key: bytes, keep: Callable[[bytes], None] = lambda data: None, seq: int = 0
    ) -> None:
        self.encoder = Encoder(session, rank, key, seq)
        self.keep = keep
        self.closed = False

    def write(self, data: bytes) -> None:
        """Write frames; when SkyPilot has stopped reading there is nobody left to tell."""
        if data:
            self.keep(data)
        while data and not self.closed:
            try:
                data = data[os.write(1, data) :]
            except BlockingIOError:
                time.sleep(0.01)
            except OSError:
                self.closed = True

    def event(self, **body: Any) -> None:
        """Tell an event."""
        self.write(self.encoder.event(body))


class Tail:
    """A file of the job that grows, sent as a stream. ``stream`` is its number, told with its path
    beforehand.
    """

    def __init__(self, log: JobLogWriter, stream: int, path: str, digest: bool = False) -> None:
        self.log, self.stream, self.path = log, stream, path
        self.digest = hashlib.sha256() if digest else None  # of what was sent
        self.position = 0
        self._partial_since: Optional[float] = None

    def look(self, final: bool = False) -> None:
        """Send what is new. A file that was truncated is sent again from its beginning as far as it is
        shorter.
        """
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
            return  # not there yet, or removed by the job
        if self._partial_since is not None and (final or time.monotonic() - self._partial_since > FLUSH_S):
            self._partial_since = None
            self.log.write(self.log.encoder.flush(self.stream))


def send_back(node: CloudNode, log: JobLogWriter, skip: frozenset[str], new_stream: Callable[[], int]) -> None:
    """Files of the submit folder that the job made or changed since the last time, smallest first, as far as
    the limit goes.
    """
    if node.same_files or not node.return_left:
        return
    for file in submit_folder.changes(node.before, node.submit_dir, skip):
        node.before[file.path] = (file.size, file.mtime_ns)
        path = os.path.join(node.submit_dir, file.path)
        total = submit_folder.digest(path)
        if file.size > node.return_left or total is None:
            log.event(ev="kept", path=file.path, size=file.size, at=node.keep(path, file.path))
            continue
        node.return_left -= file.size
        stream = new_stream()
        log.event(
            ev="file",
            stream=stream,
            path=file.path,
            size=file.size,
            mode=file.mode,
            mtime=file.mtime_ns / 1e9,
            sha256=total,
            folders=submit_folder.modes(node.submit_dir, file.path),
        )
        for piece in submit_folder.pieces(path, file.size):
            for start in range(0, len(piece), MAX_FRAME):
                log.write(log.encoder.data(stream, piece[start : start + MAX_FRAME]))
        log.write(log.encoder.flush(stream))
        log.event(ev="file-end", stream=stream)
