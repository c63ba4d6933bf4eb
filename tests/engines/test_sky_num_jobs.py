"""Arrays of a managed job for each element: one request launches them; afterwards each is independent."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from cloud import namespaces_work
from sky_world import World

from slurmsky.engines.sky.api.api_access import Access
from slurmsky.engines.sky.launch import array_packs
from slurmsky.model.allocation import Launch
from slurmsky.model.job import Job
from slurmsky.model.spec import JobSpec
from slurmsky.site import load

needs_nodes = pytest.mark.skipif(not namespaces_work(), reason="needs mount namespaces")
pytestmark = pytest.mark.slow
PARTITION = '[[partition]]\nname="debug"\ndefault=true\n'
NUM_JOBS = PARTITION + 'arrays="num_jobs"'

ELEMENT = """#!/bin/bash
echo $SLURM_ARRAY_JOB_ID $SLURM_ARRAY_TASK_ID $SLURM_ARRAY_TASK_COUNT $SKYPILOT_JOB_RANK/$SKYPILOT_NUM_JOBS
echo $SLURM_ARRAY_TASK_ID > made.$SLURM_ARRAY_TASK_ID
exit $SLURM_ARRAY_TASK_ID
"""
INDICES = (3, 5, 8)


def elements(world: World, script: str = ELEMENT, nodes: int = 1, **more: object) -> Iterator[Launch]:
    for index in INDICES:
        yield world.launch(
            script,
            nodes=nodes,
            job_id=100 + index,
            array_job_id=108,  # the last one has the base id, as in Slurm
            array_task_id=index,
            array_count=len(INDICES),
            stdout=f"{world.project}/{index}.out",
            spec=JobSpec(job_name="job", array="3,5,8", nodes_min=nodes),
            **more,
        )


async def begin(world: World, site: str = NUM_JOBS, **more: object) -> None:
    world.engine.site = load(site, "site.toml")
    await asyncio.gather(*(world.engine.start(launch) for launch in elements(world, **more)))


def ends(world: World) -> dict[int, dict]:
    return {event["job_id"] - 100: event for event in world.reported if event["ev"] == "ended"}


def out(world: World, index: int) -> str:
    path = world.project / f"{index}.out"
    return path.read_text() if path.exists() else ""


def all_print(world: World, word: str) -> bool:
    return all(word in out(world, index) for index in INDICES)


def the_job(index: int) -> Job:
    return Job(
        job_id=100 + index, spec=JobSpec(), name="job", user="me", uid=0, gid=0, group="me", account="",
        partition="debug",
    )  # fmt: skip


@needs_nodes
@pytest.mark.parametrize("how", ["num_jobs", "pool", "nodes"])
def test_one_request_launches_all(world: World, how: str) -> None:
    """Arrays of jobs with several nodes, too, which cannot be packed with any site file."""
    nodes = 2 if how == "nodes" else 1
    arrays = {"num_jobs": NUM_JOBS, "pool": PARTITION + 'arrays="pool"\npool="gpus"', "nodes": PARTITION}[how]

    async def what(world: World) -> None:
        await begin(world, arrays, nodes=nodes)
        await world.until(lambda: len(ends(world)) == 3)
        assert not world.engine.packs(JobSpec(array="3,5,8%2", nodes_min=nodes), "debug")  # %N is the controller's

    world.play(what)
    server = world.server
    assert server.requests.count("/jobs/launch") == 1
    assert len(server.jobs) == 3 and len({job.name for job in server.jobs}) == 1
    assert {job.pool for job in server.jobs} == {"gpus" if how == "pool" else ""}
    assert [out(world, index) for index in INDICES] == ["108 3 3 0/3\n", "108 5 3 1/3\n", "108 8 3 2/3\n"]
    assert [(world.project / f"made.{index}").read_text() for index in INDICES] == ["3\n", "5\n", "8\n"]
    assert {index: (end["state"], end["exit_code"]) for index, end in ends(world).items()} == {
        index: ("FAILED", index) for index in INDICES
    }
    managed = {event["job_id"] - 100: event["managed_job_id"] for event in world.reported if event["ev"] == "managed"}
    assert managed == {3: 1, 5: 2, 8: 3}


SLEEP = "#!/bin/bash\necho run ${SLURM_RESTART_COUNT-0}\n[ ${SLURM_RESTART_COUNT-0} = 0 ] && exec sleep 300\nexit 0\n"


@needs_nodes
@pytest.mark.parametrize("reachable", [True, False])
def test_elements_are_cancelled_one_by_one(world: World, reachable: bool) -> None:
    async def what(world: World) -> None:
        await begin(world, script=SLEEP)
        await world.until(lambda: all_print(world, "run"))
        if not reachable:
            world.engine._watches[105].record.control = "127.0.0.1:1"
        await world.engine.terminate(105, "CANCELLED", 15, 5)
        if not reachable:
            await world.until(lambda: world.server.jobs[1].cancelled)
            world.cloud.stop(2, signal.SIGTERM)
        await world.until(lambda: 5 in ends(world))
        assert set(ends(world)) == {5} and ends(world)[5]["state"] == "CANCELLED"
        for index in (3, 8):
            await world.engine.terminate(100 + index, "CANCELLED", 15, 5)
        await world.until(lambda: len(ends(world)) == 3)

    world.play(what)
    assert {end["state"] for end in ends(world).values()} == {"CANCELLED"}


def test_an_array_without_nodes_is_cancelled_by_one_request(world: World) -> None:
    async def what(world: World) -> None:
        world.run_jobs = lambda: None  # type: ignore[method-assign]
        await begin(world)
        await world.until(lambda: sum(event["ev"] == "managed" for event in world.reported) == 3)
        await asyncio.gather(*(world.engine.terminate(100 + index, "CANCELLED", 15, 5) for index in INDICES))

    world.play(what)
    assert {end["state"] for end in ends(world).values()} == {"CANCELLED"} and len(ends(world)) == 3
    assert all(job.cancelled for job in world.server.jobs) and world.server.requests.count("/jobs/cancel") == 1


@needs_nodes
def test_an_element_cancelled_while_the_request_waits_does_not_run(world: World) -> None:
    """The other elements are launched, and so is its job."""
    busy = [True]
    world.server.fault = lambda path: (503, "text/plain", b"busy") if busy[0] and path == "/jobs/launch" else None

    async def what(world: World) -> None:
        await begin(world)
        await world.until(lambda: "/jobs/launch" in world.server.requests)
        await world.engine.terminate(105, "CANCELLED", 15, 5)
        busy[0] = False
        await world.until(lambda: len(world.server.jobs) == 3 and world.server.jobs[1].cancelled)
        await world.until(lambda: len(ends(world)) == 3)

    world.play(what)
    assert [ends(world)[index]["state"] for index in INDICES] == ["FAILED", "CANCELLED", "FAILED"]
    assert [job.cancelled for job in world.server.jobs] == [False, True, False]


@needs_nodes
@pytest.mark.parametrize("remote", [False, True])
def test_only_the_element_whose_nodes_are_lost_runs_again(
    world: World, remote: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shipment on a remote server cannot change: the element is launched alone."""
    if remote:
        monkeypatch.setattr(Access, "local", False)

    async def what(world: World) -> None:
        await begin(world, script=SLEEP)
        await world.until(lambda: all_print(world, "run 0"))
        if remote:
            world.server.jobs[0].become("RECOVERING", "preempted")
            world.server.jobs[1].become("RECOVERING", "preempted")
            world.cloud.stop(1, signal.SIGKILL)
            world.cloud.stop(2, signal.SIGKILL)
        else:
            await world.preempt(1)
            world.server.jobs[1].become("RECOVERING", "preempted")
            world.cloud.stop(2, signal.SIGKILL)
            await world.until(lambda: [e.get("state") for e in world.reported].count("REQUEUED") == 2)
            world.server.jobs[1].log = b""
            world.tasks_of_jobs.append(asyncio.ensure_future(world.cloud.run(world.server.jobs[1], run=1)))
        await world.until(lambda: {3, 5} <= set(ends(world)))
        assert 8 not in ends(world) and out(world, 8) == "run 0\n"
        await world.engine.terminate(108, "CANCELLED", 15, 5)
        await world.until(lambda: 8 in ends(world))

    world.play(what)
    assert [out(world, index).splitlines()[0] for index in INDICES] == ["run 1", "run 1", "run 0"]
    assert {ends(world)[index]["state"] for index in (3, 5)} == {"COMPLETED"}
    if remote:
        name = world.server.jobs[0].name
        assert sorted(job.name for job in world.server.jobs[3:]) == [f"{name}_1_0", f"{name}_1_1"]


@needs_nodes
@pytest.mark.parametrize("how", ["lost", "slow", "partial", "busy"])
def test_no_job_is_launched_twice(world: World, how: str) -> None:
    """The answer is lost, the server still works on the request, it stopped half way, or it is busy."""
    trouble = ["/jobs/launch"]

    def once(path: str) -> tuple[int, str, bytes] | None:
        if path not in trouble:
            return None
        trouble.remove(path)
        world.server.takes_in = 1 << 30
        return (503, "text/plain", b"busy") if how == "busy" else (0, "", b"")

    if how == "busy":
        world.server.fault = once
    else:
        world.server.after = once
    world.server.launch_s = 1.0 if how == "slow" else 0.0
    world.server.takes_in = 2 if how == "partial" else 1 << 30

    async def what(world: World) -> None:
        await begin(world)
        await world.until(lambda: len(ends(world)) == 3)

    world.play(what)
    wanted = [job for job in world.server.jobs if not job.cancelled]
    assert len(wanted) == 3 and [job.rank for job in wanted] == [0, 1, 2]
    assert len(world.server.jobs) == (5 if how == "partial" else 3)
    assert [end["exit_code"] for _, end in sorted(ends(world).items())] == [3, 5, 8]


@needs_nodes
@pytest.mark.parametrize("when", ["new", "launching", "launched"])
def test_the_next_controller_continues_a_common_request(world: World, when: str) -> None:
    if when == "new":
        world.server.fault = lambda path: (503, "text/plain", b"busy") if path == "/jobs/launch" else None
    if when == "launching":
        world.server.after = lambda path: (0, "", b"") if path == "/jobs/launch" else None

    async def what(world: World) -> None:
        await begin(world)
        if when == "new":
            await world.until(lambda: "/jobs/launch" in world.server.requests)
        elif when == "launching":
            await world.until(lambda: world.server.jobs)
        else:
            await world.until(lambda: any(event["ev"] == "started" for event in world.reported))
        await world.engine.close()
        world.server.fault = world.server.after = lambda path: None
        world.start_engine()
        await world.engine.recover([the_job(index) for index in INDICES])
        await world.until(lambda: len(ends(world)) == 3)

    world.play(what)
    assert len(world.server.jobs) == 3
    assert [end["exit_code"] for _, end in sorted(ends(world).items())] == [3, 5, 8]
    assert [out(world, index).split()[1] for index in INDICES] == ["3", "5", "8"]


def test_a_refusal_applies_to_all_elements_and_is_requested_once(world: World) -> None:
    body = b'{"detail": {"error": "{\\"type\\": \\"NoCloudAccessError\\", \\"message\\": \\"no infra\\"}"}}'

    def fault(path: str) -> tuple[int, str, bytes] | None:
        return (500, "application/json", body) if path == "/jobs/launch" else None

    world.server.fault = fault

    async def what(world: World) -> None:
        await begin(world)
        await world.until(lambda: len(ends(world)) == 3)

    world.play(what)
    assert {end["reason"] for end in ends(world).values()} == {"BadConstraints"}
    assert world.server.requests.count("/jobs/launch") == 1


def test_a_server_without_num_jobs_gets_a_request_for_each_element(world: World) -> None:
    """An older server launches one job without an error: that job is cancelled."""
    world.server.takes_in = 1

    async def what(world: World) -> None:
        world.run_jobs = lambda: None  # type: ignore[method-assign]
        await begin(world)
        await world.until(lambda: len(ends(world)) == 3)

    world.play(what)
    assert [job.cancelled for job in world.server.jobs] == [True]
    assert all("1 of 3 requested jobs" in end["comment"] for end in ends(world).values())


@needs_nodes
def test_an_element_that_was_changed_has_a_task_of_its_own(world: World) -> None:
    async def what(world: World) -> None:
        world.engine.site = load(NUM_JOBS, "site.toml")
        launches = list(elements(world))
        launches[1].spec = JobSpec(job_name="job", array="3,5,8", cpus_per_task=4)
        await asyncio.gather(*(world.engine.start(launch) for launch in launches))
        await world.until(lambda: len(ends(world)) == 3)

    world.play(what)
    assert sorted((job.num_jobs, job.task["resources"]["cpus"]) for job in world.server.jobs) == [
        (1, "4+"), (2, "1+"), (2, "1+"),
    ]  # fmt: skip


def test_the_number_of_elements_in_one_request(tmp_path: Path) -> None:
    world = World(tmp_path)
    one = next(elements(world))
    groups = list(array_packs.group_equal([one] * (array_packs.MAX_JOBS + 1)))
    assert [len(group) for group in groups] == [array_packs.MAX_JOBS, 1]
