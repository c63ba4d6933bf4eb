"""Orders of kept nodes while the controller closes."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from polling import PATIENCE_S

from slurmsky.engines.nodes.fleet import Fleet
from slurmsky.engines.powered import Order


class SlowProvider:
    """Starts requests that stay open until they are cancelled."""

    def __init__(self) -> None:
        self.open: list[str] = []

    async def _request(self, name: str) -> None:
        self.open.append(name)
        try:
            await asyncio.Event().wait()
        finally:
            self.open.remove(name)

    async def up(self, order: Order, say: object) -> None:
        await self._request("up")

    async def down(self, order: Order) -> None:
        await self._request("down")


@pytest.mark.parametrize("request_name", ["up", "down"])
def test_closing_ends_requests_to_the_provider_before_its_connections_close(tmp_path, request_name):
    async def what() -> None:
        provider = SlowProvider()
        kept = {"gpu": SimpleNamespace(names=("g1",), cluster="", resume_timeout_s=60)}
        fleet = Fleet(tmp_path, kept, provider, lambda *_: None, lambda order: order.folder.mkdir())  # type: ignore
        order = fleet.order(["g1"])
        if request_name == "down":
            fleet.down(order)
        while request_name not in provider.open:
            await asyncio.sleep(0)
        await asyncio.wait(fleet.close(), timeout=PATIENCE_S)
        assert provider.open == []
        assert Order.load(order.folder).phase == ("leaving" if request_name == "down" else "asked")

    asyncio.run(what())
