"""Jobs in a SkyPilot pool, whose workers take a workdir and no file mounts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from cloud import namespaces_work
from sky_world import World

from slurmsky.site import SiteError, load

needs_nodes = pytest.mark.skipif(not namespaces_work(), reason="needs mount namespaces")
PARTITION = '[[partition]]\nname="debug"\ndefault=true\n'


@pytest.mark.slow
@needs_nodes
def test_a_job_in_a_pool(world: World) -> None:
    """The job is found on its worker, and its restart count is set after a recovery."""
    (world.project / "data.txt").write_text("hi\n")

    async def what(world: World) -> None:
        world.engine.site = load(PARTITION + 'pool="gpus"', "site.toml")
        script = "#!/bin/bash\ncat data.txt; echo ${SLURM_RESTART_COUNT-0} > made\n"
        script += "[ ${SLURM_RESTART_COUNT-0} = 1 ] || sleep 300\n"
        await world.engine.start(world.launch(script))
        await world.until(lambda: (world.project / "slurm-7.out").exists() and b"hi" in world.out)
        await world.preempt()
        await world.until(world.ended)

    world.play(what)
    job = world.server.jobs[0]
    assert job.pool == "gpus" and "file_mounts" not in job.task
    assert world.ended()["state"] == "COMPLETED" and world.out == b"hi\n"
    assert (world.project / "made").read_text() == "1\n"


@pytest.mark.parametrize("text", [PARTITION + 'arrays="pool"', '[sky]\narrays="pool"\n' + PARTITION])
def test_arrays_in_a_pool_need_its_name(text: str) -> None:
    with pytest.raises(SiteError, match="needs the name of a pool"):
        load(text, "site.toml")
