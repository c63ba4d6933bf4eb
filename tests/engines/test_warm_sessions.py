"""Sessions with warm nodes outlive the controller and the tunnel that carry their bytes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from polling import PATIENCE_S
from warm_world import WarmWorld, namespaces_work

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not namespaces_work(), reason="needs namespaces"),
]
#: 40,000 numbered lines in bursts
WRITER = "for part in range(40):\n for line in range(1000): print(part, line)\n sys.stdout.flush(); time.sleep(0.05)"
WRITTEN = "".join(f"{part} {line}\n" for part in range(40) for line in range(1000))


@pytest.mark.parametrize("kind", ["controller", "tunnel"])
@pytest.mark.parametrize("command", ["srun", "salloc"])
def test_output_and_input_continue_where_they_were_cut(tmp_path, command, kind):
    """No byte is lost or doubled in either direction, and the exit code is the step's."""

    async def what(world):
        begun = world.project / "begun"
        program = f"import sys, time; open({str(begun)!r}, 'w')\n{WRITER}\n"
        program += "data = sys.stdin.buffer.read()\nprint(len(data), data == b'0123456789' * 100000); sys.exit(7)"
        line = [*(["salloc", "-Q"] if command == "salloc" else []), "srun", sys.executable, "-c", program]
        with _started(world, *line) as srun:
            reading = asyncio.ensure_future(asyncio.to_thread(srun.communicate, b"0123456789" * 100000))
            await world.until(begun.exists)
            for _ in range(3):
                await world.out("squeue", "-h")  # a controller runs
                await (world.kill_controller() if kind == "controller" else asyncio.to_thread(world.kill_tunnels))
            out, err = await asyncio.wait_for(reading, PATIENCE_S)
        assert out.decode() == WRITTEN + "1000000 True\n", err
        assert (srun.returncode, err.replace(b"srun: error: k1: task 0: Exited with exit code 7\n", b"")) == (7, b"")
        assert await world.out("squeue", "-h") == ""

    WarmWorld(tmp_path, tunnel=kind == "tunnel").play(what)


def test_signals_arrive_after_the_controller_was_killed(tmp_path):
    async def what(world):
        script = "trap 'echo got; exit 5' USR1; echo begun; while :; do sleep 0.05; done"
        with _started(world, "srun", "bash", "-c", script) as srun:
            assert await asyncio.to_thread(srun.stdout.readline) == b"begun\n"
            await world.kill_controller()
            srun.send_signal(signal.SIGINT)
            assert b"one more within 1 sec" in await asyncio.to_thread(srun.stderr.readline)
            srun.send_signal(signal.SIGUSR1)
            out, _ = await asyncio.to_thread(srun.communicate)
        assert (srun.returncode, out) == (5, b"got\n")
        rows = await world.out("sacct", "-nPX", "-o", "State,ExitCode")
        assert rows == "FAILED|5:0\n"

    WarmWorld(tmp_path).play(what)


def test_a_step_ends_with_its_srun(tmp_path):
    """Also in the middle of much output."""

    async def what(world):
        with _started(world, "srun", "yes") as srun:
            assert await asyncio.to_thread(srun.stdout.read, 1 << 20)
            srun.kill()
            await asyncio.to_thread(srun.communicate)
        await world.until(lambda: _none(world))

    WarmWorld(tmp_path).play(what)


async def _none(world):
    return await world.out("squeue", "-h") == ""


def test_sattach_outlives_the_controller(tmp_path):
    async def what(world):
        begun = "echo begun; touch begun; until [ -e go ]; do sleep 0.05; done; echo later; exit 3"
        job = await world.batch(f"srun sh -c '{begun}'\n")
        await world.until((world.project / "begun").exists)
        with _started(world, "sattach", f"{job}.0") as sattach:
            assert await asyncio.to_thread(sattach.stdout.readline) == b"begun\n"
            await world.kill_controller()
            (world.project / "go").touch()
            out, err = await asyncio.to_thread(sattach.communicate)
        assert (out, err) == (b"later\n", b"sattach: error: task 0 exited with exit code 3\n")
        assert sattach.returncode == 3

    WarmWorld(tmp_path).play(what)


def test_a_session_whose_agent_was_killed_meanwhile_is_lost(tmp_path):
    async def what(world):
        with _started(world, "srun", "sh", "-c", "echo begun; sleep 600") as srun:
            assert await asyncio.to_thread(srun.stdout.readline) == b"begun\n"
            os.kill(await world.controller_pid(), signal.SIGSTOP)
            world.kill_agents()
            await world.kill_controller()
            _, err = await asyncio.wait_for(asyncio.to_thread(srun.communicate), PATIENCE_S)
        assert (srun.returncode, err) == (1, b"srun: error: Node failure on k1\n")

    WarmWorld(tmp_path).play(what)


def test_commands_of_an_allocation_start_a_controller(tmp_path):
    async def what(world):
        script = "touch begun; until [ -e go ]; do sleep 0.05; done; srun echo one; squeue -ho%T; exit 4"
        with _started(world, "salloc", "-Q", "sh", "-c", script) as salloc:
            await world.until((world.project / "begun").exists)
            os.kill(salloc.pid, signal.SIGSTOP)  # it starts no controller
            await world.kill_controller()
            (world.project / "go").touch()
            assert await asyncio.to_thread(salloc.stdout.readline) == b"one\n"
            salloc.send_signal(signal.SIGCONT)
            out, err = await asyncio.to_thread(salloc.communicate)
        assert (salloc.returncode, out, err) == (4, b"RUNNING\n", b"")

    WarmWorld(tmp_path).play(what)


@contextlib.contextmanager
def _started(world, *argv):
    process = subprocess.Popen(
        argv, cwd=world.project, env=world.engine.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            process.kill()  # without effect on one that has ended
