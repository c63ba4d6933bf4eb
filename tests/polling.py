"""How often a test asks a command for a state: less often where the answer costs much or is long in coming."""

from __future__ import annotations

import time

#: A wait for an event fails after this time: a machine at a load of 40 takes some twenty times as long as an idle one.
PATIENCE_S = 240


class Poll:
    """``pause_s`` is the time until the next question; asking takes at most a quarter of the time."""

    def __init__(self) -> None:
        self._begun = self._asked = time.monotonic()

    def pause_s(self) -> float:
        """Between 20 ms and half a second, after the query at the end of the last pause."""
        now = time.monotonic()
        pause = min(max(0.02, 3 * (now - self._asked), 0.02 * (now - self._begun)), 0.5)
        self._asked = now + pause
        return pause

    def wait(self) -> None:
        """Sleep until the next question."""
        time.sleep(self.pause_s())
