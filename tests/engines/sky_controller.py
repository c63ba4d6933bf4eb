"""A whole controller against a stand-in for the API server: commands in, what they say out."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from sky_server import ManagedJob, SkyServer

from slurmsky.commands import find
from slurmsky.controller.app import Controller
from slurmsky.controller.command_context import CommandContext
from slurmsky.paths import StatePaths
from slurmsky.protocol import wire
from slurmsky.site import MachineFacts, load

SITE = """engine = "sky"
[[partition]]
name = "debug"
default = true
infra = "slurm/oracle/debug"
"""


class Peer:
    """A caller that keeps what it is told."""

    def __init__(self) -> None:
        self.said = {wire.STDOUT: "", wire.STDERR: ""}

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        if kind in self.said:
            self.said[kind] += payload.decode()

    async def drain(self) -> None:
        pass


class World:
    """A controller on an API server; ``run`` is a user's command line."""

    def __init__(self, folder: Path, server: SkyServer, site: str) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "jobs").mkdir(exist_ok=True)
        self.server = server
        self.work = folder.parent / "work"
        self.work.mkdir(exist_ok=True)
        env = {"HOME": str(folder), "SKYPILOT_API_SERVER_ENDPOINT": server.endpoint, "PATH": os.environ["PATH"],
               "SKYPILOT_USER_ID": "00000000"}  # fmt: skip
        machine = MachineFacts("host.example", 2, cores=2, memory_mib=2000)
        self.queue = Controller(load(site, "site.toml", machine), StatePaths(folder), None, env, time.time)

    async def __aenter__(self) -> World:
        await self.queue.choose_engine()
        assert self.queue.managed is not None
        self.managed = self.queue.managed
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.queue.close()

    async def run(self, *words: str) -> tuple[int, str, str]:
        peer = Peer()
        request = wire.CommandRequest(words[0], words[1:], str(self.work), 0o022, (False,) * 3, None, os.getpid(), {})
        main = find(words[0])
        assert main is not None
        code = main(CommandContext(request, self.queue, peer))
        if not isinstance(code, int):
            code = await code
        self.queue.flush()
        return code, peer.said[wire.STDOUT], peer.said[wire.STDERR]

    async def out(self, *words: str) -> str:
        code, out, err = await self.run(*words)
        assert (code, err) == (0, ""), (words, err)
        return out

    def launch(self, name: str, status: str, **record: Any) -> ManagedJob:
        """Somebody launches a managed job, not through us."""
        facts = {"resources": "2x[CPU:1+]", "cloud": "-", "submitted_at": time.time() - 100, **record}
        job = ManagedJob(len(self.server.jobs) + 1, name, {}, record=facts)
        job.become(status)
        self.server.jobs.append(job)
        return job


def world(tmp_path: Path, body: Callable[[World], Awaitable[None]], site: str = SITE) -> None:
    async def go() -> None:
        async with SkyServer() as server, World(tmp_path / "home", server, site) as inside:
            await body(inside)

    asyncio.run(asyncio.wait_for(go(), 150))
