"""Writes a file that srun --bcast or sbcast sends to this node."""

from __future__ import annotations

import errno
import os
import stat
from typing import Optional

from ...protocol.step_messages import FileWritten, ReceiveFile
from ..net.channel import Channel
from .step_sink import TASK_INPUT


class FileWriter:
    """Writes the blocks of one file to its path, as slurmd does.

    ``error``: the errno of the first failure. With ``force`` an existing file is replaced, so that a running program
    can be sent again. Links and devices stay; their targets are written. Source: _file_bcast_register_file in slurmd's
    req.c.
    """

    def __init__(self, path: str, mode: int, force: bool, times: Optional[list[float]], folder: bool = False) -> None:
        self.path = path
        self.times = times
        self.error = 0
        self._fd = -1
        # Without O_NONBLOCK a pipe without a reader would stop the agent.
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_TRUNC if force else os.O_EXCL)
        try:
            if folder:
                os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            if force and os.path.isfile(path) and not os.path.islink(path):
                os.unlink(path)
            self._fd = os.open(path, flags, mode)
            if stat.S_ISREG(os.fstat(self._fd).st_mode):
                os.fchmod(self._fd, mode)
        except OSError as error:
            self.error = error.errno or errno.EIO

    def write(self, data: bytes) -> None:
        """Write one block; an empty block ends the file."""
        if self._fd < 0:
            return
        try:
            if data:
                view = memoryview(data)
                while view:
                    view = view[os.write(self._fd, view) :]
                return
            if self.times is not None:
                os.utime(self._fd, (self.times[0], self.times[1]))
        except OSError as error:
            self.error = error.errno or errno.EIO
        os.close(self._fd)
        self._fd = -1


def serve_file(channel: Channel, request: ReceiveFile) -> None:
    """Receive a file from the head agent; reply with the errno. 0: success."""
    writer = FileWriter(request.path, request.mode, request.force, request.times, request.folder)

    def received(kind: bytes, payload: bytes) -> None:
        if kind == TASK_INPUT:
            writer.write(payload)
            if not payload:
                channel.send_json(FileWritten(errno=writer.error).encode())
                channel.close()

    channel.on_frame = received
    channel.on_close = lambda: writer.write(b"")
