"""Kept nodes end to end: brought up on demand, shared, powered down, adopted and lost."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from kept_world import KeptWorld, namespaces_work

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not namespaces_work(), reason="needs namespaces"),
]


def test_a_job_brings_its_node_up_and_the_next_one_finds_it(tmp_path):
    async def what(world):
        assert await world.out("sinfo", "-h", "-o", "%t %N") == "idle~ k[1-4]\n"
        first = await world.batch("echo first on $SLURMD_NODENAME\n", "-o", "first.out", "--wait")
        assert (world.project / "first.out").read_text() == "first on k1\n", first
        assert await world.states() == {"k1": "idle", "k2": "idle~", "k3": "idle~", "k4": "idle~"}
        await world.batch("echo second\n", "-o", "second.out", "--wait")
        assert (world.project / "second.out").read_text() == "second\n"
        assert len(world.server.jobs) == 1

    KeptWorld(tmp_path).play(what)
