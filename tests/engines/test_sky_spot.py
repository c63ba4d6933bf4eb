"""A spot notice ends a managed job in time.

SkyPilot restarts the job on other nodes.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from cloud import namespaces_work
from metadata_service import MetadataService
from sky_server import FINAL
from sky_world import World

from slurmsky.model.spec import JobSpec
from slurmsky.protocol.messages import RECOVER
from slurmsky.site import load

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not namespaces_work(), reason="needs mount namespaces")]

SPOT = load('[[partition]]\nname="debug"\ndefault=true\ninfra="kubernetes/x"\nspot=true\narray_nodes=1', "site.toml")
#: its first run waits for a signal and names it
WAITS = """#!/bin/bash
echo run ${SLURM_RESTART_COUNT-0}
[ ${SLURM_RESTART_COUNT-0} = 0 ] || exit 0
trap 'echo TERM; exit 0' TERM
trap 'echo USR1; exit 3' USR1
exec 3<> <(:) # a child process would add bash's report of its end
echo begun; while :; do read -t 0.05 -u 3 _; done
"""


def states(world: World) -> list[str]:
    return [event["state"] for event in world.reported if event["ev"] in ("state", "ended")]


def take_back(world: World, *launches: object, rank: int = 0, script: str = WAITS, **more: object) -> None:
    """Run a job and send the notice to one of its nodes.

    The notice is sent once the folder has a file ``begun``.
    """

    async def what(world: World) -> None:
        world.engine.site = SPOT
        await asyncio.gather(*map(world.engine.start, launches or [world.launch(script, **more)]))
        await world.until(lambda: sum(event["ev"] == "started" for event in world.reported) >= 1)
        await world.until(lambda: any("begun" in path.read_text() for path in world.project.glob("*.out")))
        world.cloud.metadata = {}
        service.take_back()
        ended = len(launches) or 1
        await world.until(lambda: len({e["job_id"] for e in world.reported if e["ev"] == "ended"}) == ended)
        await world.until(lambda: world.server.jobs[0].status in FINAL)

    with MetadataService() as service:
        world.cloud.metadata = {rank: service.address}
        world.play(what)


@pytest.mark.parametrize("signal, name", [(None, "TERM"), ("B:USR1@60", "USR1")])
def test_the_script_gets_its_signal_and_runs_again_on_other_nodes(world: World, signal: str, name: str) -> None:
    take_back(world, spec=JobSpec(signal=signal, open_mode="append"))
    (job,) = world.server.jobs
    assert job.task["resources"]["job_recovery"] == {"recover_on_exit_codes": [RECOVER]}
    assert [event["new_status"] for event in job.events].count("RECOVERING") == 1 and job.status == "SUCCEEDED"
    lines = world.out.decode().splitlines()
    assert [line for line in lines if not line.startswith("slurmstepd")] == ["run 0", "begun", name, "run 1"]
    assert (states(world).count("REQUEUED"), states(world)[-1], world.ended()["run"]) == (1, "COMPLETED", 1)


def test_the_notice_to_another_node_reaches_the_first(world: World) -> None:
    take_back(world, rank=1, nodes=2, spec=JobSpec(nodes_min=2, open_mode="append"))
    assert b"TERM\nrun 1\n" in world.out and states(world)[-1] == "COMPLETED"


def test_a_job_that_must_not_be_requeued_ends(world: World) -> None:
    take_back(world, spec=JobSpec(requeue=False))
    (job,) = world.server.jobs
    assert "job_recovery" not in job.task["resources"] and job.status == "FAILED"
    assert world.out.startswith(b"run 0\nbegun\n") and world.out.endswith(b"TERM\n")
    assert states(world)[-1] == "NODE_FAIL" and "REQUEUED" not in states(world)


def test_only_elements_that_had_not_ended_run_again(world: World) -> None:
    script = (
        "#!/bin/bash\necho run ${SLURM_RESTART_COUNT-0}\n[ $SLURM_ARRAY_TASK_ID$SLURM_RESTART_COUNT = 1 ] || exit 0\n"
    )
    launches = [
        world.launch(
            script + "echo begun; sleep 300\n", job_id=100 + index, array_job_id=100, array_task_id=index,
            array_count=3, array_max=2, stdout=f"{world.project}/slurm-100_{index}.out",
            spec=JobSpec(job_name="job", array="0-2%1", open_mode="append"),
        )
        for index in range(3)
    ]  # fmt: skip
    take_back(world, *launches)
    outs = [(world.project / f"slurm-100_{index}.out").read_text() for index in range(3)]
    assert (outs[0], outs[2]) == ("run 0\n", "run 1\n")
    assert outs[1].startswith("run 0\nbegun\n") and outs[1].endswith("run 1\n")
    assert {event["state"] for event in world.reported if event["ev"] == "ended"} == {"COMPLETED"}


def test_a_script_may_exit_with_the_code_that_starts_a_task_again(world: World) -> None:
    async def what(world: World) -> None:
        world.engine.site = SPOT
        await world.engine.start(world.launch(f"#!/bin/sh\nexit {RECOVER}\n"))
        await world.until(lambda: world.ended() and world.server.jobs[0].status == "FAILED")

    world.play(what)
    assert (world.ended()["state"], world.ended()["exit_code"]) == ("FAILED", RECOVER)
