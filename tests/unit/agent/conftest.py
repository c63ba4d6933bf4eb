"""Fixtures for tests of the agent's parts."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from slurmsky.agent.net.event_loop import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    """An agent's loop; its changes of this process's signals are reverted."""
    handler = signal.getsignal(signal.SIGCHLD)
    yield Loop()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, handler)
