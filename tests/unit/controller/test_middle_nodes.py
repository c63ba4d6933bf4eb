"""Jobs on failing, lost and shared nodes, in virtual time."""

from __future__ import annotations

import pytest
from memory_world import Play, World

from slurmsky.model.states import JobState


def test_commands_that_connect_to_a_job_without_nodes_print_the_reason(play: Play) -> None:
    async def story(world: World) -> None:
        job_id = await world.sbatch("10", "-H")
        (world.work / "file").touch()
        attach = ("sattach", f"{job_id}.0")
        copy = ("sbcast", f"--jobid={job_id}", "file", "/tmp/file")
        step = ("srun", f"--jobid={job_id}", "true")

        async def errors() -> list[str]:
            return [(await world.run(*words))[2].splitlines()[0] for words in (attach, copy, step)]

        assert await errors() == [
            "sattach: error: Could not get job step info: Job is pending execution",
            f"sbcast: error: Slurm job {job_id} lookup error: Job is pending execution",
            f"srun: error: Unable to confirm allocation for job {job_id}: Job is pending execution",
        ]
        await world.out("scontrol", "release", str(job_id))
        await world.until(50)
        assert await errors() == [
            "sattach: error: Could not get job step info: Job/step already completing or completed",
            f"sbcast: error: Slurm job {job_id} lookup error: Job/step already completing or completed",
            f"srun: error: Slurm job {job_id} has expired",
        ]

    play(story)


def test_a_failing_node_keeps_its_jobs_and_gets_no_further_ones(play: Play) -> None:
    async def story(world: World) -> None:
        async def node(state: str, *more: str) -> str:
            await world.out("scontrol", "update", "NodeName=n1", f"State={state}", *more)
            return await world.out("sinfo", "-h", "-n", "n1", "-o", "%t|%E")

        stays = await world.sbatch("900", "-wn1", "-n1", "--no-requeue")
        await world.until(10)
        assert await node("FAIL", "Reason=bad") == "failg|bad\n"
        waits = await world.sbatch("1", "-wn1", "-n1")
        await world.until(20)
        assert (world.job(stays).state, world.job(waits).state) == (JobState.RUNNING, JobState.PENDING)
        assert await node("DRAIN", "Reason=slow") == "drng|slow\n"
        assert await node("FAIL", "Reason=worse") == "failg|worse\n"
        assert await node("UNDRAIN") == "failg|worse\n"  # concerns a drain only
        assert await node("RESUME") == "mix|none\n"
        await world.until(30)
        assert world.job(waits).state is JobState.COMPLETED
        assert await node("DOWN", "Reason=off") == "down|off\n"
        await world.until(120)  # the job has ended
        assert await node("UNDRAIN") == "down|off\n"
        assert await node("IDLE") == "idle|none\n"

    play(story)


def test_a_partition_raises_the_number_of_nodes_to_its_minimum(play: Play) -> None:
    async def story(world: World) -> None:
        for number, words in enumerate(((), ("-n1",), ("-N1-4",)), 1):
            raised = await world.sbatch("5", *words)
            await world.until(20 * number)
            assert world.job(raised).nodes == ("n1", "n2")
        small = await world.sbatch("5", "-N1")
        await world.until(80)
        assert (world.job(small).state, world.job(small).reason) == (JobState.PENDING, "PartitionNodeLimit")

    site = '[[node]]\nnames = "n[1-2]"\ncpus = 2\n[[partition]]\nname = "debug"\ndefault = true\nmin_nodes = 2\n'
    play(story, site)


def test_a_job_with_no_kill_continues_without_a_node_that_is_set_down(play: Play) -> None:
    async def story(world: World) -> None:
        stays = await world.sbatch("100", "-N2", "--no-kill")
        other = await world.sbatch("100", "-N2")
        await world.until(10)
        await world.out("scontrol", "update", "NodeName=n2", "State=DOWN", "Reason=off")
        await world.until(20)
        job = world.job(stays)
        assert (job.state, job.nodes, job.restarts) == (JobState.RUNNING, ("n1",), 0)
        assert (world.job(other).state, world.job(other).restarts) == (JobState.PENDING, 1)
        await world.out("scontrol", "update", "NodeName=n1", "State=DOWN", "Reason=off")
        await world.until(30)
        assert world.job(stays).state is not JobState.RUNNING

    play(story)


@pytest.mark.parametrize(("state", "shown"), [("DOWN", "down"), ("DRAIN", "drain"), ("FAIL", "fail")])
def test_a_node_begins_in_its_state_of_the_site_file(play: Play, state: str, shown: str) -> None:
    async def story(world: World) -> None:
        assert await world.out("sinfo", "-hN", "-n", "n1,n2", "-o", "%N %t %E") == f"n1 {shown} disk\nn2 idle none\n"
        first, waits = await world.sbatch("10"), await world.sbatch("10", "-w", "n1")
        await world.until(20)
        assert world.job(first).nodes == ("n2",) and world.job(waits).state is JobState.PENDING
        await world.out("scontrol", "update", "NodeName=n1", "State=RESUME")
        await world.until(40)
        assert world.job(waits).state is JobState.COMPLETED
        assert await world.out("sinfo", "-hN", "-n", "n1", "-o", "%t %E") == "idle none\n"

    begun = f'[[node]]\nnames = "n1"\ncpus = 2\nstate = "{state}"\nreason = "disk"\n'
    play(story, begun + '[[node]]\nnames = "n2"\ncpus = 2\n[[partition]]\nname = "debug"\ndefault = true\n')


def test_a_lost_node_requeues_its_jobs_elsewhere(play: Play) -> None:
    async def story(world: World) -> None:
        job_id = await world.sbatch("100", "--exclusive")
        stays = await world.sbatch("100", "--exclusive", "--no-requeue")
        await world.until(50)
        lost = world.job(stays).nodes[0]
        world.engine.fail_node(lost)
        await world.until(55)
        assert world.job(stays).state is JobState.NODE_FAIL and world.job(job_id).state is JobState.RUNNING
        other = world.job(job_id).nodes[0]
        world.engine.fail_node(other)
        world.engine.restore_node(lost)
        await world.until(70)
        assert (world.job(job_id).nodes, world.job(job_id).restarts) == ((lost,), 1)

    play(story)


def test_a_short_job_is_backfilled_and_a_long_one_is_not(play: Play) -> None:
    async def story(world: World) -> None:
        first = await world.sbatch("600", "-t10", "-n6")
        large = await world.sbatch("60", "-t10", "-N2", "--exclusive")
        long, short = await world.sbatch("900", "-t20"), await world.sbatch("60", "-t5")
        await world.until(10)
        states = [world.job(number).state.name for number in (first, large, long, short)]
        assert states == ["RUNNING", "PENDING", "PENDING", "RUNNING"]
        assert (world.job(large).reason, world.job(long).reason) == ("Resources", "Priority")
        await world.until(605)
        assert world.job(large).state is JobState.RUNNING

    play(story)


def test_components_of_a_het_job_start_and_end_together(play: Play) -> None:
    async def story(world: World) -> None:
        holder = await world.sbatch("50", "-N2", "--exclusive")
        job_id = int(await world.out("sbatch", "--parsable", "-J30", "-n2", "--wrap=true", ":", "-n4"))
        await world.until(10)
        assert [world.job(number).state.name for number in (job_id, job_id + 1)] == ["PENDING"] * 2
        await world.until(55)
        assert world.job(holder).state is JobState.COMPLETED
        assert [world.job(number).state.name for number in (job_id, job_id + 1)] == ["RUNNING"] * 2
        await world.until(90)
        assert [world.job(number).state.name for number in (job_id, job_id + 1)] == ["COMPLETED"] * 2

    play(story)


def test_a_running_component_of_a_het_job_is_cancelled_alone(play: Play) -> None:
    """Source: the oracle; a pending one is refused, and the id of the leader means all."""

    async def story(world: World) -> None:
        def states() -> list[str]:
            return [world.job(number).state.name for number in (job_id, job_id + 1, job_id + 2)]

        holder = await world.sbatch("50", "-N2", "--exclusive")
        job_id = int(await world.out("sbatch", "--parsable", "-J60", "--wrap=true", ":", "-n1", ":", "-n1"))
        whole = "Operation not permitted on individual component of heterogeneous job"
        for one in (f"{job_id}+1", str(job_id + 1)):
            refusal = f"scancel: error: Kill job error on job id {one}: {whole}\n"
            assert await world.run("scancel", one) == (60, "", refusal)
        assert (await world.run("scancel", "-Q", f"{job_id}+1"))[::2] == (60, "")
        assert states() == ["PENDING"] * 3
        await world.out("scancel", str(holder))
        await world.until(10)
        for options in (("-s", "USR1"), ("-b", "-s", "USR1"), ("-f", "-s", "USR1"), ("-b",)):
            await world.out("scancel", *options, str(job_id + 1))
        await world.out("scancel", "-s", "USR1", f"{job_id}+1")
        await world.until(11)
        assert world.engine.signals == [(job_id, 10, "steps+1"), (job_id, 10, "steps")]
        await world.out("scancel", "-s", "STOP", str(job_id + 2))
        assert await world.out("squeue", "-h", "-o", "%i %t") == f"{job_id}+0 R\n{job_id}+1 R\n{job_id}+2 ST\n"
        await world.out("scancel", f"{job_id}+1")
        await world.until(12)
        assert states() == ["RUNNING", "CANCELLED", "RUNNING"]
        assert not any(job_id + 1 in use.jobs for use in world.queue.job_table.uses.values())
        await world.out("scontrol", "suspend", str(job_id))
        assert states() == ["SUSPENDED", "CANCELLED", "SUSPENDED"]
        await world.out("scontrol", "resume", str(job_id))
        error = f"Job not heterogeneous job leader for job {job_id + 2}\n"
        assert (await world.run("scontrol", "requeue", str(job_id + 2)))[2] == error
        await world.out("scancel", f"{job_id}+0")
        await world.until(15)
        assert states() == ["CANCELLED"] * 3

    play(story)


GPU_SITE = """
[[node]]
names = "n[1-2]"
cpus = 4
gres = "gpu:4"
[[partition]]
name = "debug"
default = true
nodes = "n[1-2]"
"""


def test_an_update_to_device_counts_that_disagree_is_refused(play: Play) -> None:
    async def story(world: World) -> None:
        job_id = await world.sbatch("10", "-H", "--gpus=4")
        error = f"Invalid generic resource (gres) specification for job {job_id}\n"
        assert await world.run("scontrol", "update", f"jobid={job_id}", "gres=gpu:3") == (1, "", error)
        assert world.job(job_id).spec.gres is None
        await world.out("scontrol", "update", f"jobid={job_id}", "tresperjob=gres/gpu:6")
        assert world.job(job_id).spec.gpus == "6"

    play(story, GPU_SITE)
