"""What keeps a process that runs tests alive and quick."""

from __future__ import annotations

import gc
import signal
from collections.abc import Generator

import pytest

_ID_CHARS = 100  # of a parameter in a test's id


@pytest.hookimpl(tryfirst=True)
def pytest_collection() -> None:
    """Thousands of tests stay until the end: searching them for garbage is a third of a collection's time."""
    gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_make_parametrize_id(val: object) -> str | None:
    """Workers send a test's id with each report; some parameters have millions of characters."""
    return f"{val[:_ID_CHARS]!r}, {len(val)}" if isinstance(val, (str, bytes)) and len(val) > _ID_CHARS else None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """The alarm of pytest-timeout waits for the report: raised inside, it ends the worker and the whole run."""
    left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, left)


def pytest_runtest_teardown() -> None:
    """A program that ran in this process may end on SIGPIPE; the next broken pipe would end this worker."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
