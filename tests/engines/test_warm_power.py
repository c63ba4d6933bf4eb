"""Power saving of warm nodes: idle nodes, scontrol's power requests, and orders that are combined."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from warm_world import PRICES, SITE, WarmWorld, namespaces_work

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not namespaces_work(), reason="needs namespaces"),
]


SHORT = SITE.replace('"10:00"', "1")


def test_idle_nodes_power_down_but_for_keep_up(tmp_path):
    async def what(world):
        assert await world.out("sinfo", "-h", "-o", "%t")
        await world.until(lambda: len(world.server.jobs) == 1)
        await world.out("srun", "-N2", "true")
        await world.until(lambda: len(world.clusters) == 1)
        states = await world.states()
        assert sorted(states.values())[0] == "idle" and len(world.server.jobs) == 2, states

    WarmWorld(tmp_path, SHORT + "keep_up = 1\n").play(what)


def test_scontrol_powers_nodes_up_and_down_and_reboots_them(tmp_path):
    async def what(world):
        async def update(node, state):
            return await world.out("scontrol", "update", f"NodeName={node}", f"State={state}")

        await update("k2", "POWER_UP")
        await world.until(lambda: world.node_is("k2", "idle"))
        shown = await world.out("scontrol", "show", "node", "k2")
        assert "State=IDLE+CLOUD " in shown and f"InstanceId={world.server.jobs[0].name} " in shown
        job = await world.batch("sleep 600\n", "-w", "k2")
        await world.until(lambda: world.are_running(job))
        await update("k2", "POWER_DOWN_ASAP")
        assert (await world.states())["k2"] == "drng!"
        await update("k2", "POWER_UP")  # it is up: the request stays
        assert (await world.states())["k2"] == "drng!"
        await world.out("scancel", job)
        await world.until(lambda: world.node_is("k2", "idle~"))
        assert world.clusters == []
        await world.batch("true\n", "-w", "k2", "--wait")
        job = await world.batch("sleep 600\n", "-w", "k2", "--no-requeue")
        await world.until(lambda: world.are_running(job))
        await update("k2", "POWER_DOWN_FORCE")
        await world.until(lambda: world.ended_as(job, "NODE_FAIL"))
        await world.until(lambda: world.node_is("k2", "idle~"))
        await world.out("scontrol", "power", "up", "k[1,3]")
        await world.until(lambda: world.node_is("k3", "idle"))
        world.hold = True
        await world.out("scontrol", "reboot", "ASAP", "k3")
        await world.until(lambda: len(world.server.jobs) == 5)
        assert (await world.states())["k3"] == "boot^"
        assert "+REBOOT_ISSUED" in await world.out("scontrol", "show", "node", "k3")
        refused = await world.run("scontrol", "update", "NodeName=k3", "State=RESUME")  # it reboots already
        assert (await world.states())["k3"] == "boot^", refused
        world.hold = False
        await world.until(lambda: world.node_is("k3", "idle"))
        await world.until(lambda: len(world.clusters) == 2)
        job = await world.batch("sleep 600\n", "-w", "k3")
        await world.until(lambda: world.are_running(job))
        await world.out("scontrol", "reboot", "k3")
        assert (await world.states())["k3"] == "mix@"
        await world.out("scontrol", "cancel_reboot", "k3")
        assert (await world.states())["k3"] == "mix"
        await world.out("scontrol", "reboot", "ASAP", "k3")
        assert (await world.states())["k3"] == "drng@"
        await update("k3", "RESUME")  # cancels the reboot
        assert (await world.states())["k3"] == "mix"
        assert "Reason=" not in await world.out("scontrol", "show", "node", "k3")
        await world.out("scontrol", "reboot", "ASAP", "nextstate=DOWN", "k3")
        assert (await world.states())["k3"] == "drng@"
        await world.out("scancel", job)
        await world.until(lambda: world.node_is("k3", "down~"))
        await update("k3", "RESUME")
        assert (await world.states())["k3"] == "idle~"
        await world.out("scontrol", "update", "NodeName=k1", "State=DRAIN", "Reason=test")
        assert (await world.states())["k1"] == "drain"
        await update("k1", "RESUME")
        assert (await world.states())["k1"] == "idle"

    WarmWorld(tmp_path).play(what)


def test_nodes_with_power_requests_take_jobs_and_show_reasons_as_slurms(tmp_path):
    """Source: slurmctld/node_mgr.c update_node, make_node_avail; power_save.c _do_power_work."""

    async def what(world):
        async def update(node, state):
            return await world.out("scontrol", "update", f"NodeName={node}", f"State={state}")

        async def reason(node):
            return (await world.out("sinfo", "-hRN", "-n", node, "-o", "%E/%u")).strip()

        world.hold = True
        early = await world.batch("true\n", "-w", "k1", "--no-requeue")
        await world.until(lambda: world.job_is(early, "CF"))
        await world.out("scontrol", "update", "NodeName=k1", "State=DRAIN", "Reason=fan")
        await world.until(lambda: world.ended_as(early, "NODE_FAIL"))  # Slurm starts no job on it
        assert (await world.states())["k1"] == "drain#" and await reason("k1") == "fan/root"
        world.hold = False
        await update("k1", "RESUME")
        first = await world.batch("sleep 600\n", "-w", "k1")
        await world.until(lambda: world.are_running(first))
        await update("k1", "POWER_DOWN")
        assert (await world.states())["k1"] == "mix!"
        await world.batch("true\n", "-w", "k1", "--wait")
        await update("k1", "POWER_DOWN_ASAP")
        assert (await world.states())["k1"] == "drng!" and await reason("k1") == "POWER_DOWN_ASAP/root"
        world.server.fault = lambda path: (503, "text/plain", b"later") if path == "/down" else None
        await world.out("scancel", first)
        await world.until(lambda: world.node_is("k1", "idle%"))
        assert len(world.clusters) == 1
        await update("k1", "RESUME")
        assert (await world.states())["k1"] == "idle~"
        await world.batch("true\n", "-w", "k1", "--wait")
        assert "Reason=" not in await world.out("scontrol", "show", "node", "k1")
        world.server.fault = lambda path: None
        await world.until(lambda: len(world.clusters) == 1)
        assert (await world.states())["k1"] == "idle"
        await world.out("scontrol", "power", "down", "ASAP", "k1", "reason=done")
        assert "Reason=done [" in await world.out("scontrol", "show", "node", "k1")

    WarmWorld(tmp_path).play(what)


def test_nodes_that_came_one_by_one_are_combined_once_they_reach_each_other(tmp_path):
    async def what(world):
        await world.out("scontrol", "update", "NodeName=k1", "State=POWER_UP")
        await world.out("scontrol", "update", "NodeName=k2", "State=POWER_UP")
        for node in ("k1", "k2"):
            await world.until(lambda node=node: world.node_is(node, "idle"))
        out = await world.out("srun", "-N2", "-w", "k[1-2]", "bash", "-c", "echo $SLURMD_NODENAME")
        assert sorted(out.split()) == ["k1", "k2"]
        assert len(world.server.jobs) == 2

    WarmWorld(tmp_path).play(what)


def test_idle_nodes_power_down_for_a_job_that_needs_them_beside_nodes_that_are_off(tmp_path):
    async def what(world):
        world.server.prices = PRICES
        message = (await world.run("sbatch", "--test-only", "-n4", "--wrap", "true")).stderr
        assert "; $1800.00 an hour" in message  # half of a node, as SkyPilot's optimizer prices it
        await world.until(lambda: world.node_is("k1", "idle"))
        out = await world.out("srun", "-N4", "bash", "-c", "echo $SLURMD_NODENAME")
        assert sorted(out.split()) == ["k1", "k2", "k3", "k4"]
        assert [job.task.get("num_nodes", 1) for job in world.server.jobs] == [1, 4]

    WarmWorld(tmp_path, SITE + "keep_up = 1\n").play(what)


def test_a_power_down_request_outlives_the_controller_and_waits_for_all_nodes_of_the_launch(tmp_path):
    async def what(world):
        await world.out("srun", "-N2", "true")
        job = await world.batch("sleep 600\n", "-w", "k1")
        await world.until(lambda: world.are_running(job))
        await world.out("scontrol", "update", "NodeName=k2", "State=POWER_DOWN")
        pid = await world.controller_pid()
        os.kill(pid, signal.SIGKILL)
        await world.until(lambda: not Path(f"/proc/{pid}").exists())
        await world.until(lambda: world.node_is("k2", "idle!"))
        assert len(world.clusters) == 1
        await world.out("scancel", job)
        await world.until(lambda: world.clusters == [])
        await world.until(lambda: world.node_is("k2", "idle~"))

    WarmWorld(tmp_path).play(what)
