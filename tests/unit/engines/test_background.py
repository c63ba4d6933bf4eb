"""The registry of background tasks."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path

import pytest

import slurmsky
from slurmsky.engines.base import background, cancel_all


def test_a_failed_background_task_is_logged_and_a_cancelled_one_is_not(caplog: pytest.LogCaptureFixture) -> None:
    async def reads_the_queue() -> None:
        raise ValueError("unexpected answer")

    async def waits() -> None:
        await asyncio.sleep(60)

    async def story() -> None:
        failed, waiting = background(reads_the_queue()), background(waits())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({failed, waiting})
        await asyncio.sleep(0)

    asyncio.run(story())
    (record,) = caplog.records
    assert "reads_the_queue failed" in record.getMessage() and "unexpected answer" in (record.exc_text or "")


def test_a_shutdown_repeats_a_cancellation_that_a_task_swallows(caplog: pytest.LogCaptureFixture) -> None:
    async def swallows(times: int) -> None:
        while times:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                times -= 1

    async def fails() -> None:
        raise ValueError("read by nobody else")

    async def story() -> None:
        tasks = [background(swallows(2)), asyncio.ensure_future(fails())]
        await asyncio.sleep(0)
        await cancel_all(tasks)
        assert all(task.done() for task in tasks)

    asyncio.run(story())
    assert not caplog.records


def test_engines_and_agents_create_tasks_through_the_registry_only() -> None:
    """A task outside of it may be collected while it runs, and its exception is lost."""
    source = Path(slurmsky.__file__).parent
    found = {
        path.relative_to(source).as_posix()
        for room in ("agent", "engines")
        for path in (source / room).rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Attribute) and call.attr in ("ensure_future", "create_task")
    }
    assert found == {"engines/base.py"}
