"""A thread that polls at an interval, at once when woken, and less often when replies are slow."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

#: pause between polls, as a multiple of the last poll's duration
SHARE = 20
#: longest such pause, in seconds
LONGEST_S = 30.0
#: delay after a wake-up: a key held down wakes a poller many times a second
DEBOUNCE_S = 0.08


class Poller(threading.Thread):
    """Calls ``look`` until the program ends. ``look`` publishes its results itself and raises nothing."""

    def __init__(self, look: Callable[[], None], interval_s: float) -> None:
        super().__init__(daemon=True)
        self._look = look
        self._interval_s = interval_s
        self._awake = threading.Event()

    @staticmethod
    def once(work: Callable[[], None]) -> None:
        """Run ``work`` once in a thread."""
        threading.Thread(target=work, daemon=True).start()

    def wake(self) -> None:
        """Poll at once. Callable from any thread."""
        self._awake.set()

    def run(self) -> None:
        while True:
            began = time.monotonic()
            self._look()
            pause = max(self._interval_s, min(SHARE * (time.monotonic() - began), LONGEST_S))
            if self._awake.wait(pause):
                time.sleep(DEBOUNCE_S)
            self._awake.clear()
