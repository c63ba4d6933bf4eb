"""Event loop in virtual time.

It moves its clock to the next timer instead of sleeping.

A controller on this loop runs hours of timers (time limits, requeue delays, MinJobAge) in milliseconds. Work in threads
takes no virtual time: the clock may move on while a thread works.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

_T = TypeVar("_T")


class _Selector(selectors.SelectSelector):
    """Selector that moves the clock to the first timer.

    It waits for files only while no timer is set.
    """

    def __init__(self, advance: Callable[[float], None]) -> None:
        super().__init__()
        self._advance = advance
        self.stopped = False  # the clock stands still

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or self.stopped:
            return super().select(timeout)
        ready = super().select(0)
        if not ready and timeout > 0:
            self._advance(timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """The event loop; its clock starts at 0."""

    def __init__(self) -> None:
        self._now = 0.0
        self._files = _Selector(self._advance)
        super().__init__(self._files)

    def time(self) -> float:
        """Seconds of virtual time since the loop began."""
        return self._now

    def stop_clock(self) -> None:
        """Call no timer from now on."""
        self._files.stopped = True

    def _advance(self, seconds: float) -> None:
        self._now += seconds


def run(main: Callable[[VirtualTimeLoop], Awaitable[_T]]) -> _T:
    """Run a coroutine on a loop in virtual time; tasks that it leaves are cancelled."""
    loop = VirtualTimeLoop()

    async def whole() -> _T:
        return await main(loop)

    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(whole())
    finally:
        loop.stop_clock()  # timers of a controller that is closed must not fire
        left: set[asyncio.Task[Any]] = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_default_executor())
        asyncio.set_event_loop(None)
        loop.close()
