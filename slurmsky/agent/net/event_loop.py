"""Event loop: readiness, timers, children, in one thread.

The work per ended child is O(1). Why not asyncio: an agent starts hundreds of processes a second, and its own start is
part of the first job's wait. ``selectors`` and ``asyncio`` cost more in both places than these hundred lines.
"""

from __future__ import annotations

import heapq
import os
import select
import signal
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Callable, Optional

if TYPE_CHECKING:
    import resource

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
_GONE = select.EPOLLHUP | select.EPOLLERR

OnReady = Callable[[int], None]
OnExit = Callable[[int, "resource.struct_rusage"], None]


class Timer:
    """One scheduled call, which ``cancel`` prevents."""

    __slots__ = ("_call", "when")

    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self.when = when
        self._call: Optional[Callable[[], None]] = call

    def cancel(self) -> None:
        """Prevent the call; without effect after the call."""
        self._call = None

    def fire(self) -> None:
        """Make the call, unless cancelled."""
        call, self._call = self._call, None
        if call is not None:
            call()


class Loop:
    """Readiness of descriptors, timers (monotonic seconds), and ends of children."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._handlers: dict[int, OnReady] = {}
        self._masks: dict[int, int] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._count = 0
        self._soon: deque[Callable[[], None]] = deque()
        self._children: dict[int, OnExit] = {}
        #: called after orphans that the subreaper adopted were reaped, which have no handler
        self.on_orphans: Callable[[], None] = lambda: None
        self._running = False
        self._wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # the C handler writes to the pipe
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        self.watch(self._wake_read, READ, self._woken)

    # --- files
    def watch(self, fd: int, mask: int, handler: OnReady) -> None:
        """Call handler(events) when the descriptor is ready. mask 0: only errors and hang-ups."""
        self._handlers[fd] = handler
        self._masks[fd] = mask
        self._poll.register(fd, mask)

    def change(self, fd: int, mask: int) -> None:
        """Change the events to wait for on a watched descriptor."""
        if self._masks[fd] != mask:
            self._masks[fd] = mask
            self._poll.modify(fd, mask)

    def forget(self, fd: int) -> None:
        """Stop watching a descriptor, before it is closed."""
        if self._handlers.pop(fd, None) is not None:
            del self._masks[fd]
            self._poll.unregister(fd)

    # --- time
    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Schedule a call after some seconds."""
        timer = Timer(time.monotonic() + max(0.0, seconds), call)
        self._count += 1
        heapq.heappush(self._timers, (timer.when, self._count, timer))
        return timer

    def soon(self, call: Callable[[], None]) -> None:
        """Schedule a call after the present loop iteration."""
        self._soon.append(call)

    # --- children
    def child(self, pid: int, on_exit: OnExit) -> None:
        """Call on_exit(wait status, rusage) at a process's end. Immediately if it has ended."""
        self._children[pid] = on_exit

    def is_child(self, pid: int) -> bool:
        """True if ``child`` registered a process that is not reaped."""
        return pid in self._children

    def _woken(self, _events: int) -> None:
        try:
            os.read(self._wake_read, 4096)
        except BlockingIOError:
            pass  # the pipe was read already; a superfluous reap has no effect
        self.reap()

    def reap(self) -> None:
        """Collect every child that has ended."""
        orphans = False
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            on_exit = self._children.pop(pid, None)
            if on_exit is None:
                orphans = True
            else:
                self._guard(on_exit, status, usage)
        if orphans:
            self._guard(self.on_orphans)

    # --- running
    def stop(self) -> None:
        """End ``run`` after the present iteration."""
        self._running = False

    def run(self) -> None:
        """Run the loop until ``stop``."""
        self._running = True
        while self._running:
            for fd, events in self._poll.poll(self._patience(), 256):
                handler = self._handlers.get(fd)
                if handler is not None:
                    self._guard(handler, events)
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                self._guard(heapq.heappop(self._timers)[2].fire)
            while self._soon:
                self._guard(self._soon.popleft())

    def _patience(self) -> float:
        if self._soon:
            return 0
        if not self._timers:
            return -1
        return max(0.0, self._timers[0][0] - time.monotonic())

    @staticmethod
    def report() -> None:
        """Log the exception that is being handled."""
        sys.__excepthook__(*sys.exc_info())
        sys.stderr.flush()

    @classmethod
    def _guard(cls, call: Callable[..., None], *args: Any) -> None:
        # An agent serves many jobs: an error in one job is logged and must not end the others.
        try:
            call(*args)
        except Exception:
            cls.report()


def wake() -> None:
    """Wake the loop of the main thread."""
    os.kill(os.getpid(), signal.SIGCHLD)
