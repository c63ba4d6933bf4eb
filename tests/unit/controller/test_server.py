"""A controller exits if the package has changed; the next one imports it again."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from slurmsky.controller import server


def test_a_replaced_or_removed_package_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert server.installed()
    with monkeypatch.context() as replaced:
        replaced.setattr(server, "_STAMPS", [(mtime + 1, size) for mtime, size in server._STAMPS])
        assert not server.installed()
    monkeypatch.setattr(server, "_MESSAGES", ("/nonexistent/messages.py",))
    assert not server.installed()


def test_a_controller_with_jobs_stops_once_its_package_was_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_CHECK_S", 0.001)

    async def watched() -> None:
        busy = cast(Any, SimpleNamespace(busy=True))
        service = server.Service(busy, lambda name: None, 0.001)
        watch = asyncio.ensure_future(service._idle())
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert not service.leaving
        monkeypatch.setattr(server, "__file__", "/nonexistent/server.py")
        await asyncio.wait_for(watch, 60)
        assert service.leaving

    asyncio.run(watched())
