"""A third engine serves all commands after one site key and one line of wiring."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from controller_in_process import ControllerInProcess
from memory_engine import MemoryEngine
from memory_store import MemoryStore
from virtual_time import VirtualTimeLoop, run

from slurmsky.controller.app import Controller
from slurmsky.engines.base import EngineDefaults, EngineError, OnEvent, Unable
from slurmsky.model.allocation import Launch
from slurmsky.model.job import Job
from slurmsky.model.spec import JobSpec
from slurmsky.paths import StatePaths
from slurmsky.protocol.messages import Ended, EngineState, JobEvent, JobNode, Missing, Started
from slurmsky.site import load, schema

BEGIN = 1_700_000_000.0
SITE = """
[[node]]
names = "n1"
cpus = 4
[[partition]]
name = "here"
default = true
nodes = "n1"
engine = "local"
[[partition]]
name = "pods"
engine = "pods"
"""


class PodEngine(EngineDefaults):
    """Makes a pod for each job, which runs for a minute."""

    name = "pods"
    places = False

    def __init__(self, on_event: OnEvent) -> None:
        self._on_event = on_event
        self._ends: dict[int, tuple[Launch, asyncio.TimerHandle]] = {}

    def _report(self, launch: Launch, event: JobEvent) -> None:
        self._on_event(event.evolve(job_id=launch.job_id, run=launch.restart_count))

    async def start(self, launch: Launch) -> None:
        loop = asyncio.get_running_loop()
        self._report(launch, EngineState(state="CONFIGURING", comment="the image is pulled"))
        loop.call_later(5, self._report, launch, Started(nodes=(JobNode(f"pod-{launch.job_id}"),)))
        timer = loop.call_later(65, self._end, launch.job_id, Ended(state="COMPLETED"))
        self._ends[launch.job_id] = launch, timer

    def _end(self, job_id: int, ended: Ended) -> None:
        launch, timer = self._ends.pop(job_id)
        timer.cancel()
        self._report(launch, ended)

    async def terminate(self, job_id: int, state: str, signal: int, kill_wait_s: int) -> None:
        self._end(job_id, Ended(state=state, exit_signal=signal))

    async def signal(self, job_id: int, signal: int, target: str) -> None:
        raise EngineError("a pod takes no signal")

    suspend = resume = shrink = limit = signal  # type: ignore[assignment]

    def check(self, components: Sequence[tuple[JobSpec, str]]) -> None:
        if any(spec.whole_nodes for spec, _ in components):
            raise Unable("Requested node configuration is not available", "pods share their nodes")

    def packs(self, spec: JobSpec, partition: str) -> bool:
        return False

    def acks(self, node: str, acks: list[tuple[int, int, int]]) -> None:
        pass

    async def recover(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            if job.job_id not in self._ends:
                self._on_event(Missing(job_id=job.job_id, run=job.restarts))

    def agent_address(self, job_id: int) -> str | None:
        return None

    async def describe(self) -> list[tuple[bool, str]]:
        return [(True, f"{len(self._ends)} pods")]

    async def close(self) -> None:
        pass


class World(ControllerInProcess):
    def __init__(self, folder: Path, loop: VirtualTimeLoop) -> None:
        def clock() -> float:
            return BEGIN + loop.time()

        self.work = folder
        (folder / "jobs").mkdir()
        environment = {"HOME": str(folder), "PATH": os.environ["PATH"]}
        self.queue = Controller(
            load(SITE, "site.toml"), StatePaths(folder), None, environment, clock, store=MemoryStore(),
            local=lambda on_event: MemoryEngine(on_event, clock),
        )  # fmt: skip
        self.queue.engines["pods"] = PodEngine(self.queue._event)  # the wiring


@pytest.fixture(autouse=True)
def pods_in_the_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(schema.LISTS["partition"], "engine", schema.SiteKey(schema.one_of("auto", "local", "pods")))


def test_an_engine_of_its_own_runs_jobs_that_all_commands_show(tmp_path: Path) -> None:
    async def story(loop: VirtualTimeLoop) -> None:
        world = World(tmp_path, loop)
        first = (await world.out("sbatch", "--parsable", "-ppods", "--wrap=true")).strip()
        array = (await world.out("sbatch", "--parsable", "-ppods", "-a1-3%1", "--wrap=true")).strip()
        here = (await world.out("sbatch", "--parsable", "--wrap=true")).strip()
        await asyncio.sleep(2)
        costs = {job.job_id for job in world.queue.budget.running()}
        assert costs == {int(first), int(here) + 1}, "this machine is free, pods are not"
        assert not world.queue.launches.launch_of(world.queue.job_table.jobs[int(first)]).constrain_ram_space
        assert "the image is pulled" in await world.out("squeue", "-h", "-j", first, "-Osystem_comment:40")
        await asyncio.sleep(8)
        rows = await world.out("squeue", "-h", "-o%i %T %N")
        assert f"{first} RUNNING pod-{first}" in rows and f"{here} RUNNING n1" in rows
        await world.out("scancel", f"{array}_1")
        code, _, err = await world.run("sbatch", "-ppods", "--exclusive", "--wrap=true")
        assert code == 1 and "pods share their nodes" in err
        assert "pods" in await world.out("slurmsky", "status")
        await asyncio.sleep(300)
        rows = await world.out("sacct", "-nXPD", "-o", "jobid,state,nodelist", "-S", "2023-11-01")
        assert f"{first}|COMPLETED|pod-{first}" in rows and rows.count("COMPLETED") == 4
        assert f"{array}_1|CANCELLED by {os.getuid()}|" in rows
        await world.queue.close()

    run(story)
