"""Prices of warm nodes before their first start, for budgets."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from slurmsky.controller.services import node_prospects
from slurmsky.engines.base import EngineError
from slurmsky.model.allocation import NodeShare


def test_a_price_that_skypilot_could_not_report_is_requested_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_prospects, "RETRY_S", 0.0)
    answers: list[float | EngineError] = [EngineError("no answer"), 3.0]

    class Engine:
        async def price(self, partition: str) -> float:
            answer = answers.pop(0)
            if isinstance(answer, EngineError):
                raise answer
            return answer

    async def story() -> list[float | None]:
        kicked = asyncio.Event()
        engine: Any = Engine()
        table: Any = SimpleNamespace(clock=lambda: 0.0)
        hours: Any = SimpleNamespace(last_price=lambda name: 0.0, hourly=lambda shares, now, price: price)
        kept: Any = {"gpu": SimpleNamespace(names=("k1",))}
        prospects = node_prospects.NodeProspects(table, kept, engine, hours, kicked.set)
        seen = []
        for _ in range(3):
            seen.append(prospects.hourly([NodeShare("k1", "")]))
            if seen[-1] is None:
                await kicked.wait()
                kicked.clear()
        return seen

    assert asyncio.run(story()) == [None, None, 3.0]


def test_commands_wait_for_a_price_once_also_where_skypilot_knows_none() -> None:
    queries: list[str] = []

    class Engine:
        fleet = SimpleNamespace(is_up=lambda name: False, usual_s=lambda partition: 60.0)

        async def price(self, partition: str) -> float:
            queries.append(partition)
            return 0.0

    async def story() -> set[str]:
        engine: Any = Engine()
        hours: Any = SimpleNamespace(last_price=lambda name: 0.0)
        kept: Any = {"gpu": SimpleNamespace(names=("k1",))}
        table: Any = SimpleNamespace()
        prospects = node_prospects.NodeProspects(table, kept, engine, hours, lambda: None)
        return {await prospects.summary("gpu") for _ in range(3)}

    (text,) = asyncio.run(story())
    assert queries == ["gpu"] and "a job pays its share." in text
