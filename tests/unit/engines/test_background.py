"""The registry of background tasks."""

from __future__ import annotations

import asyncio

import pytest

from slurmsky.engines.base import background


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
