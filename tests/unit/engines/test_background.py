"""The registry of background tasks."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from syntax_trees import tree_of

import slurmsky
from slurmsky.engines.base import background, cancel_all, wait_and_clear

SOURCE = Path(slurmsky.__file__).parent
_BLOCKING = {"open", "read_text", "read_bytes", "write_text", "write_bytes", "rmtree", "copyfile", "glob", "iterdir"}
#: coroutines of that name, and os.open of a socket's folder
_NO_FILES = {"os.open", "socket.open", "proxy.open", "self._sockets.open"}


def called(coroutine: ast.AST) -> Iterator[ast.expr]:
    """Functions that a coroutine calls, without those of nested functions."""
    for node in ast.iter_child_nodes(coroutine):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            if isinstance(node, ast.Call):
                yield node.func
            yield from called(node)


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


@pytest.mark.parametrize("steps", range(6))
def test_a_cancellation_ends_a_wait_for_an_event_that_is_set_at_the_same_moment(steps: int) -> None:
    async def story() -> None:
        event = asyncio.Event()

        async def waits() -> None:
            while True:
                await wait_and_clear(event, 60)

        waiting = background(waits())
        await asyncio.sleep(0.01)
        event.set()
        for _ in range(steps):
            await asyncio.sleep(0)
        waiting.cancel()
        assert (await asyncio.wait({waiting}, timeout=1))[0] and waiting.cancelled()

    asyncio.run(story())


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
    """A task outside of the registry may be collected, and its exception is lost."""
    found = {
        path.relative_to(SOURCE).as_posix()
        for room in ("agent", "engines")
        for path in (SOURCE / room).rglob("*.py")
        for call in ast.walk(tree_of(path))
        if isinstance(call, ast.Attribute) and call.attr in ("ensure_future", "create_task")
    }
    assert found == {"engines/base.py"}


def test_coroutines_of_engines_read_and_write_files_in_threads() -> None:
    """Access to a hanging mount would stop all jobs."""
    found = [
        f"{path.relative_to(SOURCE)}: {coroutine.name} calls {text}"
        for path in (SOURCE / "engines").rglob("*.py")
        for coroutine in ast.walk(tree_of(path))
        if isinstance(coroutine, ast.AsyncFunctionDef)
        for function in called(coroutine)
        if (text := ast.unparse(function)) not in _NO_FILES
        and (text.rpartition(".")[2] in _BLOCKING or text.startswith(("subprocess.", "sqlite3.")))
    ]
    assert not found
