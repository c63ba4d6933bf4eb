"""Existing SkyPilot clusters as warm nodes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from sky_server import ManagedJob
from warm_world import WarmWorld, namespaces_work

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not namespaces_work(), reason="needs namespaces"),
]


#: another user's pilot
HOLD = """import sys
from slurmsky.agent.cloud.node_owner import reserve
print(reserve(sys.argv[1], "ada@login") or "held", flush=True)
input()
"""


EXISTING = """engine = "sky"
[[partition]]
name = "dev"
default = true
nodes = "d[1-2]"
cluster = "mine"
"""


def test_an_existing_cluster_is_used_unchanged_and_never_powered_down(tmp_path):
    async def what(world):
        world.hold = True
        mine = ManagedJob(1, "mine", {}, cluster=True)
        mine.become("RUNNING")
        world.server.jobs.append(mine)
        world.server.place = {"nodes": 2, "cpus": "64", "memory": "0.5", "accelerators": "{'H100': 4}"}
        world.server.report = [{"name": "mine", "status": "UP", "total_cost": 4.0, "duration": 3600.0}]
        assert "d[1-2]" in await world.out("sinfo", "-h", "-o", "%N")
        await world.until(lambda: len(world.server.jobs) == 2)
        task = world.server.jobs[1].task
        assert task["num_nodes"] == 2 and task["resources"] == {"accelerators": "H100:4"}
        world.server.jobs[0].task["run"] = "sleep 600"
        world.hold = False
        await world.until(lambda: world.node_is("d2", "idle"))
        size = await world.out("sinfo", "-hN", "-n", "d1", "-o", "%c %m %G")
        assert size.split() == [str(len(os.sched_getaffinity(0))), "512", "gpu:h100:4"]
        assert "InstanceType=$2.00/h " in await world.out("scontrol", "show", "node", "d1")
        devices = await world.batch("echo $CUDA_VISIBLE_DEVICES\n", "--gpus=2", "-o", "devices", "--wait")
        assert (world.project / "devices").read_text() == "0,1\n", devices
        assert (await world.out("srun", "-N2", "bash", "-c", "echo $SLURM_JOB_PARTITION")).split() == ["dev", "dev"]
        job = await world.batch("sleep 600\n", "-w", "d1")
        await world.until(lambda: world.are_running(job))
        await world.out("scontrol", "update", "NodeName=d1", "State=POWER_DOWN_FORCE")
        assert (await world.states())["d1"] == "mix" and await world.are_running(job)

    WarmWorld(tmp_path, EXISTING).play(what)


def test_an_existing_cluster_that_another_user_holds_is_not_used(tmp_path):
    async def what(world):
        mine = ManagedJob(1, "mine", {}, cluster=True)
        mine.become("RUNNING")
        mine.task["run"] = "sleep 600"
        world.server.jobs.append(mine)
        folder = str(world.machines.tmp / "slurmsky-owners")  # where the machine of all these nodes has its locks
        holder = subprocess.Popen([sys.executable, "-c", HOLD, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert holder.stdout.readline() == b"held\n"
        assert " ExclusiveUser=YES " in await world.out("scontrol", "show", "partition", "dev")
        await world.until(lambda: world.node_is("d2", "down~"))
        assert "is in use by ada@login (ExclusiveUser)" in await world.out("sinfo", "-R", "-h", "-o", "%50E")
        holder.communicate()
        await world.out("scontrol", "update", "NodeName=d[1-2]", "State=RESUME")
        await world.until(lambda: world.node_is("d2", "idle"))

    WarmWorld(tmp_path, EXISTING).play(what)
