"""The controller on the in-memory engine and store, in virtual time."""

from __future__ import annotations

from collections import Counter

import pytest
from memory_engine import MemoryEngine
from memory_world import SITE, Play, World

from slurmsky.controller.app import Controller
from slurmsky.engines.base import OnEvent
from slurmsky.language._grammar import Grammar
from slurmsky.model.states import JobState, NodeState


def test_a_job_runs_and_is_recorded(play: Play) -> None:
    async def story(world: World) -> None:
        good, bad = await world.sbatch("90"), await world.sbatch("30x3")
        await world.until(10)
        rows = await world.out("squeue", "-h", "-o", "%i %T %M %N")
        assert sorted(rows.splitlines()) == [f"{good} RUNNING 0:10 n1", f"{bad} RUNNING 0:10 n1"]
        await world.until(100)
        assert await world.past(good) == ["COMPLETED|0:0|90"]
        assert await world.past(bad) == ["FAILED|3:0|30"]
        assert not any(use.jobs for use in world.queue.job_table.uses.values())

    play(story)


def test_an_array_holds_its_limit_and_ends_after_all_elements(play: Play) -> None:
    async def story(world: World) -> None:
        base = await world.sbatch("60", "--array=1-10%4")
        for minute in range(3):
            await world.until(minute * 60 + 30)
            assert world.queue.job_table.running_elements(base) == (4 if minute < 2 else 2)
        await world.until(200)
        assert await world.past(base, "state") == ["COMPLETED"] * 10

    play(story)


@pytest.mark.parametrize("state", ["DRAIN", "INACTIVE"])
def test_a_closed_partition_refuses_jobs(play: Play, state: str) -> None:
    """Source: the oracle; of several partitions the open ones are left."""
    other = '[[partition]]\nname = "gpu"\nnodes = "n2"\n'

    async def story(world: World) -> None:
        waiting = await world.sbatch("30", "-H", "-p", "debug")
        await world.out("scontrol", "update", "partitionname=debug", f"state={state}")
        error = "sbatch: error: Batch job submission failed: Required partition not available (inactive or drain)\n"
        assert await world.run("sbatch", "--wrap=true") == (1, "", error)
        assert (await world.run("sbatch", "-p", "debug", "--array=1-2", "--wrap=true"))[2] == error
        either = await world.sbatch("30", "-p", "debug,gpu")
        assert world.job(either).partition == "gpu"
        held = await world.sbatch("30", "-H", "-p", "gpu")
        error = f"Required partition not available (inactive or drain) for job {held}\n"
        assert await world.run("scontrol", "update", f"jobid={held}", "partition=debug") == (1, "", error)
        released, _, _ = await world.run("scontrol", "release", str(waiting))
        await world.until(20)
        drains = state == "DRAIN"  # starts the jobs that it has
        expected = (0, JobState.RUNNING) if drains else (1, JobState.PENDING)
        assert (released, world.job(waiting).state) == expected
        await world.out("scancel", str(waiting), str(held))

    play(story, SITE + other)


def test_elements_split_off_their_array_count_for_its_limit(play: Play) -> None:
    """As with the real command: ``hold`` and ``release`` split an element, and the other becomes the last one."""

    async def story(world: World) -> None:
        base = await world.sbatch("60", "--array=0-5%4")
        await world.until(1)
        await world.out("scontrol", "update", f"JobId={base}", "ArrayTaskThrottle=1")
        await world.out("scontrol", "hold", f"{base}_5")
        await world.until(5)
        rows = await world.out("squeue", "-h", "-r", "-t", "PD", "-j", str(base), "-o", "%K %r")
        assert "4 JobArrayTaskLimit" in rows.splitlines()
        await world.out("scontrol", "release", f"{base}_5")
        await world.until(59)
        assert len((await world.out("squeue", "-h", "-r", "-t", "R", "-j", str(base))).splitlines()) == 4
        await world.until(70)
        assert len((await world.out("squeue", "-h", "-r", "-t", "R", "-j", str(base))).splitlines()) == 1

    play(story)


def test_the_last_pending_element_is_listed_as_slurm_lists_it(play: Play) -> None:
    async def story(world: World) -> None:
        async def pending(base: int) -> list[str]:
            rows = await world.out("squeue", "-h", "-t", "PD", "-j", str(base), "-o", "%i %K")
            return rows.replace(str(base), "J").splitlines()

        base = await world.sbatch("60", "--array=0-5:2%2")
        await world.until(1)
        assert await pending(base) == ["J_4 4"]
        cancelled = await world.sbatch("60", "-H", "--array=1-3%2")
        await world.out("scancel", f"{cancelled}_1", f"{cancelled}_3")
        assert await pending(cancelled) == ["J_[2%2] 2%2"]
        released = await world.sbatch("60", "-H", "--array=1-2")
        assert await pending(released) == ["J_[1-2] 1-2"]
        await world.out("scontrol", "release", f"{released}_1")
        assert "J_2 2" in await pending(released)

    play(story)


def test_dependencies_start_cancel_and_wait(play: Play) -> None:
    async def story(world: World) -> None:
        good, bad = await world.sbatch("60"), await world.sbatch("60x1")
        after_good = await world.sbatch("10", f"-dafterok:{good}")
        after_bad = await world.sbatch("10", f"-dafternotok:{bad}")
        never = await world.sbatch("10", f"-dafterok:{bad}")
        cancelled = await world.sbatch("10", f"-dafterok:{bad}", "--kill-on-invalid-dep=yes")
        begun = await world.sbatch("10", f"-dafter:{good}")
        await world.until(1)
        assert world.job(begun).state is JobState.RUNNING
        assert world.job(after_good).reason == "Dependency"
        await world.until(65)
        assert world.job(after_good).state is world.job(after_bad).state is JobState.RUNNING
        assert world.job(never).reason == "DependencyNeverSatisfied"
        assert world.job(cancelled).state is JobState.CANCELLED
        assert (await world.run("scancel", str(never)))[0] == 0

    play(story)


def test_each_element_waits_for_the_corresponding_element_alone(play: Play) -> None:
    async def story(world: World) -> None:
        base = await world.sbatch("60", "--array=1-14", "-H")
        waits = await world.sbatch("10", "--array=1-14", f"-daftercorr:{base}")
        kills = await world.sbatch("10", "--array=1-14", f"-daftercorr:{base}", "--kill-on-invalid-dep=yes")
        await world.out("scancel", f"{base}_2")
        await world.out("scontrol", "release", str(base))
        await world.until(5)
        rows = await world.out("squeue", "-hr", "-j", str(waits), "-S", "i", "-o", "%K %r %E")
        assert rows.splitlines() == [f"{task} Dependency aftercorr:{base}_*(unfulfilled)" for task in range(1, 15)]
        records = list(world.queue.job_table.array(waits))
        assert len(records) == 11 and sum(job.pending_count for job in records) == 4
        await world.until(300)
        assert Counter(await world.past(kills, "state")) == {"COMPLETED": 13, "CANCELLED": 1}
        assert Counter(await world.past(waits, "state")) == {"COMPLETED": 13, "PENDING": 1}
        failed = world.queue.job_table.element(waits, 2)
        assert failed is not None and failed.reason == "DependencyNeverSatisfied"

    play(story)


def test_a_time_limit_ends_a_job_to_the_second(play: Play) -> None:
    async def story(world: World) -> None:
        job_id = await world.sbatch("600", "-t2")
        await world.until(30)
        await world.out("scontrol", "update", f"job={job_id}", "timelimit=3")
        await world.until(400)
        assert await world.past(job_id) == ["TIMEOUT|0:0|180"]

    play(story)


def test_a_suspended_job_ends_later_by_as_much(play: Play) -> None:
    async def story(world: World) -> None:
        job_id = await world.sbatch("100")
        await world.until(20)
        await world.out("scontrol", "suspend", str(job_id))
        await world.until(70)
        assert world.job(job_id).state is JobState.SUSPENDED
        assert await world.out("scontrol", "suspend", str(job_id)) == ""  # no error, no effect. Source: the oracle
        await world.out("scontrol", "resume", str(job_id))
        await world.until(149)
        assert world.job(job_id).state is JobState.RUNNING
        await world.until(152)
        assert world.job(job_id).state is JobState.COMPLETED

    play(story)


def test_the_cpus_of_a_suspended_job_run_the_next_one(play: Play) -> None:
    """A suspended job keeps memory and devices, and shares its CPUs once resumed. Source: the oracle."""

    async def story(world: World) -> None:
        table = world.queue.job_table
        use, node = table.uses["n1"], table.nodes["n1"]
        cpus = str(node.config.cpus)
        first = await world.sbatch("100", "-w", "n1", "-c", cpus, "--mem=100")
        second = await world.sbatch("100", "-w", "n1", "--exclusive", "--mem=100")
        await world.until(20)
        await world.out("scontrol", "suspend", str(first))
        assert (use.memory_mib, node.alloc_cpus, node.state) == (100, 0, NodeState.IDLE)
        await world.until(30)
        assert [world.job(job).state.name for job in (first, second)] == ["SUSPENDED", "RUNNING"]
        assert (use.memory_mib, use.jobs) == (200, {first, second})
        third = await world.sbatch("100", "-w", "n1", "--mem=100")
        await world.out("scontrol", "resume", str(first))
        await world.until(40)
        assert [world.job(job).state.name for job in (first, second, third)] == ["RUNNING", "RUNNING", "PENDING"]
        await world.until(150)
        assert [world.job(job).state.name for job in (first, second, third)] == ["COMPLETED", "COMPLETED", "RUNNING"]
        assert (use.memory_mib, use.jobs, use.oversubscribed) == (100, {third}, Counter())

    play(story)


def test_a_suspended_job_that_is_cancelled_frees_only_what_it_holds(play: Play) -> None:
    async def story(world: World) -> None:
        use = world.queue.job_table.uses["n1"]
        first = await world.sbatch("100", "-w", "n1", "-c2", "--mem=100")
        await world.until(10)
        await world.out("scontrol", "suspend", str(first))
        second = await world.sbatch("100", "-w", "n1", "-c2", "--mem=100")
        await world.until(20)
        await world.out("scancel", str(first))
        await world.until(60)
        assert world.job(first).state is JobState.CANCELLED
        assert (use.memory_mib, use.jobs, use.cpu_ids) == (100, {second}, set(world.job(second).shares[0].cpu_ids))

    play(story)


def test_a_requeued_job_runs_again_from_its_beginning(play: Play) -> None:
    async def story(world: World) -> None:
        job_id = await world.sbatch("100")
        await world.until(50)
        await world.out("scontrol", "requeue", str(job_id))
        await world.until(60)
        assert (world.job(job_id).state, world.job(job_id).restarts) == (JobState.RUNNING, 1)
        await world.until(200)
        assert [line.split("|")[0] for line in await world.past(job_id)] == ["REQUEUED", "COMPLETED"]

    play(story)


def test_an_array_whose_elements_were_cancelled_is_still_known(play: Play) -> None:
    async def story(world: World) -> None:
        job_id = await world.sbatch("100", "-H", "--array=1-3")
        await world.out("scancel", f"{job_id}_2")
        await world.out("scancel", f"{job_id}_[1-3]")
        assert await world.out("squeue", "-h", "-j", str(job_id)) == ""
        assert await world.out("squeue", "-h", "-t", "all", "-o", "%i %T") == f"{job_id}_3 CANCELLED\n"

    play(story)


def test_scancel_of_a_missing_step_names_the_job(play: Play) -> None:
    async def story(world: World) -> None:
        job_id = await world.sbatch("100", "-H")
        assert await world.run("scancel", f"{job_id}.0") == (0, "", "")  # steps of a pending job are ignored
        await world.out("scontrol", "release", str(job_id))
        await world.until(50)
        error = "scancel: error: Kill job error on job step id %s: Invalid job id specified\n"
        assert await world.run("scancel", f"{job_id}.7") == (
            225,
            "",
            error % job_id,
        )  # slurmctld's 2017, of which a process returns a byte
        await world.until(152)
        assert await world.run("scancel", f"{job_id}.7") == (1, "", error % f"{job_id}.7")

    play(story)


def test_a_held_or_future_job_can_be_released_and_cancelled(play: Play) -> None:
    async def story(world: World) -> None:
        held, later = await world.sbatch("30", "-H"), await world.sbatch("30", "--begin=now+300")
        running = await world.sbatch("1000")
        await world.until(100)
        assert (world.job(held).reason, world.job(later).reason) == ("JobHeldUser", "BeginTime")
        for waiting in map(world.job, (held, later)):  # Source: the oracle; job_mgr.c _job_create
            assert waiting.last_sched_eval == waiting.submit_time
        await world.out("scontrol", "release", str(held))
        await world.out("scancel", str(running))
        await world.until(102)
        assert world.job(held).state is JobState.RUNNING
        assert (await world.past(running))[0] == "CANCELLED"
        await world.until(299)
        assert world.job(later).state is JobState.PENDING
        await world.until(303)
        assert world.job(later).state is JobState.RUNNING

    play(story)


def test_jobs_of_scrontab_run_each_time_until_they_are_cancelled(play: Play) -> None:
    async def story(world: World) -> None:
        table = "#SCRON -J 30\n* * * * * true\n#SCRON -J 90\n* * * * * true\n0 5 1 1 * true\n"
        (world.work / "table").write_text(table)
        await world.out("scrontab", "table")
        short, long, yearly = sorted(world.queue.job_table.jobs)
        await world.until(290)  # ten seconds after a full minute
        runs = [row.split("|") for row in await world.past(short, "state,start")]
        assert [state for state, _ in runs] == [*["COMPLETED"] * 4, "RUNNING"]
        assert len({start for _, start in runs}) == 5 and all(start.endswith(":00") for _, start in runs)
        # A run that lasts beyond the next time is followed by the time after its end.
        assert await world.past(long, "state") == [*["COMPLETED"] * 2, "RUNNING"]
        assert world.job(yearly).state is JobState.PENDING
        await world.out("scancel", str(short))
        await world.until(500)
        assert short not in world.queue.job_table.jobs or world.job(short).state is JobState.CANCELLED
        assert (await world.out("scrontab", "-l")).splitlines()[:3] == [
            "#DISABLED: #SCRON -J 30", "#DISABLED: * * * * * true", "#SCRON -J 90"
        ]  # fmt: skip
        await world.out("scrontab", "-r")

    play(story)


def test_the_next_controller_takes_the_jobs_over(play: Play) -> None:
    async def story(world: World) -> None:
        running, waiting = await world.sbatch("100", "-n8"), await world.sbatch("50", "-n8")
        await world.until(20)
        world.queue.flush()

        def same(on_event: OnEvent) -> MemoryEngine:
            world.engine.serve(on_event)
            return world.engine

        successor: Controller = world.controller(same)
        await successor.recover()
        world.queue = successor
        await world.until(120)
        assert (world.job(running).state, world.job(waiting).state) == (JobState.COMPLETED, JobState.RUNNING)
        await world.until(200)
        assert await world.past(waiting) == ["COMPLETED|0:0|50"]

    play(story)


def test_ended_jobs_leave_memory_and_stay_in_sacct(play: Play) -> None:
    async def story(world: World) -> None:
        job_id = await world.sbatch("10")
        await world.until(200)
        assert job_id in world.queue.job_table.jobs
        await world.until(500)
        assert job_id not in world.queue.job_table.jobs
        assert await world.past(job_id) == ["COMPLETED|0:0|10"]

    play(story)


def test_a_full_day_of_jobs_leaves_no_booked_resource(play: Play) -> None:
    async def story(world: World) -> None:
        for number in range(60):
            await world.sbatch(f"{30 + number % 7 * 60}x{number % 5 == 4:d}", f"-n{1 + number % 4}")
        await world.until(86400)
        ended = (await world.out("sacct", "-nXP", "-S", "2020-01-01", "-o", "state")).split()
        assert (ended.count("COMPLETED"), ended.count("FAILED")) == (48, 12)
        job_table = world.queue.job_table
        assert not job_table.pending and not job_table.active and not any(use.jobs for use in job_table.uses.values())

    play(story)


def test_each_text_of_a_job_is_parsed_once(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: Counter[tuple[str, str, str]] = Counter()

    def spy(self: Grammar[object], text: str) -> object:
        parsed[self.name, self.start, text] += 1
        return real(self, text)

    real = Grammar._parse
    monkeypatch.setattr(Grammar, "_parse", spy)

    async def story(world: World) -> None:
        await world.sbatch("600", "-N2", "--exclusive")
        first = await world.sbatch("9", "-Lansys:2", "-wn[1-1]", "-xn[2-2]", "-Cfast&fast", "-t1:02:03")
        await world.sbatch("9", f"-dafterok:{first}", "-a1-7%3", "-Lansys:3", "--mem=77M", "-C[fast*1]")
        for minute in range(1, 20):
            await world.sbatch("1")
            await world.until(30 * minute)
        await world.until(3000)

    play(story)
    assert {key: count for key, count in parsed.items() if count > 1} == {}


def test_without_a_site_file_a_request_is_updated_to_any_size_and_name(play: Play) -> None:
    async def story(world: World) -> None:
        job_id = await world.sbatch("10", "-H", "-N2", "-n512")
        for change in ("NumNodes=4", "Features=a100", "ReqNodeList=gpu-[1-4]", "MinMemoryNode=90000000", "Partition=p"):
            await world.out("scontrol", "update", f"jobid={job_id}", change)
        refused = await world.run("scontrol", "update", f"jobid={job_id}", "ExcNodeList=a/b")
        assert refused == (1, "", f"Invalid node name specified for job {job_id}\n")
        await world.out("scontrol", "release", str(job_id))
        await world.until(5)
        assert world.job(job_id).nodes == ("gpu-1", "gpu-2", "gpu-3", "gpu-4")

    play(story, "")
