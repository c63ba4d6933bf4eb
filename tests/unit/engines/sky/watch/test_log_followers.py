"""A log stream that the server no longer feeds is read again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from polling import PATIENCE_S

from slurmsky.engines.sky import intervals
from slurmsky.engines.sky.watch.log_followers import Followers


class Stream:
    """A backend whose first stream stalls after one line, apart from keep-alive bytes."""

    def __init__(self) -> None:
        self.reads = 0

    async def logs(self, record: Any, follow: bool) -> AsyncIterator[bytes]:
        self.reads += 1
        yield b"one\n"
        if self.reads > 1:
            yield b"two\n"
        while True:
            await asyncio.sleep(0.01)
            yield b""


class Watch:
    """The part of a JobWatch that a follower uses; a new line is news."""

    def __init__(self) -> None:
        self.record = SimpleNamespace(job_id=1, open=True, started=True, status="RUNNING")
        self.decoder = SimpleNamespace(reconnect=lambda: None)
        self.lines: list[bytes] = []
        self.done = self.following = False
        self.last_news, self.silent_reads = 0.0, 0
        self.status_since = 0.0
        self.reading: Any = None

    def feed(self, chunk: bytes) -> None:
        if chunk and chunk not in self.lines:
            self.lines.append(chunk)
            self.last_news, self.silent_reads = time.monotonic(), 0
            self.done = chunk == b"two\n"

    def finish(self) -> None:
        self.following = False


@pytest.fixture(autouse=True)
def short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "SILENT_S", 0.05)
    monkeypatch.setattr(intervals, "RETRY_S", (0.01,))


async def ask(watch: Any) -> None:
    assert not watch.done


states: Any = SimpleNamespace(query_job=ask)


def test_a_stalled_stream_is_read_again() -> None:
    stream, watch = Stream(), Watch()

    async def follow() -> bool:
        followers = Followers(lambda record: stream, states)  # type: ignore[arg-type,return-value]
        return await asyncio.wait_for(followers.follow(watch), PATIENCE_S)  # type: ignore[arg-type]

    assert asyncio.run(follow()) and stream.reads == 2
    assert watch.lines == [b"one\n", b"two\n"]


def test_a_job_without_nodes_has_an_empty_log() -> None:
    stream, watch = Stream(), Watch()
    watch.record.status = "STARTING"

    async def follow() -> None:
        followers = Followers(lambda record: stream, states)  # type: ignore[arg-type,return-value]
        following = asyncio.ensure_future(followers.follow(watch))  # type: ignore[arg-type]
        await asyncio.sleep(0.2)
        assert stream.reads == 1
        watch.record.status, watch.status_since = "RUNNING", time.monotonic()
        assert await asyncio.wait_for(following, PATIENCE_S)

    asyncio.run(follow())
    assert stream.reads == 2
