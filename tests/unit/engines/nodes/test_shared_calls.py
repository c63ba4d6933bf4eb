"""Calls that simultaneous callers share."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from virtual_time import VirtualTimeLoop, run

from slurmsky.engines.nodes.shared_calls import SharedCalls


def test_callers_during_a_call_share_the_next_one_and_never_the_running_one():
    async def what() -> None:
        calls: list[tuple[str, list[int]]] = []
        proceed = asyncio.Event()

        async def work(key: str, items: Sequence[int]) -> int:
            calls.append((key, list(items)))
            await proceed.wait()
            return len(calls)

        shared = SharedCalls(work)
        first = [asyncio.ensure_future(shared.call("a", number)) for number in (1, 2)]
        while not calls:
            await asyncio.sleep(0)
        later = [asyncio.ensure_future(shared.call("a", number)) for number in (3, 4, 5)]
        other = asyncio.ensure_future(shared.call("b", 6))
        while len(calls) < 2:
            await asyncio.sleep(0)
        assert calls == [("a", [1, 2]), ("b", [6])]
        later[0].cancel()  # the others still receive their result
        proceed.set()
        assert await asyncio.gather(*first, other) == [2, 2, 2]
        assert await asyncio.gather(*later[1:]) == [3, 3]
        assert calls[2:] == [("a", [3, 4, 5])]
        assert await shared.call("a", 7) == 4

    asyncio.run(what())


def test_each_caller_receives_the_exception_of_a_shared_call_and_the_next_call_is_not_affected():
    async def what() -> None:
        async def work(key: str, items: Sequence[bool]) -> int:
            if any(items):
                raise OSError(key)
            return 1

        shared = SharedCalls(work)
        results = await asyncio.gather(*(shared.call("a", True) for _ in range(3)), return_exceptions=True)
        assert [str(result) for result in results] == ["a"] * 3
        assert await shared.call("a", False) == 1
        with pytest.raises(OSError, match="a"):
            await shared.call("a", True)

    asyncio.run(what())


def test_calls_take_at_most_half_of_the_time_and_no_caller_waits_long():
    async def what(loop: VirtualTimeLoop) -> None:
        begun: list[float] = []

        async def work(key: str, items: Sequence[float]) -> None:
            begun.append(loop.time())
            await asyncio.sleep(items[0])

        shared = SharedCalls(work)
        for seconds in (0.04, 5.0, 0.0, 0.0):
            await shared.call("a", seconds)
        assert begun == pytest.approx([0.0, 0.08, 5.18, 5.18])

    run(what)
