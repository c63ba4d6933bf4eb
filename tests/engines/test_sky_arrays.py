"""Job arrays on the SkyPilot engine: elements share the nodes of a managed job."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from cloud import namespaces_work

from slurmsky.model.spec import JobSpec
from slurmsky.site import load

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not namespaces_work(), reason="needs mount namespaces")]


ELEMENT = """#!/bin/bash
echo $SLURM_ARRAY_JOB_ID $SLURM_ARRAY_TASK_ID $SLURM_ARRAY_TASK_COUNT
echo $SLURM_ARRAY_TASK_ID > made.$SLURM_ARRAY_TASK_ID
sleep ${NAP-0.2}
exit $((SLURM_ARRAY_TASK_ID % 3))
"""


def together(peak):
    """Scripts that wait for a number of started elements.

    All elements thus run at the same time.
    """
    return ELEMENT.replace("sleep ${NAP-0.2}", f"until [ $(ls made.* | wc -l) -ge {peak} ]; do sleep 0.05; done")


def elements(world, count, script=ELEMENT, throttle=""):
    for index in range(count):
        yield world.launch(
            script,
            job_id=100 + index,
            array_job_id=100,
            array_task_id=index,
            array_count=count,
            array_max=count - 1,
            stdout=f"{world.project}/slurm-100_{index}.out",
            spec=JobSpec(job_name="job", array=f"0-{count - 1}{throttle}"),
        )


async def start_all(world, launches):
    await asyncio.gather(*(world.engine.start(launch) for launch in launches))


def ends(world):
    return {event["job_id"]: event for event in world.reported if event["ev"] == "ended"}


def most_at_once(world):
    """The number of elements that ran at the same time, by their own clocks."""
    moments = [(event["time"], 1) for event in world.reported if event["ev"] == "started"]
    moments += [(event["time"], -1) for event in world.reported if event["ev"] == "ended"]
    running = peak = 0
    for _, change in sorted(moments):
        running += change
        peak = max(peak, running)
    return peak


@pytest.mark.parametrize("throttle, peak", [("", 8), ("%3", 3)])
def test_an_array_is_one_managed_job(world, throttle, peak):
    async def what(world):
        world.engine.site = load('[[partition]]\nname="debug"\ndefault=true\narray_nodes=1', "site.toml")
        await start_all(world, elements(world, 20, together(peak), throttle=throttle))
        await world.until(lambda: len(ends(world)) == 20)

    world.play(what)
    assert len(world.server.jobs) == 1
    assert world.server.jobs[0].task["resources"]["cpus"] == f"{peak}+"
    assert most_at_once(world) == peak
    for index in range(20):
        assert (world.project / f"slurm-100_{index}.out").read_text() == f"100 {index} 20\n"
        assert (world.project / f"made.{index}").read_text() == f"{index}\n"
        assert ends(world)[100 + index]["exit_code"] == index % 3


def test_a_large_array_shares_several_nodes(world):
    async def what(world):
        await start_all(world, elements(world, 40))
        await world.until(lambda: len(ends(world)) == 40)

    world.play(what)
    assert len(world.server.jobs) == 4
    assert {event["exit_code"] for event in ends(world).values()} == {0, 1, 2}


def test_elements_are_cancelled_one_by_one(world):
    async def what(world):
        await start_all(world, elements(world, 3, "#!/bin/bash\nexec sleep 300\n", "%2"))
        await world.until(lambda: sum(event["ev"] == "started" for event in world.reported) == 2)
        await asyncio.sleep(0.3)
        await world.engine.terminate(102, "CANCELLED", 15, 5)  # waits for a slot
        await world.until(lambda: 102 in ends(world))
        await world.engine.terminate(100, "CANCELLED", 15, 5)  # runs
        await world.until(lambda: 100 in ends(world))
        assert 101 not in ends(world)
        await world.engine.terminate(101, "CANCELLED", 15, 5)
        await world.until(lambda: 101 in ends(world))

    world.play(what)
    assert {event["state"] for event in ends(world).values()} == {"CANCELLED"}
    assert not any(event["job_id"] == 102 for event in world.reported if event["ev"] == "started")


def test_only_unfinished_elements_run_again(world):
    script = """#!/bin/bash
echo run ${SLURM_RESTART_COUNT-0}
[ $SLURM_ARRAY_TASK_ID = 1 ] && [ ${SLURM_RESTART_COUNT-0} = 0 ] && sleep 300
exit 0
"""

    async def what(world):
        await start_all(world, elements(world, 3, script))
        await world.until(lambda: len(ends(world)) == 2)
        await world.preempt()
        await world.until(lambda: len(ends(world)) == 3)

    world.play(what)
    runs = [(world.project / f"slurm-100_{index}.out").read_text() for index in range(3)]
    assert runs == ["run 0\n", "run 1\n", "run 0\n"]
    assert {event["state"] for event in ends(world).values()} == {"COMPLETED"}
