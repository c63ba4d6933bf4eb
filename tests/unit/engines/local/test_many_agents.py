"""A job of many nodes on one machine.

Its agents start a few at a time, within the machine's memory.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from slurmsky.engines.base import EngineError
from slurmsky.engines.local import local_engine
from slurmsky.engines.local.local_engine import LocalEngine
from slurmsky.model.allocation import Launch, NodeShare
from slurmsky.model.spec import JobSpec
from slurmsky.protocol.messages import Ended, Event


def launch(nodes: int) -> Launch:
    shares = [NodeShare(f"n{number}", cpu_ids=(0,)) for number in range(nodes)]
    words = dict.fromkeys(("name", "user", "group", "account", "partition", "qos", "cluster", "submit_host"), "x")
    folders = dict.fromkeys(("submit_dir", "work_dir", "spool"), "/")
    return Launch(**words, **folders, job_id=7, uid=1, gid=1, ntasks=nodes, spec=JobSpec(), shares=shares)


def test_a_job_that_is_cancelled_while_its_agents_start_ends_immediately(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_engine, "STARTS_AT_ONCE", 4)
    events: list[Event] = []
    requested: list[str] = []
    go = asyncio.Event()

    async def link(node: str) -> SimpleNamespace:
        requested.append(node)
        if len(requested) > 1:
            await go.wait()
        return SimpleNamespace(alive=True, launched=set())

    async def run() -> None:
        engine = LocalEngine(tmp_path, events.append, None, {})
        monkeypatch.setattr(engine, "link", link)
        starting = asyncio.ensure_future(engine.start(launch(40)))
        while len(requested) < 5:
            await asyncio.sleep(0)
        await engine.terminate(7, "CANCELLED", 15, 30)
        assert [(event.job_id, event.state) for event in events if isinstance(event, Ended)] == [(7, "CANCELLED")]
        go.set()
        await starting
        assert requested == [f"n{number}" for number in range(5)]

    asyncio.run(run())


def test_more_nodes_than_the_machine_has_memory_for_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_machine = {"SC_PHYS_PAGES": 1 << 18, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", lambda name: of_machine[name])

    async def run() -> None:
        engine = LocalEngine(tmp_path, lambda event: None, None, {})
        with pytest.raises(EngineError, match="52 nodes on one machine need 520 MiB for their agents, more than half"):
            await engine.start(launch(52))

    asyncio.run(run())
