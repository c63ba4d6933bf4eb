"""Choice of the engine: the query is repeated until SkyPilot answers.

A slow answer makes no job run on this machine.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from polling import PATIENCE_S
from sky_controller import World
from sky_server import SkyServer

from slurmsky.controller.services import engine_choice
from slurmsky.engines.sky import intervals

SITE = """engine = "auto"
[[node]]
names = "n1"
cpus = 2
[[partition]]
name = "debug"
default = true
[[partition]]
name = "here"
nodes = "n1"
engine = "local"
"""
BUSY = (503, "text/plain", b"restarting")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_choice, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(engine_choice, "LONGEST_PAUSE_S", 0.1)
    monkeypatch.setattr(intervals, "PACE_S", 0.05)
    monkeypatch.setattr(intervals, "POLL_S", 0.1)


def play(tmp_path: Path, enabled: list[str], story: Callable[[World], Awaitable[None]]) -> None:
    async def go() -> None:
        server = SkyServer()
        server.enabled = enabled
        server.fault = lambda path: BUSY
        async with server as running, World(tmp_path / "home", running, SITE) as world:
            world.queue.schedule_soon()
            await story(world)
        for agent in world.queue.engines["local"]._processes:  # type: ignore[attr-defined]
            agent.wait(PATIENCE_S)  # it leaves with the controller

    asyncio.run(asyncio.wait_for(go(), PATIENCE_S))


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("enabled, engine", [(["slurm"], "sky"), ([], "local")])
def test_jobs_wait_until_the_server_has_answered(tmp_path: Path, enabled: list[str], engine: str) -> None:
    async def story(world: World) -> None:
        queue = world.queue
        assert queue.usual.open and "not known yet" in await world.out("slurmsky", "status")
        # More than this machine has: this machine does not decide.
        assert (await world.run("sbatch", "-c8" if engine == "sky" else "-c1", "--wrap=true"))[0] == 0
        assert (await world.run("sbatch", "-phere", "--wrap=true"))[0] == 0
        job, here = queue.job_table.jobs[1], queue.job_table.jobs[2]
        await until(lambda: here.state.name != "PENDING")
        # The reason is that of the latest query; on a busy machine the first ones may have had no answer.
        await until(lambda: "restarting" in job.reason_desc)
        assert job.reason == "ReqNodeNotAvail" and not job.awaits_nodes
        world.server.fault = lambda path: None
        await until(lambda: not queue.usual.open)
        assert queue.usual.engine == engine
        await until(lambda: job.awaits_nodes or job.state.name != "PENDING")
        assert job.engine == engine

    play(tmp_path, enabled, story)
