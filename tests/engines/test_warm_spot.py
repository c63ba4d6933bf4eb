"""Spot nodes that stay warm: the notice of an interruption reaches their jobs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from metadata_service import MetadataService
from warm_world import SITE, WarmWorld, namespaces_work

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not namespaces_work(), reason="needs namespaces"),
]


def test_jobs_of_a_spot_node_get_the_notice_and_are_requeued_elsewhere(tmp_path):
    async def what(world):
        with MetadataService() as service:
            world.machines.metadata = {0: service.address}
            job = await world.batch(
                "[ -n \"$SLURM_RESTART_COUNT\" ] && exec hostname\ntrap 'echo saved >>saved; exit 0' TERM\n"
                "touch begun\nwhile :; do sleep 0.05; done\n",
                "--requeue",
            )
            await world.until(lambda: (world.project / "begun").exists())
            world.machines.metadata = {}
            service.take_back()
            await world.until(lambda: (world.project / "saved").exists())
            await world.until(lambda: world.ended_as(job, "COMPLETED"))
            assert "NODE_FAIL" in await world.out("sacct", "-nXD", "-j", job, "-o", "State%20")
            assert "AWS ends the spot machine at" in (world.engine.home / "controller.log").read_text()
            await world.until(lambda: len(world.clusters) == 1)
            assert len(world.server.jobs) == 2  # the requeued job did not start on the node that ends

    WarmWorld(tmp_path, SITE.replace("memory = 16 }", "memory = 16, spot = true }")).play(what)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_job_of_two_spot_nodes_is_notified_when_either_is_preempted(tmp_path, rank):
    script = (
        '[ -n "$SLURM_RESTART_COUNT" ] && exec cat saved\n'
        "trap 'echo warned >>saved' USR1; trap 'echo ended >>saved; exit 0' TERM\n"
        "touch begun; srun hostname >hosts; echo ready; while :; do sleep 0.05; done\n"
    )

    async def what(world):
        with MetadataService() as service:
            world.machines.metadata = {rank: service.address}
            job = await world.batch(script, "-N2", "--requeue", "--signal=B:USR1@60", "-oout")
            out = world.project / "out"
            await world.until(lambda: out.exists() and "ready" in out.read_text())
            world.machines.metadata = {}
            service.take_back(seconds=12)
            await world.until(lambda: world.ended_as(job, "COMPLETED"))
            assert out.read_text() == "warned\nended\n"  # the files came from the node that was taken
            assert "NODE_FAIL" in await world.out("sacct", "-nXD", "-j", job, "-o", "State%20")
            assert len(world.server.jobs) == 2

    WarmWorld(tmp_path, SITE.replace("memory = 16 }", "memory = 16, spot = true }"), hide=True).play(what)
