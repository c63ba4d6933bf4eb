"""Orders of warm nodes while the controller closes, and successive orders."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest
from polling import PATIENCE_S

from slurmsky.engines.nodes.fleet import Fleet
from slurmsky.engines.nodes.provider import BringUpFailed
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
        assert Order.load(order.folder).phase == ("leaving" if request_name == "down" else "requested")

    asyncio.run(what())


def test_orders_of_earlier_versions_are_read(tmp_path):
    record = {
        "name": "c",
        "partition": "gpu",
        "nodes": ["g1"],
        "phase": "asked",
        "asked_at": 7.0,
        "notes": {"asked": True},
    }
    (tmp_path / "order.json").write_text(json.dumps(record))
    order = Order.load(tmp_path)
    assert (order.phase, order.requested_at, order.notes.sent) == ("requested", 7.0, True)


class RefusesOnce(SlowProvider):
    """Refuses the first bring-up."""

    async def up(self, order: Order, say: object) -> None:
        if not self.open:
            self.open.append("refused")
            raise BringUpFailed("in use")
        await self._request("up")

    async def down(self, order: Order) -> None:
        """Cancel the pilot, which takes no time."""


def test_an_order_of_an_existing_cluster_outlives_its_predecessor_of_that_name(tmp_path):
    async def what() -> None:
        provider = RefusesOnce()
        kept = {"dev": SimpleNamespace(names=("d1",), cluster="mine", resume_timeout_s=60)}
        orders: list[Order] = []

        def changed(node: str, state: str, _why: str) -> None:
            if state == "failed":
                orders.append(fleet.order([node]))  # for a job that waits

        fleet = Fleet(tmp_path, kept, provider, changed, lambda order: order.folder.mkdir())  # type: ignore
        first = fleet.order(["d1"])
        while first.folder.exists() or "up" not in provider.open:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0)
        assert list(fleet.orders.values()) == orders and fleet.order_of("d1") is orders[0]
        waiting = asyncio.ensure_future(fleet.up(["d1"], lambda text: None))
        await asyncio.wait({waiting}, timeout=0.05)
        assert not waiting.done()
        await asyncio.wait([*fleet.close(), waiting], timeout=PATIENCE_S)
        assert waiting.exception() is not None

    asyncio.run(what())
