"""Array elements that agents start ahead: users see the same as without them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from memory_engine import Work
from memory_world import Play, World

from slurmsky.controller import app
from slurmsky.controller.jobs.followers import FOLLOWERS
from slurmsky.model.job import Job
from slurmsky.model.states import JobState


@pytest.fixture(autouse=True)
def passes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause after a long pass depends on real time, not on virtual time."""
    monkeypatch.setattr(app, "_PASS_PAUSE", 0)


def followers(world: World, base: int) -> tuple[tuple[int, int, int], ...]:
    return world.job(base).followers


def elements(world: World, base: int) -> list[Job]:
    """The elements that have begun, by index."""
    found = [job for job in world.queue.job_table.array(base) if job.array_task_id is not None and job.start_time]
    return sorted(found, key=lambda job: job.array_task_id or 0)


def overlap(jobs: list[Job]) -> bool:
    """Whether two jobs had the same CPU at a time."""
    spans: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for job in jobs:
        for share in job.shares:
            for cpu in share.cpu_ids:
                spans.setdefault((share.name, cpu), []).append((job.start_time, job.end_time))
    pairs = (pair for times in spans.values() for pair in pairwise(sorted(times)))
    return any(later[0] < earlier[1] - 1e-6 for earlier, later in pairs)


def test_each_element_runs_once_and_cpus_are_never_shared(play: Play) -> None:
    async def story(world: World) -> None:
        base = await world.sbatch("0.1", "--array=1-100")
        await world.until(0.55)
        ahead = followers(world, base)
        assert len(ahead) == len({task for task, _, _ in ahead}) == 8 * FOLLOWERS
        rows = await world.out("squeue", "-h", "-r", "-j", str(base), "-o", "%i %T")
        assert len(rows.splitlines()) == len({row.split()[0] for row in rows.splitlines()}) == 60
        assert rows.count("RUNNING") == 8
        rows = await world.out("squeue", "-h", "-t", "PD", "-j", str(base), "-o", "%i %r")
        assert rows == f"{base}_[49-100] Resources\n"
        await world.until(5)
        ran = elements(world, base)
        assert [job.array_task_id for job in ran] == list(range(1, 101))
        assert {job.state for job in ran} == {JobState.COMPLETED}
        assert len({job.job_id for job in ran}) == 100 and world.job(base).array_task_id == 100
        assert not overlap(ran)
        assert {round(job.end_time - job.start_time, 6) for job in ran} == {0.1}
        assert max(job.end_time for job in ran) == pytest.approx(world.now() - 5 + 1.3, abs=0.05)

    play(story)


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (["scontrol", "hold", "{base}"], "PENDING JobHeldAdmin"),
        (["scontrol", "update", "JobId={base}", "ArrayTaskThrottle=1"], "PENDING JobArrayTaskLimit"),
        (["scontrol", "update", "NodeName=n[1-2]", "State=DRAIN", "Reason=x"], "PENDING Resources"),
        (["scontrol", "update", "PartitionName=debug", "State=DOWN"], "PENDING PartitionDown"),
        (["scontrol", "update", "JobId={base}", "StartTime=now+1hour"], "PENDING BeginTime"),
    ],
)
def test_a_change_applies_to_elements_that_have_not_started(play: Play, command: list[str], shown: str) -> None:
    async def story(world: World) -> None:
        base = await world.sbatch("0.1", "--array=1-100")
        await world.until(0.55)
        assert followers(world, base)
        before = len(elements(world, base))
        await world.run(*[word.format(base=base) for word in command])
        assert not followers(world, base)
        await world.until(0.68)
        assert len(elements(world, base)) == before + (shown == "PENDING JobArrayTaskLimit")
        await world.until(0.75)
        assert (await world.out("squeue", "-h", "-t", "PD", "-o", "%T %r")).startswith(shown)

    play(story)


def test_cancelled_elements_never_start(play: Play) -> None:
    async def story(world: World) -> None:
        base = await world.sbatch("0.1", "--array=1-100")
        await world.until(0.55)
        first, second = (task for task, _, _ in followers(world, base)[:2])
        await world.out("scancel", f"{base}_{first}")
        await world.until(0.75)
        assert second in [job.array_task_id for job in elements(world, base)]
        await world.out("scancel", str(base))
        assert not followers(world, base)
        count = len(elements(world, base))
        await world.until(5)
        ran = elements(world, base)
        assert len(ran) == count and first not in [job.array_task_id for job in ran]
        assert await world.out("squeue", "-h") == ""

    play(story)


def test_a_job_of_higher_priority_starts_first(play: Play) -> None:
    async def story(world: World) -> None:
        base = await world.sbatch("0.1", "--array=1-1000")
        await world.until(0.55)
        assert followers(world, base)
        urgent = await world.sbatch("1")
        await world.out("scontrol", "update", f"JobId={urgent}", "Priority=4294967000")
        assert not followers(world, base)
        await world.until(0.62)
        assert world.job(urgent).state is JobState.RUNNING

    play(story)


def test_followers_of_long_elements_are_dropped(play: Play) -> None:
    async def story(world: World) -> None:
        def seconds(task: int | None) -> float:
            return 60.0 if task == 20 else 0.1

        world.engine._work = lambda launch: Work(seconds(launch.array_task_id))
        base = await world.sbatch("0.1", "--array=1-60")
        await world.until(3)
        ran = elements(world, base)
        assert [job.array_task_id for job in ran if job.state is JobState.RUNNING] == [20]
        assert len(ran) == 60 and not overlap([job for job in ran if job.array_task_id != 20])

    play(story)


def test_an_array_with_a_limit_or_a_dependency_waits_for_the_controller(play: Play) -> None:
    async def story(world: World) -> None:
        first = await world.sbatch("0.1", "--array=1-100%8")
        licensed = await world.sbatch("0.1", "--array=1-100", "-L", "ansys:1")
        for moment in range(1, 40):
            await world.until(moment * 0.1 + 0.05)
            assert not followers(world, first) and not followers(world, licensed)
        await world.until(20)

    play(story)


def test_a_requeued_element_runs_again_after_what_runs(play: Play) -> None:
    async def story(world: World) -> None:
        base = await world.sbatch("0.1", "--array=1-100")
        await world.until(0.55)
        running = next(job for job in elements(world, base) if job.state is JobState.RUNNING)
        await world.out("scontrol", "requeue", str(running.job_id))
        await world.until(6)
        assert running.restarts == 1
        ran = elements(world, base)
        assert len(ran) == 100 and {job.state for job in ran} == {JobState.COMPLETED}

    play(story)


def test_the_time_limit_counts_from_the_true_start(play: Play) -> None:
    async def story(world: World) -> None:
        world.engine._work = lambda launch: Work(0.1 if (launch.array_task_id or 0) < 40 else 300)
        base = await world.sbatch("0.1", "--array=1-60", "-t", "1")
        await world.until(250)
        late = [job for job in elements(world, base) if (job.array_task_id or 0) >= 40]
        assert {(job.state, round(job.end_time - job.start_time)) for job in late} == {(JobState.TIMEOUT, 60)}

    play(story)


def test_a_new_controller_starts_what_no_agent_started(play: Play) -> None:
    async def story(world: World) -> None:
        base = await world.sbatch("0.1", "--array=1-100")
        await world.until(0.55)
        assert followers(world, base)
        world.engine.serve(lambda event: None)  # the controller is killed here: later events are lost to it
        old = world.queue
        world.queue = world.controller(lambda on_event: (world.engine.serve(on_event), world.engine)[1])
        assert followers(world, base)
        await world.queue.recover()
        world.engine.drop_followers("n1")
        world.engine.drop_followers("n2")
        await world.until(6)
        ran = elements(world, base)
        assert [job.array_task_id for job in ran] == list(range(1, 101))
        assert {job.state for job in ran} == {JobState.COMPLETED} and not overlap(ran)
        old._kicked = True

    play(story)
