"""salloc, srun outside a job and its reuse on a SkyPilot partition: the real commands and the real agent on nodes of
this machine, against a stand-in for the API server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import quick_controller
from cloud import Cloud, namespaces_work
from local_engine import LocalEngine, local_engine
from polling import PATIENCE_S, alive
from sky_server import ManagedJob, SkyServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not namespaces_work(), reason="needs mount namespaces"),
]
SITE = 'engine = "sky"\n[[partition]]\nname = "debug"\ndefault = true\ninfra = "kubernetes/x"\n'


class World:
    """A user's folder, a server with nodes, and the commands."""

    def __init__(self, tmp_path: Path) -> None:
        self.user = tmp_path / "user"
        self.project = self.user / "project"
        (self.project / "sub").mkdir(parents=True)
        (self.project / "data.txt").write_text("hi\n")
        self.site = tmp_path / "site.toml"
        self.site.write_text(SITE)
        self.server = SkyServer()
        self.cloud = Cloud(tmp_path / "cloud", self.user)
        self.engine: LocalEngine
        self._again: list[asyncio.Task[None]] = []

    async def run(self, *argv: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project's folder while the server serves."""
        return await asyncio.to_thread(
            self.engine.run, list(argv), cwd=self.project, env=env, stdin=stdin, limit_s=2 * PATIENCE_S
        )

    async def until(self, condition: Callable[[], bool]) -> None:
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while not condition():
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.05)

    def again(self, job: ManagedJob) -> None:
        """Give new nodes to a job that has lost its nodes."""
        self._again.append(asyncio.ensure_future(self.cloud.run(job, run=len(self._again) + 1)))

    async def _give_nodes(self) -> None:
        begun: list[asyncio.Task[None]] = []
        try:
            while True:
                while len(begun) < len(self.server.jobs):
                    begun.append(asyncio.ensure_future(self.cloud.run(self.server.jobs[len(begun)])))
                await asyncio.sleep(0.02)
        finally:
            await self.cloud.close([*begun, *self._again])

    def play(self, what) -> None:
        async def run() -> None:
            async with self.server:
                nodes = asyncio.ensure_future(self._give_nodes())
                endpoint = {"SKYPILOT_API_SERVER_ENDPOINT": self.server.endpoint}
                with local_engine(self.site, **endpoint) as self.engine:
                    await quick_controller.start(self.engine)
                    try:
                        await what(self)
                    finally:
                        nodes.cancel()
                        await asyncio.gather(nodes, return_exceptions=True)

        asyncio.run(run())


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


IN_SALLOC = r"""
echo "$SLURM_JOB_ID $SLURM_NNODES $SLURM_NTASKS"
echo abc | srun -l sh -c 'echo $SLURM_PROCID; cat data.txt; echo $SLURM_PROCID > made.$SLURM_PROCID; cat' | sort
cd sub; srun -n1 pwd
srun -n1 sh -c 'exit 7'; echo code $?
srun -n1 sh -c 'kill -9 $$'; echo code $?
squeue -h -j $SLURM_JOB_ID -o '%i %j %T'
scontrol show hostnames | wc -l
exit 3
"""


def test_salloc_runs_steps_on_the_nodes_of_a_cluster(world: World) -> None:
    async def play(world: World) -> None:
        (world.project / "inside.sh").write_text(IN_SALLOC)
        done = await world.run("salloc", "-N2", "-n2", "bash", "inside.sh")
        assert done.stdout.splitlines() == [
            "1 2 2", "0: 0", "0: abc", "0: hi", "1: 1", "1: abc", "1: hi", str(world.project / "sub"), "code 7",
            "code 137", "1 interactive RUNNING", "2",
        ]  # fmt: skip
        assert done.returncode == 3
        messages = [line for line in done.stderr.splitlines() if line.startswith("salloc")]
        assert messages[-1] == "salloc: Relinquishing job allocation 1", done.stderr
        assert "salloc: Granted job allocation 1" in messages
        assert (world.project / "made.1").read_text() == "1\n"
        await world.until(lambda: not world.server.jobs[0].up)
        assert world.server.jobs[0].task["resources"]["autostop"]["down"] is True
        rows = (await world.run("sacct", "-nXP", "-o", "jobid,state")).stdout.split()
        assert rows == ["1|FAILED"]

    world.play(play)


def test_srun_outside_a_job(world: World) -> None:
    async def play(world: World) -> None:
        done = await world.run("srun", "-N2", "sh", "-c", "cat; echo out; echo err >&2; exit 5", stdin="typed\n")
        assert sorted(done.stdout.splitlines()) == ["out", "out", "typed", "typed"]
        assert done.stderr.count("err\n") == 2 and done.returncode == 5
        await world.until(lambda: not world.server.jobs[0].up)
        rows = (await world.run("sacct", "-nXP", "-o", "jobid,state,exitcode")).stdout.split()
        assert rows == ["1|FAILED|5:0"]

    world.play(play)


#: 40,000 numbered lines in bursts, then what its standard input has
WRITER = """import pathlib, sys, time
pathlib.Path(sys.argv[1]).touch()
for part in range(40):
    for line in range(1000):
        print(part, line)
    sys.stdout.flush()
    time.sleep(0.05)
data = sys.stdin.buffer.read()
print(len(data), data == b"0123456789" * 100000)
sys.exit(7)
"""
WRITTEN = "".join(f"{part} {line}\n" for part in range(40) for line in range(1000))


async def kill_controller(world: World) -> None:
    pid = int((world.engine.home / "controller.pid").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    await world.until(lambda: not alive(pid))


@pytest.mark.parametrize("command", ["srun", "salloc"])
def test_a_session_continues_when_the_controller_is_killed(world: World, tmp_path: Path, command: str) -> None:
    """No byte is lost or doubled in either direction, and the exit code is the step's."""

    async def play(world: World) -> None:
        begun = tmp_path / "begun"
        step = ["srun", "-Q", sys.executable, "-c", WRITER, str(begun)]
        line = ["salloc", "-Q", *step] if command == "salloc" else step
        session = subprocess.Popen(line, cwd=world.project, env=world.engine.env, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
        with session:
            try:
                reading = asyncio.ensure_future(asyncio.to_thread(session.communicate, b"0123456789" * 100000))
                await world.until(begun.exists)
                for _ in range(2):
                    assert (await world.run("squeue", "-h")).returncode == 0  # a controller runs
                    await kill_controller(world)
                out, err = await asyncio.wait_for(reading, PATIENCE_S)
            finally:
                session.kill()  # without effect on one that has ended
        assert out.decode() == WRITTEN + "1000000 True\n", err
        errors = [line for line in err.decode().splitlines() if "exit code 7" not in line]
        assert (session.returncode, errors) == (7, [])
        await world.until(lambda: not world.server.jobs[0].up)
        rows = (await world.run("sacct", "-nXP", "-o", "state,exitcode")).stdout
        assert rows == "FAILED|7:0\n"

    world.play(play)


def test_an_allocation_without_a_shell_lasts_until_it_is_cancelled(world: World) -> None:
    async def play(world: World) -> None:
        done = await world.run("salloc", "--no-shell", "-N1")
        assert done.returncode == 0 and "Granted job allocation 1" in done.stderr
        assert (await world.run("srun", "--jobid=1", "cat", "data.txt")).stdout == "hi\n"
        inside = await world.run("srun", "sh", "-c", "echo $SLURM_JOB_ID.$SLURM_STEP_ID", SLURM_JOB_ID="1")
        assert inside.stdout == "1.1\n"
        assert world.server.jobs[0].up
        assert (await world.run("scancel", "1")).returncode == 0
        await world.until(lambda: not world.server.jobs[0].up)
        assert (await world.run("sacct", "-nXP", "-o", "state")).stdout.startswith("CANCELLED")
        late = await world.run("srun", "--jobid=1", "true")
        assert late.returncode == 1 and late.stderr.startswith("srun: error: Slurm job 1 has expired\n")

    world.play(play)


def test_ctrl_c_reaches_the_tasks_and_pty_gives_them_a_terminal(world: World) -> None:
    async def play(world: World) -> None:
        await world.run("salloc", "--no-shell", "-N1")
        script = "srun --jobid=1 --pty sh -c 'tty -s && stty size; trap \"echo got; exit 4\" INT; echo go; read x'"
        process = await asyncio.create_subprocess_exec(
            "script", "-qec", f"stty rows 33 cols 99; {script}", "/dev/null",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=world.engine.env, cwd=world.project,
        )  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        seen = b""
        while b"go" not in seen:
            seen += await asyncio.wait_for(process.stdout.read(100), PATIENCE_S)
        process.stdin.write(b"\x03")
        seen += await asyncio.wait_for(process.stdout.read(), PATIENCE_S)
        assert b"33 99" in seen and b"got" in seen
        assert await process.wait() == 4
        await world.run("scancel", "1")
        await world.until(lambda: not world.server.jobs[0].up)

    world.play(play)


def test_a_signal_before_the_nodes_exist_cancels_the_allocation(world: World) -> None:
    async def play(world: World) -> None:
        world.server.fault = lambda path: (503, "application/json", b"{}") if path == "/api/get" else None
        process = await asyncio.create_subprocess_exec(
            "salloc", "-N1", "true", stderr=subprocess.PIPE, env=world.engine.env, cwd=world.project
        )
        assert process.stderr is not None
        while b"queued" not in (line := await asyncio.wait_for(process.stderr.readline(), PATIENCE_S)):
            assert line
        await world.until(lambda: bool(world.server.jobs))
        process.send_signal(signal.SIGINT)
        rest = await asyncio.wait_for(process.stderr.read(), PATIENCE_S)
        assert b"has been revoked" in rest and await process.wait() == 1
        world.server.fault = lambda path: None
        await world.until(lambda: not world.server.jobs[0].up)

    world.play(play)


def test_salloc_prints_why_it_gets_no_nodes(world: World) -> None:
    async def play(world: World) -> None:
        detail = {"type": "ResourcesUnavailableError", "message": "no such GPU anywhere"}
        answer = (500, "application/json", json.dumps({"detail": detail}).encode())
        world.server.fault = lambda path: answer if path == "/api/get" else None
        done = await world.run("salloc", "-N1", "true")
        assert done.returncode == 1 and not done.stdout
        assert "salloc: error: Job allocation 1 failed: no such GPU anywhere" in done.stderr.splitlines()
        world.server.fault = lambda path: None

    world.play(play)


SERVES = """#!/usr/bin/env python3
import http.server, pathlib
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
print(server.server_port, flush=True)
server.serve_forever()
"""


def test_a_tunnel_reaches_a_port_of_a_jobs_node(world: World) -> None:
    async def play(world: World) -> None:
        (world.project / "serve.py").write_text(SERVES)
        await world.run("sbatch", "-o", "port.txt", "serve.py")
        written = world.project / "port.txt"
        await world.until(lambda: written.exists() and written.read_text().endswith("\n"))
        port = int(written.read_text())
        tunnel = await asyncio.create_subprocess_exec(
            "slurmsky", "tunnel", "--json", "1", f"0:{port}",
            stdout=subprocess.PIPE, env=world.engine.env, cwd=world.project,
        )  # fmt: skip
        assert tunnel.stdout is not None
        reported = json.loads(await asyncio.wait_for(tunnel.stdout.readline(), PATIENCE_S))
        assert reported["port"] == port and reported["local_port"] != port
        reader, writer = await asyncio.open_connection("127.0.0.1", reported["local_port"])
        writer.write(b"GET /data.txt HTTP/1.0\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), PATIENCE_S)).endswith(b"\r\n\r\nhi\n")
        writer.close()
        tunnel.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(tunnel.wait(), PATIENCE_S) == 0
        await world.run("scancel", "1")

    world.play(play)
