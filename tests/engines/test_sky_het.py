"""Heterogeneous jobs on a SkyPilot partition: the real commands and the real agent on nodes of this machine, against a
stand-in for the API server."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from cloud import namespaces_work
from polling import PATIENCE_S, Poll
from test_sky_allocation import World

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not namespaces_work(), reason="needs mount namespaces"),
]


SITE = """
engine = "sky"
[[partition]]
name = "debug"
default = true
infra = "kubernetes/x"
[[partition]]
name = "here"
engine = "local"
nodes = "n1"
[[partition]]
name = "spot"
infra = "kubernetes/x"
spot = true
[limits]
kill_wait_s = 2
[[node]]
names = "n1"
cpus = 4
"""

STEPS = """#!/bin/bash
#SBATCH -J het -N1 -n1 -c2 --mem=3G
#SBATCH hetjob
#SBATCH -N2 -n4 --mem=1G
env | grep _HET_ | sort
srun bash -c 'echo leader $SLURM_PROCID'
srun --het-group=0,1 bash -c 'echo both $SLURM_PROCID/$SLURM_NTASKS' | sort
srun --het-group=1 bash -c 'echo second $SLURM_PROCID $SLURM_NODEID' | sort
srun bash -c 'echo first part $SLURM_PROCID' : bash -c 'exit 3' | sort
echo code ${PIPESTATUS[0]}
echo made > made.txt
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.site.write_text(SITE)
    return world


def rows(done: subprocess.CompletedProcess[str]) -> list[list[str]]:
    assert done.returncode == 0, done.stderr
    return [line.split("|") for line in done.stdout.splitlines()]


async def submit(world: World, script: str, *options: str) -> None:
    (world.project / "job.sh").write_text(script)
    done = await world.run("sbatch", *options, "job.sh")
    assert done.stdout == "Submitted batch job 1\n", done.stderr


async def listed(world: World, *options: str) -> list[list[str]]:
    return rows(await world.run("squeue", "-h", "-o", "%i|%T|%D|%N|%r", *options))


def output(world: World) -> str:
    file = world.project / "slurm-1.out"
    return file.read_text() if file.exists() else ""


def state(row: list[str]) -> str:
    return row[1]


async def wait_for(world: World, *wanted: str, shown: Callable[[list[str]], str] = state) -> None:
    """Wait until squeue shows these states of the components."""
    deadline, poll = time.monotonic() + PATIENCE_S, Poll()
    while time.monotonic() < deadline:
        done = await world.run("squeue", "-h", "-o", "%i|%T|%D|%N|%r", "-t", "all")
        # A controller that was just killed does not answer.
        if done.returncode == 0 and tuple(map(shown, rows(done))) == wanted:
            return
        await asyncio.sleep(poll.pause_s())
    raise AssertionError(await listed(world, "-t", "all"))


def test_components_are_nodes_of_one_managed_job(world: World) -> None:
    async def play(world: World) -> None:
        await submit(world, STEPS, "-W")
        task = world.server.jobs[0].task
        assert len(world.server.jobs) == 1 and task["num_nodes"] == 3
        assert (task["resources"]["cpus"], task["resources"]["memory"]) == ("2+", "3+")
        out = (world.project / "slurm-1.out").read_text().splitlines()
        names = dict(line.split("=", 1) for line in out if "_HET_GROUP_" in line)
        nodes = [names[f"SLURM_JOB_NODELIST_HET_GROUP_{group}"] for group in (0, 1)]
        assert names["SLURM_JOB_ID_HET_GROUP_1"] == "2" and names["SLURM_JOB_NUM_NODES_HET_GROUP_1"] == "2"
        assert [line for line in out if "HET" not in line and "srun" not in line] == [
            "leader 0", *(f"both {rank}/5" for rank in range(5)),
            "second 0 0", "second 1 0", "second 2 1", "second 3 1", "first part 0", "code 3",
        ]  # fmt: skip
        done = rows(await world.run("sacct", "-nP", "-o", "jobid,jobname,state,exitcode,nnodes,nodelist"))
        assert done == [
            ["1+0", "het", "COMPLETED", "0:0", "1", nodes[0]],
            ["1+0.batch", "batch", "COMPLETED", "0:0", "1", nodes[0]],
            ["1+0.0", "bash", "COMPLETED", "0:0", "1", nodes[0]],
            ["1+0.1", "bash", "COMPLETED", "0:0", "1", nodes[0]],
            ["1+0.3", "bash", "COMPLETED", "0:0", "1", nodes[0]],
            ["1+1", "het", "COMPLETED", "0:0", "2", nodes[1]],
            ["1+1.1", "bash", "COMPLETED", "0:0", "2", nodes[1]],
            ["1+1.2", "bash", "COMPLETED", "0:0", "2", nodes[1]],
            ["1+1.3", "bash", "FAILED", "3:0", "2", nodes[1]],
        ]
        assert (world.project / "made.txt").read_text() == "made\n"

    world.play(play)


SLEEPS = """#!/bin/bash
#SBATCH --requeue
#SBATCH hetjob
#SBATCH -N2
echo run ${SLURM_RESTART_COUNT-0}
srun --het-group=0,1 sleep 200
"""


def test_pending_running_and_cancelled(world: World) -> None:
    async def play(world: World) -> None:
        away = [True]
        world.server.fault = lambda path: (503, "text/plain", b"away") if away and path == "/jobs/launch" else None
        await submit(world, SLEEPS)
        await wait_for(world, *["ReqNodeNotAvail, SkyPilot server is busy"] * 2, shown=lambda row: row[4])
        assert [(row[0], row[2]) for row in await listed(world)] == [("1+0", "1"), ("1+1", "2")]
        done = await world.run("scancel", "1+1")
        assert done.stderr.rstrip().endswith("Operation not permitted on individual component of heterogeneous job")
        away.clear()
        await wait_for(world, "RUNNING", "RUNNING")
        await world.until(lambda: "run 0" in output(world))
        shown = {row[0]: row[3] for row in await listed(world)}
        assert shown["1+0"] and shown["1+1"] and shown["1+0"] not in shown["1+1"]
        done = await world.run("scontrol", "suspend", "1+1")
        assert done.returncode == 1 and "Operation not permitted on individual component" in done.stderr
        # A requeue of one is a requeue of all: another managed job, whose nodes are theirs again.
        await world.run("scontrol", "requeue", "1")
        await world.until(lambda: len(world.server.jobs) == 2)
        await wait_for(world, "RUNNING", "RUNNING")
        await world.run("scancel", "1")
        await wait_for(world, "CANCELLED", "CANCELLED")
        past = rows(await world.run("sacct", "-nXPD", "-o", "jobid,state"))
        assert [row[1].split()[0] for row in past] == ["REQUEUED", "REQUEUED", "CANCELLED", "CANCELLED"]
        assert len(world.server.jobs) == 2

    world.play(play)


ENDS_ALONE = """#!/bin/bash
#SBATCH hetjob
#SBATCH -N2
echo begun
srun --het-group=1 sleep 200
echo second $?
srun --het-group=0 echo first
sleep 200
"""


def test_a_component_that_is_cancelled_ends_alone(world: World) -> None:
    async def play(world: World) -> None:
        await submit(world, ENDS_ALONE)
        await world.until(lambda: "begun" in output(world))
        done = await world.run("scancel", "1+1")
        assert done.returncode == 0, done.stderr
        await wait_for(world, "CANCELLED", "RUNNING")  # squeue sorts by state
        await world.until(lambda: output(world).endswith("first\n"))
        assert "second 0" not in output(world)
        await world.run("scancel", "1+0")
        await wait_for(world, "CANCELLED", "CANCELLED")
        past = rows(await world.run("sacct", "-nXP", "-o", "jobid,state"))
        assert [(row[0], row[1].split()[0]) for row in past] == [("1+0", "CANCELLED"), ("1+1", "CANCELLED")]

    world.play(play)


def test_lost_nodes_end_or_requeue_all_components(world: World) -> None:
    async def play(world: World) -> None:
        await submit(world, SLEEPS)
        await wait_for(world, "RUNNING", "RUNNING")
        job = world.server.jobs[0]
        job.become("RECOVERING", "Cluster preempted or failed, recovering")
        world.cloud.stop(1, signal.SIGKILL)
        await wait_for(world, "PENDING", "PENDING")
        world.again(job)
        await wait_for(world, "RUNNING", "RUNNING")
        await world.until(lambda: "run 1" in output(world))
        # A node of the second component alone: the job's end, as the script cannot continue without it.
        os.killpg(world.cloud.processes[1][2].pid, signal.SIGKILL)
        await wait_for(world, "PENDING", "PENDING")
        past = rows(await world.run("sacct", "-nXPD", "-o", "jobid,state"))
        assert past[:2] == [["1+0", "REQUEUED"], ["1+0", "NODE_FAIL"]]
        assert ["1+1", "REQUEUED"] in past and ["1+1", "NODE_FAIL"] in past

    world.play(play)


def test_a_controller_that_is_killed_finds_all_components_again(world: World) -> None:
    script = "#!/bin/bash\n#SBATCH hetjob\n#SBATCH -N2\nsrun --het-group=1 bash -c 'sleep 8; echo $SLURM_PROCID'\n"

    async def play(world: World) -> None:
        await submit(world, script)
        await wait_for(world, "RUNNING", "RUNNING")
        pid = int((world.engine.home / "controller.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        await wait_for(world, "COMPLETED", "COMPLETED")
        assert sorted((world.project / "slurm-1.out").read_text().split()) == ["0", "1"]
        done = rows(await world.run("sacct", "-nP", "-o", "jobid,state"))
        assert done == [["1+0", "COMPLETED"], ["1+0.batch", "COMPLETED"], ["1+1", "COMPLETED"], ["1+1.0", "COMPLETED"]]
        assert len(world.server.jobs) == 1

    world.play(play)


def test_salloc_holds_the_nodes_of_all_components(world: World) -> None:
    async def play(world: World) -> None:
        inside = "echo $SLURM_HET_SIZE; srun --het-group=0,1 bash -c 'echo $SLURM_PROCID' | sort"
        done = await world.run("salloc", "-N1", ":", "-N2", "bash", "-c", inside)
        assert (done.returncode, done.stdout.split()) == (0, ["2", "0", "1", "2"]), done.stderr
        assert world.server.jobs[0].cluster and world.server.jobs[0].task["num_nodes"] == 3
        done = await world.run("srun", "-N1", "bash", "-c", "echo a", ":", "-N2", "bash", "-c", "echo b")
        assert sorted(done.stdout.split()) == ["a", "b", "b"], done.stderr

    world.play(play)


REFUSED = [
    ("-p debug : -p here", "Requested operation not supported on this system", "this machine"),
    ("-p debug : -p spot", "Requested node configuration is not available", "differ in spot"),
    ("--gpus=a100:1 : --gpus=h100:1", "Requested node configuration is not available", "A100 and H100"),
]


def test_components_that_one_task_cannot_express_are_refused(world: World) -> None:
    async def play(world: World) -> None:
        for options, refusal, hint in REFUSED:
            done = await world.run("sbatch", "--wrap=true", *options.split())
            assert done.returncode == 1 and hint in done.stderr
            assert done.stderr.splitlines()[-1].endswith(refusal)
        assert not world.server.jobs and (await world.run("squeue", "-h")).stdout == ""

    world.play(play)
