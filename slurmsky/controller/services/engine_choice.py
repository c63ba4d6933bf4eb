"""Chooses SkyPilot or this machine for partitions that name no engine.

SkyPilot's API server decides, by the infras that it has enabled. While a configured server does not answer, the choice
is open: jobs of those partitions wait and the query is repeated, because a slow server must not move such a job to this
machine.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ...engines.base import Choice, background, wait_and_clear

log = logging.getLogger("slurmsky.controller")

#: pauses between two queries: the first pause, and the longest
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 60.0


class EngineChoice:
    """The current choice. ``ask`` queries SkyPilot with a time limit; ``decided`` is called after each change."""

    def __init__(self) -> None:
        self.engine = "local"
        self.reason = "SkyPilot was not queried yet"
        self.open = False
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def record_choice(self, choice: Choice) -> None:
        """Record the answer of a query."""
        self.engine, self.reason, self.open = choice.engine, choice.reason, not choice.sure
        log.log(logging.WARNING if self.open else logging.INFO, "engine: %s (%s)", self.printed_name, self.reason)

    @property
    def printed_name(self) -> str:
        """Return the engine's name as it is printed."""
        return "not known yet" if self.open else self.engine

    def begin(self, ask: Callable[[], Awaitable[Choice]], decided: Callable[[], None]) -> None:
        """Query SkyPilot in the background until the choice of the engine is certain."""
        if self.open:
            self._task = background(self._choose(ask, decided))

    async def _choose(self, ask: Callable[[], Awaitable[Choice]], decided: Callable[[], None]) -> None:
        pause = FIRST_PAUSE_S
        while self.open:
            self._wanted.clear()
            await asyncio.sleep(FIRST_PAUSE_S)
            if not await wait_and_clear(self._wanted, pause - FIRST_PAUSE_S):
                pause = min(pause * 2, LONGEST_PAUSE_S)
            choice = await ask()
            if choice.sure or choice.reason != self.reason:
                self.record_choice(choice)
            if choice.sure:
                decided()

    def query_soon(self) -> None:
        """Query soon, after a client's command."""
        self._wanted.set()

    def close(self) -> None:
        """Stop the queries."""
        if self._task is not None:
            self._task.cancel()
