"""Runs a coroutine once for all callers that wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

from ..base import spawn

K = TypeVar("K", bound=Hashable)
I = TypeVar("I")  # noqa: E741
R = TypeVar("R")

#: seconds: longest pause between calls
PAUSE_S = 0.1


class SharedCalls(Generic[K, I, R]):
    """Calls of ``work(key, items)``, one at a time for each key.

    A caller that arrives while a call runs shares the next one with all callers until then. So a result is never older
    than the request for it, and a thousand requests cost few calls. A call begins after a pause as long as the one
    before, so that more callers share it; calls take at most half of the time.
    """

    def __init__(self, work: Callable[[K, Sequence[I]], Awaitable[R]]) -> None:
        self._work = work
        self._locks: dict[K, asyncio.Lock] = {}
        self._next: dict[K, tuple[list[I], asyncio.Task[R]]] = {}
        self._earliest = 0.0  # loop time at which the next call may begin

    async def call(self, key: K, item: I) -> R:
        """Return the result of the call that includes this item.

        Raises what the call raises, for each caller.
        """
        following = self._next.get(key)
        if following is None:
            following = self._next[key] = ([], spawn(self._run(key)))
            following[1].add_done_callback(_retrieve)
        following[0].append(item)
        return await asyncio.shield(following[1])

    async def _run(self, key: K) -> R:
        lock, loop = self._locks.setdefault(key, asyncio.Lock()), asyncio.get_running_loop()
        try:
            async with lock:
                await asyncio.sleep(self._earliest - loop.time())
                items, _ = self._next.pop(key)
                begun = loop.time()
                try:
                    return await self._work(key, items)
                finally:
                    ended = loop.time()
                    self._earliest = ended + min(ended - begun, PAUSE_S)
        finally:
            if key not in self._next and self._locks.get(key) is lock and not lock.locked():
                del self._locks[key]


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Mark the exception of a call as retrieved: all its callers may have been cancelled."""
    if not task.cancelled():
        task.exception()
