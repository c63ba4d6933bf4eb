"""Expected starts of waiting jobs, if running jobs use their time limits."""

from __future__ import annotations

import re
from datetime import datetime

from memory_world import BEGIN, Play, World

from slurmsky.controller.schedule.forecast import MAX_JOBS


async def expected(world: World) -> dict[int, str]:
    """Job id -> START_TIME and SCHEDNODES."""
    rows = (await world.out("squeue", "--start", "-h", "-o", "%A %S %Y")).splitlines()
    return {int(job): rest for job, _, rest in (row.partition(" ") for row in rows)}


def at(world: World, text: str) -> float:
    """Seconds after the start of a world's clock."""
    return datetime.fromisoformat(text).timestamp() - BEGIN


def test_each_waiting_job_has_a_start_and_keeps_it(play: Play) -> None:
    async def story(world: World) -> None:
        await world.sbatch("600", "-N2", "-t10", "--exclusive")
        queue = [
            await world.sbatch("300", "-N2", "-t5", "--exclusive"),
            await world.sbatch("300", "-N2", "-t5", "--exclusive"),
            await world.sbatch("120", "-n4", "-t2"),
            await world.sbatch("120", "-n4", "-t2"),
            await world.sbatch("60", "-n8", "-t1"),
        ]
        await world.until(10)
        starts = {job: row.split() for job, row in (await expected(world)).items()}
        shown = [round(at(world, starts[job][0])) for job in queue]
        assert shown == [600, 900, 1200, 1200, 1320]
        assert starts[queue[1]][1] == "n[1-2]" and {starts[job][1] for job in queue[2:4]} == {"n1", "n2"}
        for job in queue:
            record = await world.out("scontrol", "show", "job", str(job))
            assert f"   StartTime={starts[job][0]} " in record and f"SchedNodeList={starts[job][1]}\n" in record
            listed = await world.out("squeue", "-h", "-j", str(job), "-O", "StartTime:.20,SchedNodes:.20")
            assert listed.split() == starts[job]
        ordered = (await world.out("squeue", "-h", "-S", "S", "-t", "PD", "-o", "%A")).split()
        assert ordered[:2] == [str(job) for job in queue[:2]] and ordered[-1] == str(queue[-1])
        await world.until(1500)
        began = [await world.past(job, "start") for job in queue]
        assert [abs(at(world, *times) - when) < 2 for times, when in zip(began, shown, strict=True)] == [True] * 5

    play(story)


def test_an_array_takes_time_for_each_element(play: Play) -> None:
    async def story(world: World) -> None:
        await world.sbatch("60", "-N2", "-t1", "--exclusive")
        array = await world.sbatch("60", "-n8", "-t1", "--array=1-3")
        behind = await world.sbatch("60", "-n8", "-t1")
        await world.until(5)
        found = await expected(world)
        assert [round(at(world, found[job].split()[0])) for job in (array, behind)] == [60, 240]

    play(story)


def test_no_start_is_known_behind_a_job_without_a_limit(play: Play) -> None:
    async def story(world: World) -> None:
        await world.sbatch("600", "-N2", "-t10", "--exclusive")
        endless = await world.sbatch("9", "-N2", "-t", "UNLIMITED", "--exclusive")
        behind = await world.sbatch("9", "-N2", "--exclusive")
        held = await world.sbatch("9", "-H")
        await world.until(5)
        found = await expected(world)
        assert re.match(r"\d", found[endless]) and found[behind].startswith("N/A") and found[held].startswith("N/A")

    play(story)


def test_the_number_of_planned_jobs_is_limited(play: Play) -> None:
    async def story(world: World) -> None:
        await world.sbatch("60", "-N2", "-t1", "--exclusive")
        await world.sbatch("60", "-n8", "-t1", f"--array=1-{MAX_JOBS}")
        behind = await world.sbatch("60", "-n8", "-t1")
        await world.until(5)
        assert (await expected(world))[behind].startswith("N/A")

    play(story)
