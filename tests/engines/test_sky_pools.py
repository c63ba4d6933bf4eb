"""Jobs in a SkyPilot pool, whose workers take a workdir and no file mounts; arrays of a managed job each."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from cloud import namespaces_work
from sky_world import World

from slurmsky.model.spec import JobSpec
from slurmsky.site import SiteError, load

needs_nodes = pytest.mark.skipif(not namespaces_work(), reason="needs mount namespaces")
PARTITION = '[[partition]]\nname="debug"\ndefault=true\n'


@pytest.mark.slow
@needs_nodes
def test_a_job_in_a_pool(world: World) -> None:
    """It is found on its worker, and knows after a recovery that it was restarted."""
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


@pytest.mark.slow
@needs_nodes
@pytest.mark.parametrize("how", ["jobs", "pool"])
def test_each_element_a_managed_job(world: World, how: str) -> None:
    async def what(world: World) -> None:
        pool = 'pool="gpus"' if how == "pool" else ""
        world.engine.site = load(PARTITION + f'arrays="{how}"\n{pool}', "site.toml")
        for index in (3, 5):
            spec = JobSpec(job_name="job", array="3,5")
            more = {"array_job_id": 103, "array_task_id": index, "array_count": 2, "spec": spec}
            out = f"{world.project}/{index}.out"
            await world.engine.start(
                world.launch("#!/bin/sh\necho $SLURM_ARRAY_TASK_ID\n", job_id=100 + index, stdout=out, **more)
            )
        await world.until(lambda: sum(event["ev"] == "ended" for event in world.told) == 2)
        assert not world.engine.packs(spec, "debug")

    world.play(what)
    assert [job.pool for job in world.server.jobs] == ["gpus" if how == "pool" else ""] * 2
    assert [(world.project / f"{index}.out").read_text() for index in (3, 5)] == ["3\n", "5\n"]


@pytest.mark.parametrize("text", [PARTITION + 'arrays="pool"', '[sky]\narrays="pool"\n' + PARTITION])
def test_arrays_in_a_pool_need_its_name(text: str) -> None:
    with pytest.raises(SiteError, match="needs the name of a pool"):
        load(text, "site.toml")
