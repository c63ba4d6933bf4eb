"""A thread that asks: at an interval, at once when woken, and never so often that asking becomes the load."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

#: an answer that took a second is asked for again after twenty at the earliest
SHARE = 20
#: however slow the answers are
LONGEST_S = 30.0
#: keys held down wake a poller many times a second
SETTLE_S = 0.08


class Poller(threading.Thread):
    """Calls ``look`` until the program ends. ``look`` tells whoever wants to know, and raises nothing."""

    def __init__(self, look: Callable[[], None], interval_s: float) -> None:
        super().__init__(daemon=True)
        self._look = look
        self._interval_s = interval_s
        self._awake = threading.Event()

    @staticmethod
    def once(work: Callable[[], None]) -> None:
        """Something to do beside the screen, once."""
        threading.Thread(target=work, daemon=True).start()

    def wake(self) -> None:
        """Look at once; from any thread."""
        self._awake.set()

    def run(self) -> None:
        while True:
            began = time.monotonic()
            self._look()
            pause = max(self._interval_s, min(SHARE * (time.monotonic() - began), LONGEST_S))
            if self._awake.wait(pause):
                time.sleep(SETTLE_S)
            self._awake.clear()
