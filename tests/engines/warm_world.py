"""Warm nodes for tests, with a simulated API server.

Commands, controller, provider and agents are real.

A node is a process in namespaces of its own (processes, mounts, users): all of it dies with its cluster, as a cloud
node does. ``hide``: nodes do not see the user's folder, as where nothing is mounted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import quick_controller
import ssh_stand_in
from cloud import Cloud
from local_engine import BIN, LocalEngine, local_engine
from polling import PATIENCE_S, Poll, alive
from sky_server import ManagedJob, SkyServer

SITE = """engine = "sky"
[limits]
kill_wait_s = 2
[[partition]]
name = "kept"
default = true
infra = ["kubernetes/x"]
nodes = "k[1-4]"
shape = { cpus = 8, memory = 16 }
suspend_time = "10:00"
"""
#: SkyPilot's optimizer, for a node of eight CPUs
PRICES = """Considered resources (1 node):
----------------------------------------------------------------------
 INFRA             INSTANCE    vCPUs   Mem(GB)   GPUS   COST ($)   CHOSEN
----------------------------------------------------------------------
 AWS (us-east-1)   m6i.large   8       16        -      3600.00       \x1b[32m✔\x1b[0m
----------------------------------------------------------------------
"""
#: a node has an /etc/hosts of its own
START = """cp /etc/hosts "$HOME/hosts" && mount --bind "$HOME/hosts" /etc/hosts || exit 98
if [ -n "$HIDDEN" ]; then mount -t tmpfs tmpfs "$HIDDEN" || exit 99; fi; exec sh -c "$RUN"
"""


class Machines(Cloud):
    """Runs the tasks of clusters.

    A cluster that is idle or removed loses its nodes.
    """

    def __init__(self, folder: Path, hidden: Path | None) -> None:
        super().__init__(folder, hidden or folder)
        self._hides = hidden is not None
        #: short, because a socket's address has 108 bytes
        self.tmp = Path(tempfile.mkdtemp(prefix="k.", dir="/tmp"))

    async def run(self, job: ManagedJob, run: int = 0) -> None:
        job.become("STARTING")
        count = int(job.task.get("num_nodes", 1))
        addresses = [f"127.0.{job.job_id}.{rank + 1}" for rank in range(count)]
        nodes = self.processes[job.job_id] = []
        for rank in range(count):
            home = self.folder / f"cluster{job.job_id}-{run}-{rank}"
            self.bring(job, home)
            environment = self.environment(job, home, rank, addresses)
            environment |= {"TMPDIR": str(self.tmp), "HIDDEN": str(self.hidden) if self._hides else ""}
            if self.closed:
                break
            nodes.append(await asyncio.create_subprocess_exec(
                "unshare", "-rmpf", "--mount-proc", "--kill-child", "sh", "-c", START, env=environment,
                cwd=home / "sky_workdir", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True,
            ))  # fmt: skip
        job.become("RUNNING")
        codes = await asyncio.gather(*(self._read(job, node, rank) for rank, node in enumerate(nodes)))
        if job.status == "RUNNING":
            job.become("FAILED" if any(codes) else "SUCCEEDED")
        job.up = False  # autodown

    async def close(self, runs) -> None:
        await super().close(runs)
        shutil.rmtree(self.tmp, ignore_errors=True)


class WarmWorld:
    """A user's folder, a server with machines, and the commands."""

    def __init__(self, tmp_path: Path, site: str = SITE, hide: bool = False, tunnel: bool = False) -> None:
        self.user = tmp_path / "user"
        self.project = self.user / "project"
        self.project.mkdir(parents=True)
        self.site = tmp_path / "site.toml"
        self.site.write_text(site + ('[sky]\nreach = "ssh"\n' if tunnel else ""))
        self.tools = tmp_path / "tools" if tunnel else None
        if self.tools is not None:
            ssh_stand_in.install(self.tools)
        self.server = SkyServer()
        self.machines = Machines(tmp_path / "cloud", self.user if hide else None)
        self.engine: LocalEngine
        self.hold = False  # clusters get no machines for now

    async def run(self, *argv: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project's folder while the server serves."""
        return await asyncio.to_thread(
            self.engine.run, list(argv), cwd=self.project, env=env, stdin=stdin, limit_s=2 * PATIENCE_S
        )

    async def out(self, *argv: str, **more: str) -> str:
        """Run a command that must succeed; returns its stdout."""
        done = await self.run(*argv, **more)
        assert done.returncode == 0, (argv, done)
        return done.stdout

    async def batch(self, script: str, *options: str) -> str:
        """Submit a script; its job id."""
        (self.project / "job.sh").write_text("#!/bin/bash\n" + script)
        return (await self.out("sbatch", "--parsable", *options, "job.sh")).strip()

    async def until(self, condition: Callable[[], Awaitable[bool] | bool], patience: float = PATIENCE_S) -> None:
        deadline, poll = time.monotonic() + patience, Poll()
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            assert time.monotonic() < deadline, self._details()
            await asyncio.sleep(poll.pause_s())

    def _details(self) -> str:
        """Details for a wait that timed out: requests to SkyPilot, jobs and nodes, and the controller's log."""
        log = (self.engine.home / "controller.log").read_text()
        queue = [self.engine.run(argv, limit_s=60) for argv in (["scontrol", "show", "job"], ["sinfo", "-hN"])]
        jobs = [job.events for job in self.server.jobs]
        return "\n".join(map(str, (self.server.requests[-20:], jobs, *(one.stdout for one in queue), log[-4000:])))

    async def are_running(self, *jobs: str) -> bool:
        shown = await self.out("squeue", "-h", "-o", "%i %t")
        return all(f"{job} R" in shown.splitlines() for job in jobs)

    async def job_is(self, job: str, word: str) -> bool:
        return (await self.out("squeue", "-h", "-j", job, "-o", "%t")).strip() == word

    async def node_is(self, node: str, word: str) -> bool:
        return (await self.states())[node] == word

    async def ended_as(self, job: str, word: str) -> bool:
        return (await self.out("sacct", "-nXj", job, "-o", "State%20")).split()[0] == word

    async def states(self) -> dict[str, str]:
        """Each node's state as sinfo shows it."""
        return dict(line.split() for line in (await self.out("sinfo", "-hN", "-o", "%N %t")).splitlines())

    async def controller_pid(self) -> int:
        return int((self.engine.home / "controller.pid").read_text())

    async def kill_controller(self) -> None:
        """Kill the controller, and wait until no connection reaches it any more."""
        pid = await self.controller_pid()
        os.kill(pid, signal.SIGKILL)
        await self.until(lambda: not alive(pid))

    def kill_agents(self) -> None:
        """Kill every node's agent; its pilot starts another agent."""
        _kill("slurmsky.agent", self.machines.tmp)

    def kill_tunnels(self) -> None:
        """Kill every ssh process."""
        _kill(ssh_stand_in.__file__, self.engine.home)

    def tunnels(self) -> list[int]:
        """The ssh processes."""
        return _processes(ssh_stand_in.__file__, self.engine.home)

    def lose(self, number: int) -> None:
        """Remove a cluster's machines."""
        job = self.server.jobs[number - 1]
        job.up = False
        self.machines.stop(number, signal.SIGKILL)

    @property
    def clusters(self) -> list[str]:
        """The clusters that cost money now."""
        return [job.name for job in self.server.jobs if job.up]

    async def _serve(self) -> None:
        begun: list[asyncio.Task[None]] = []
        stopped: set[int] = set()
        try:
            while True:
                while len(begun) < len(self.server.jobs) and not self.hold:
                    begun.append(asyncio.ensure_future(self.machines.run(self.server.jobs[len(begun)])))
                for job in self.server.jobs:
                    if not job.up and job.job_id not in stopped:
                        stopped.add(job.job_id)
                        self.machines.stop(job.job_id, signal.SIGKILL)
                await asyncio.sleep(0.02)
        finally:
            await self.machines.close(begun)

    def play(self, what: Callable[[WarmWorld], Awaitable[None]]) -> None:
        async def run() -> None:
            async with self.server:
                serving = asyncio.ensure_future(self._serve())
                env = {"SKYPILOT_API_SERVER_ENDPOINT": self.server.endpoint}
                if self.tools is not None:
                    env["PATH"] = f"{self.tools}:{BIN}:/usr/local/bin:/usr/bin:/bin"
                with local_engine(self.site, **env) as self.engine:
                    await quick_controller.start(self.engine)
                    try:
                        await what(self)
                    finally:
                        serving.cancel()
                        with contextlib.suppress(asyncio.CancelledError):
                            await serving

        asyncio.run(run())


def _kill(program: str, folder: Path) -> None:
    """Kill the processes of a program that name a folder in their command line."""
    for pid in _processes(program, folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _processes(program: str, folder: Path) -> list[int]:
    """The processes of a program that name a folder in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().decode(errors="replace").split("\0")
            if program in words and any(str(folder) in word for word in words):
                found.append(int(path.parent.name))
    return found


def namespaces_work() -> bool:
    """Whether this account may make these namespaces."""
    command = ["unshare", "-rmpf", "--mount-proc", "true"]
    return shutil.which("unshare") is not None and not subprocess.run(command, capture_output=True).returncode
