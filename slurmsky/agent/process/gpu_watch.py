"""Measures the use of this node's GPUs by nvidia-smi.

One nvidia-smi runs while steps with GPUs run. The agent does not load the driver's library, because a fault in the
driver must not stop the agent. Without nvidia-smi GPUs are not measured, and records have no values for them.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Sequence

from ..net.event_loop import READ

if TYPE_CHECKING:
    from ..net.event_loop import Loop

_QUERY = ("--query-gpu=index,utilization.gpu,memory.used", "--format=csv,noheader,nounits")


class GpuWatch:
    """The latest measurement of each device."""

    def __init__(self, loop: Loop, every_s: float) -> None:
        self._loop = loop
        self._every_s = max(1, int(every_s))
        self._users = 0
        self._pid = 0
        self._fd = -1
        self._text = b""
        self._unavailable = False  # nvidia-smi is missing, or finds no driver
        #: device -> (busy fraction, 0..1, in about the last second; bytes in use)
        self.seen: dict[int, tuple[float, int]] = {}

    def step_started(self) -> None:
        """Count a starting step with GPUs; the first one starts nvidia-smi."""
        self._users += 1
        if self._users == 1:
            self._start()

    def step_ended(self) -> None:
        """Count an ended step with GPUs; the last one stops nvidia-smi."""
        self._users -= 1
        if not self._users:
            self._stop()

    def has_values(self, devices: Sequence[int]) -> bool:
        """True if a device has a measurement."""
        return any(device in self.seen for device in devices)

    def sum(self, devices: Sequence[int]) -> tuple[float, float]:
        """Sum of busy GPUs and of bytes in use."""
        found = [self.seen[device] for device in devices if device in self.seen]
        return sum(busy for busy, _ in found), float(sum(size for _, size in found))

    def _start(self) -> None:
        import shutil

        program = None if self._unavailable or self._pid else shutil.which("nvidia-smi")
        if program is None:
            return
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        try:
            self._pid = os.posix_spawn(
                program,
                [program, *_QUERY, "-l", str(self._every_s)],
                {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"},
                setsid=True,
                setsigmask=(),
                setsigdef=(signal.SIGPIPE, signal.SIGTERM, signal.SIGINT),
                file_actions=(
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, theirs, 1),
                    (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
                ),
            )
        except OSError:
            os.close(ours)
            self._unavailable = True
            return
        finally:
            os.close(theirs)
        self._fd = ours
        os.set_blocking(ours, False)
        self._loop.watch(ours, READ, self._ready)
        self._loop.child(self._pid, self._ended)

    def _ready(self, _events: int) -> None:
        try:
            data = os.read(self._fd, 65536)
        except BlockingIOError:
            return
        if not data:
            self._close()
            return
        *lines, self._text = (self._text + data).split(b"\n")
        for line in lines:
            self._read(line)

    def _read(self, line: bytes) -> None:
        """Parse a line ``0, 87, 40213``: device, percent, MiB. A value that the device lacks is ``[N/A]``."""
        words = [word.strip() for word in line.split(b",")]
        if len(words) == 3 and all(word.isdigit() for word in words):
            device, percent, mebibytes = map(int, words)
            self.seen[device] = (percent / 100, mebibytes << 20)

    def _ended(self, _status: int, _usage: object) -> None:
        self._pid = 0
        self._unavailable = self._unavailable or not self.seen
        self.seen.clear()
        if self._users and not self._unavailable:
            self._start()

    def _stop(self) -> None:
        self.seen.clear()
        self._close()
        if self._pid:
            try:
                os.kill(self._pid, signal.SIGTERM)
            except ProcessLookupError:
                pass  # nvidia-smi has ended

    def _close(self) -> None:
        if self._fd >= 0:
            self._loop.forget(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._text = b""
