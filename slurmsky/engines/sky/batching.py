"""Things that come one by one, and go together: array elements into one launch, cancellations into one request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

GATHER_S = 0.3  # what comes within this time belongs together

Thing = TypeVar("Thing")


class Batcher(Generic[Thing]):
    """``go`` is given all that came in a moment."""

    def __init__(self, go: Callable[[list[Thing]], Awaitable[None]]) -> None:
        self._go = go
        self._gathered: list[Thing] = []
        self._flush: asyncio.Task[None] | None = None

    async def add(self, thing: Thing) -> None:
        """Returns when it is on its way, with all that came with it. Raises what ``go`` raised."""
        self._gathered.append(thing)
        if self._flush is None:
            self._flush = asyncio.ensure_future(self._soon())
        await asyncio.shield(self._flush)

    async def _soon(self) -> None:
        await asyncio.sleep(GATHER_S)
        gathered, self._gathered, self._flush = self._gathered, [], None
        await self._go(gathered)
