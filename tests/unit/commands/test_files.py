"""Checks of callers' files in the controller, on file systems that may hang."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from slurmsky.commands import _files


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths below /net are on a network file system."""
    monkeypatch.setattr(_files, "on_network", lambda path: path.startswith("/net/"))
    monkeypatch.setattr(_files, "PATIENCE_S", 0.05)
    monkeypatch.setattr(_files, "_waiting", set())


@pytest.mark.usefixtures("network")
def test_a_local_file_is_checked_in_place() -> None:
    assert asyncio.run(_files.check(threading.get_ident, ["/tmp/x"], 0)) == threading.get_ident()


@pytest.mark.usefixtures("network")
def test_a_network_file_is_checked_in_a_thread_of_its_own() -> None:
    assert asyncio.run(_files.check(threading.get_ident, ["/tmp/x", "/net/x"], 0)) not in (0, threading.get_ident())


@pytest.mark.usefixtures("network")
def test_a_server_that_hangs_delays_the_caller_alone() -> None:
    back = threading.Event()

    async def two() -> tuple[str, float]:
        began = time.monotonic()
        hung = asyncio.ensure_future(_files.check(lambda: str(back.wait(30)), ["/net/x"], "unknown"))
        await asyncio.sleep(0)
        took = time.monotonic() - began
        return await hung, took

    answer, took = asyncio.run(two())
    back.set()
    assert answer == "unknown" and took < 5


@pytest.mark.usefixtures("network")
def test_no_more_threads_wait_for_a_server_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_files, "MOST_WAITING", 2)
    back = threading.Event()

    async def many() -> list[bool]:
        return [await _files.check(lambda: back.wait(30), ["/net/x"], False) for _ in range(5)]

    before = set(threading.enumerate())
    assert asyncio.run(many()) == [False] * 5
    assert len(set(threading.enumerate()) - before) == 2
    back.set()


@pytest.mark.usefixtures("network")
def test_an_unreadable_network_file_counts_as_unknown() -> None:
    def fail() -> str:
        raise PermissionError(13, "Permission denied")

    assert asyncio.run(_files.check(fail, ["/net/x"], "unknown")) == "unknown"
