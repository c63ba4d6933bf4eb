"""A controller whose jobs, records and time are in memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from controller_in_process import ControllerInProcess
from memory_engine import MemoryEngine, Work
from memory_store import MemoryStore
from virtual_time import VirtualTimeLoop

from slurmsky.controller.app import Controller
from slurmsky.engines.base import OnEvent
from slurmsky.model.allocation import Launch
from slurmsky.model.job import Job
from slurmsky.paths import StatePaths
from slurmsky.site import MachineHardware, load

SITE = """
[licenses]
ansys = 4
[[node]]
names = "n[1-2]"
cpus = 4
memory_mib = 4000
features = ["fast"]
[[partition]]
name = "debug"
default = true
nodes = "n[1-2]"
"""
BEGIN = 1_700_000_000.0


def work_of(launch: Launch) -> Work:
    """A job named ``30`` runs for 30 seconds, one named ``30x2`` then exits with 2."""
    seconds, _, code = launch.name.partition("x")
    return Work(float(seconds), int(code or 0))


class World(ControllerInProcess):
    """A controller whose jobs, records and time are in memory."""

    def __init__(self, folder: Path, loop: VirtualTimeLoop, site: str) -> None:
        self.loop, self.site = loop, site
        self.work = folder
        (folder / "jobs").mkdir()
        self.store = MemoryStore()
        self.queue = self.controller(self._new_engine)

    def now(self) -> float:
        return BEGIN + self.loop.time()

    def _new_engine(self, on_event: OnEvent) -> MemoryEngine:
        self.engine = MemoryEngine(on_event, self.now, work_of)
        return self.engine

    def controller(self, engine: Callable[[OnEvent], MemoryEngine]) -> Controller:
        environment = {"HOME": str(self.work), "PATH": os.environ["PATH"]}
        site = load(self.site, "site.toml", MachineHardware("n1", cpus=2, cores=2, memory_mib=4000))
        return Controller(site, StatePaths(self.work), None, environment, self.now, store=self.store, local=engine)

    async def sbatch(self, name: str, *options: str) -> int:
        return int(await self.out("sbatch", "--parsable", "-J", name, *options, "--wrap=true"))

    async def submit(self, *options: str) -> None:
        """Submit a job that runs for 600 seconds, as the user types it."""
        await self.out("sbatch", "-J600", *options, "--wrap=true")

    async def manage(self, line: str) -> str:
        return await self.out("sacctmgr", "-i", *line.split())

    async def until(self, seconds: float) -> None:
        """Run until this second after the start."""
        await asyncio.sleep(seconds - self.loop.time())

    def job(self, job_id: int) -> Job:
        return self.queue.job_table.jobs[job_id]

    async def past(self, job_id: int, fields: str = "state,exitcode,elapsedraw") -> list[str]:
        lines = await self.out("sacct", "-nXPD", "-j", str(job_id), "-o", fields)
        return lines.split()


Story = Callable[[World], Awaitable[None]]
Play = Callable[..., None]
