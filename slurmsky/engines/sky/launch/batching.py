"""Micro-batching of array elements and of cancellations."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from ...base import spawn

GATHER_S = 0.3  # seconds in which items form one batch

Item = TypeVar("Item")


class Batcher(Generic[Item]):
    """Collects items; ``send`` receives all items of a batch."""

    def __init__(self, send: Callable[[list[Item]], Awaitable[None]]) -> None:
        self._go = send
        self._gathered: list[Item] = []
        self._flush: asyncio.Task[None] | None = None

    async def add(self, item: Item) -> None:
        """Add an item; return when its batch has been sent. Raises the exception of ``send``."""
        self._gathered.append(item)
        if self._flush is None:
            self._flush = spawn(self._soon())
        await asyncio.shield(self._flush)

    async def _soon(self) -> None:
        await asyncio.sleep(GATHER_S)
        gathered, self._gathered, self._flush = self._gathered, [], None
        await self._go(gathered)
