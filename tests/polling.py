"""Polls a state by commands, at longer intervals if the answer is expensive or slow."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")

#: A wait for an event fails after this time: a machine at a load of 40 takes some twenty times as long as an idle one.
PATIENCE_S = 240


class Poll:
    """``pause_s`` is the time until the next query; queries take at most a quarter of the time."""

    def __init__(self) -> None:
        self._begun = self._requested = time.monotonic()

    def pause_s(self) -> float:
        """The next pause, between 20 ms and half a second, from the duration of the last query."""
        now = time.monotonic()
        pause = min(max(0.02, 3 * (now - self._requested), 0.02 * (now - self._begun)), 0.5)
        self._requested = now + pause
        return pause

    def wait(self) -> None:
        """Sleep until the next query."""
        time.sleep(self.pause_s())


def wait_for(condition: Callable[[], T], timeout_s: float = PATIENCE_S, why: str = "") -> T:
    """Return the condition's value as soon as it is true. Fails after ``timeout_s``, with ``why``."""
    deadline, poll = time.monotonic() + timeout_s, Poll()
    while not (found := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout_s} s: {why or condition}")
        poll.wait()
    return found


def process_state(pid: int) -> str:
    """The letter of a process's state in /proc: "Z" before its parent reaps it, "" afterwards."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def alive(pid: int) -> bool:
    """False for a process whose threads have all ended, reaped or not: its sockets are closed then."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return state != "Z" or int(fields[16]) > 1  # proc(5): num_threads
