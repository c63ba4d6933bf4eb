"""A whole controller against a stand-in for the API server: runs commands and returns their output."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from controller_in_process import ControllerInProcess
from polling import PATIENCE_S
from sky_server import ManagedJob, SkyServer

from slurmsky.controller.app import Controller
from slurmsky.paths import StatePaths
from slurmsky.site import MachineHardware, load

SITE = """engine = "sky"
[[partition]]
name = "debug"
default = true
infra = "slurm/oracle/debug"
"""


class World(ControllerInProcess):
    """A controller on an API server; ``run`` is a user's command line."""

    def __init__(self, folder: Path, server: SkyServer, site: str) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "jobs").mkdir(exist_ok=True)
        self.server = server
        self.work = folder.parent / "work"
        self.work.mkdir(exist_ok=True)
        env = {"HOME": str(folder), "SKYPILOT_API_SERVER_ENDPOINT": server.endpoint, "PATH": os.environ["PATH"],
               "SKYPILOT_USER_ID": "00000000"}  # fmt: skip
        machine = MachineHardware("host.example", 2, cores=2, memory_mib=2000)
        self.queue = Controller(load(site, "site.toml", machine), StatePaths(folder), None, env, time.time)

    async def __aenter__(self) -> World:
        await self.queue.choose_engine()
        assert self.queue.managed is not None
        self.managed = self.queue.managed
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.queue.close()

    def launch(self, name: str, status: str, **record: Any) -> ManagedJob:
        """Launch a managed job with SkyPilot's own client."""
        fields = {"resources": "2x[CPU:1+]", "cloud": "-", "submitted_at": time.time() - 100, **record}
        job = ManagedJob(len(self.server.jobs) + 1, name, {}, record=fields)
        job.become(status)
        self.server.jobs.append(job)
        return job


def world(tmp_path: Path, body: Callable[[World], Awaitable[None]], site: str = SITE) -> None:
    async def go() -> None:
        async with SkyServer() as server, World(tmp_path / "home", server, site) as inside:
            await body(inside)

    asyncio.run(asyncio.wait_for(go(), PATIENCE_S))
