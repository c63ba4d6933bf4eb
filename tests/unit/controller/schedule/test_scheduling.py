"""Decisions of the scheduler: four nodes, a stopped clock, no process."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from scheduled_world import NOT_AVAILABLE, SITE, World

from slurmsky.controller.jobs.launch_builder import LaunchBuilder
from slurmsky.controller.jobs.lifecycle import LifeCycle
from slurmsky.controller.rules.demand import Demand
from slurmsky.controller.schedule.scheduler import Scheduler
from slurmsky.controller.services.budget_policy import BudgetPolicy
from slurmsky.controller.services.mailer import Mailer
from slurmsky.controller.slurm_errors import SlurmError
from slurmsky.engines.router import Router
from slurmsky.model.spec import JobSpec
from slurmsky.model.states import JobState, NodeFlag
from slurmsky.site import load


@pytest.mark.parametrize(
    ("fields", "shares"),
    [
        ({}, [("n1", 1, 1)]),
        ({"nodes_min": 2, "nodes_max": 2, "ntasks": 4}, [("n1", 3, 3), ("n2", 1, 1)]),
        ({"ntasks": 12}, [("n1", 8, 8), ("n2", 4, 4)]),
        ({"nodes_min": 2, "nodes_max": 2, "ntasks_per_node": 2, "cpus_per_task": 2}, [("n1", 2, 4), ("n2", 2, 4)]),
        ({"nodelist": "n3"}, [("n3", 1, 1)]),
        ({"exclude": "n1", "ntasks": 2}, [("n2", 2, 2)]),
        ({"exclusive": ""}, [("n1", 1, 8)]),
        ({"gres": "gpu:h100:4", "nodes_min": 2, "nodes_max": 2}, [("n1", 1, 1), ("n2", 1, 1)]),
        ({"partition": "short"}, [("n3", 1, 1)]),
        ({"partition": "part", "ntasks": 6}, [("n3", 4, 4), ("n4", 2, 2)]),
        # A range of nodes, all idle: as many as there are tasks for, but where devices were requested.
        ({"nodes_min": 1, "nodes_max": 2}, [("n1", 1, 1), ("n2", 1, 1)]),
        ({"nodes_min": 1, "nodes_max": 2, "exclusive": ""}, [("n1", 1, 8), ("n2", 1, 8)]),
        ({"nodes_min": 1, "nodes_max": 2, "exclusive": "", "ntasks": 1}, [("n1", 1, 8)]),
        # With --ntasks-per-node each node has the CPUs of that many tasks.
        (
            {"nodes_min": 2, "nodes_max": 2, "ntasks": 4, "ntasks_per_node": 4},
            [("n1", 3, 4), ("n2", 1, 4)],
        ),
        # Further nodes are those after the named one, then those before it.
        ({"nodelist": "n2", "nodes_min": 2, "nodes_max": 2}, [("n2", 1, 1), ("n3", 1, 1)]),
        ({"nodelist": "n4", "nodes_min": 2, "nodes_max": 2}, [("n3", 1, 1), ("n4", 1, 1)]),
        ({"nodelist": "n2,n4", "nodes_min": 3, "nodes_max": 3}, [("n2", 1, 1), ("n3", 1, 1), ("n4", 1, 1)]),
        ({"nodes_min": 1, "nodes_max": 2, "gpus": "4"}, [("n1", 1, 1)]),
        ({"nodes_min": 1, "nodes_max": 3, "ntasks_per_node": 2}, [("n1", 2, 2), ("n2", 2, 2), ("n3", 2, 2)]),
        ({"gpus": "8", "gpus_per_node": "4"}, [("n1", 1, 1), ("n2", 1, 1)]),
        ({"ntasks": 4, "ntasks_per_gpu": 2}, [("n1", 4, 4)]),
        # Overcommitted tasks share the CPUs of one.
        ({"overcommit": True, "ntasks": 5, "cpus_per_task": 3, "nodes_min": 1, "nodes_max": 1}, [("n1", 5, 3)]),
        (
            {"overcommit": True, "ntasks": 5, "cpus_per_task": 3, "nodes_min": 2, "nodes_max": 2},
            [("n1", 3, 3), ("n2", 2, 3)],
        ),
        (
            {"overcommit": True, "ntasks": 20, "nodes_min": 3, "nodes_max": 3},
            [("n1", 7, 1), ("n2", 7, 1), ("n3", 6, 1)],
        ),
    ],
)
def test_nodes_and_cpus(world: World, fields: dict[str, Any], shares: list[tuple[str, int, int]]) -> None:
    job = world.submit(**fields)
    world.pass_()
    assert [(share.name, share.tasks, share.cpus) for share in job.shares] == shares


@pytest.mark.parametrize(
    ("fields", "nodes"),
    [
        ({"ntasks": 2}, "n2"),
        ({"ntasks": 5}, "n3"),
        ({"ntasks": 6}, "n1"),
        ({"nodes_min": 2, "nodes_max": 2}, "n1 n2"),
        ({"nodes_min": 2, "nodes_max": 2, "ntasks": 16}, "n1 n4"),
        ({"nodes_min": 2, "nodes_max": 2, "ntasks": 16, "contiguous": True}, ""),
        ({"exclusive": "exclusive"}, "n1"),
    ],
)
def test_a_job_takes_the_partly_used_nodes_with_the_tightest_fit(
    world: World, fields: dict[str, Any], nodes: str
) -> None:
    """n2 has two free CPUs and n3 has five, of eight each. Answers of a real Slurm."""
    world.submit(ntasks=6, nodelist="n2")
    world.submit(ntasks=3, nodelist="n3")
    world.pass_()
    job = world.submit(**fields)
    world.pass_()
    assert " ".join(share.name for share in job.shares) == nodes


def test_devices_are_allocated_once(world: World) -> None:
    first, second, third = (world.submit(gres="gpu:2", nodelist="n1") for _ in range(3))
    world.pass_()
    assert [job.shares[0].gres for job in (first, second)] == [{"gpu:h100": (0, 1)}, {"gpu:h100": (2, 3)}]
    assert (third.state, third.reason) == (JobState.PENDING, "Resources")


def test_max_cpus_per_node_limits_a_partition(world: World) -> None:
    """MaxCPUsPerNode limits all jobs of the partition; jobs of other partitions get the other CPUs."""
    one = {"nodelist": "n3", "nodes_min": 1, "nodes_max": 1}
    first, second, third = (world.submit(partition="part", ntasks=3, **one) for _ in range(3))
    world.pass_()
    assert [job.state for job in (first, second, third)] == [JobState.RUNNING, JobState.PENDING, JobState.PENDING]
    assert second.reason == "Resources"
    other = world.submit(ntasks=5, **one)
    world.end(first)
    world.pass_()
    assert (second.state, other.state) == (JobState.RUNNING, JobState.RUNNING)
    with pytest.raises(SlurmError) as caught:
        world.submit(partition="part", cpus_per_task=5)
    assert caught.value.text == NOT_AVAILABLE
    assert world.submit(partition="part", ntasks=9).state is JobState.PENDING


def test_tasks_on_gpus_have_these(world: World) -> None:
    job = world.submit(ntasks=4, ntasks_per_gpu=2)
    world.pass_()
    assert job.shares[0].gres == {"gpu:h100": (0, 1)}


def test_memory_is_consumed(world: World) -> None:
    world.submit(mem_mib=3000, nodelist="n1")
    waits = world.submit(mem_mib=2000, nodelist="n1")
    world.pass_()
    assert waits.reason == "Resources"


def test_backfill_starts_jobs_that_delay_no_other(world: World) -> None:
    long = world.submit(nodes_min=3, nodes_max=3, exclusive="", time_limit_min=60)
    world.pass_()
    first = world.submit(nodes_min=4, nodes_max=4, exclusive="", time_limit_min=10)
    harmless = world.submit(time_limit_min=60)
    harmful = world.submit(time_limit_min=61)
    world.pass_()
    assert long.state is JobState.RUNNING and harmless.state is JobState.RUNNING
    assert (first.reason, harmful.reason) == ("Resources", "Priority")
    assert first.start_time == world.now + 3600


def test_time_min_lets_a_job_be_backfilled(world: World) -> None:
    world.submit(nodes_min=3, nodes_max=3, exclusive="", time_limit_min=60)
    world.pass_()
    world.submit(nodes_min=4, nodes_max=4, exclusive="", time_limit_min=10)
    job = world.submit(time_limit_min=600, time_min_min=30)
    world.pass_()
    assert (job.state, job.time_limit_min) == (JobState.RUNNING, 60)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"hold": True}, "JobHeldUser"),
        ({"begin": 1_000_060}, "BeginTime"),
        ({"partition": "short", "time_limit_min": 61}, "PartitionTimeLimit"),
        ({"partition": "short", "nodes_min": 3, "nodes_max": 3}, "PartitionNodeLimit"),
        ({"ntasks": 33}, "PartitionConfig"),
        ({"dependency": "afterok:{first}"}, "Dependency"),
        ({"nodelist": "n4"}, "ReqNodeNotAvail"),
        ({"licenses": "matlab:2"}, "Licenses"),
    ],
)
def test_why_a_job_waits(world: World, fields: dict[str, Any], reason: str) -> None:
    first = world.submit(licenses="matlab:1")
    world.job_table.nodes["n4"].flags |= NodeFlag.DRAIN
    world.job_table.refresh_node(world.job_table.nodes["n4"])
    world.pass_()
    text = {
        name: value.format(first=first.job_id) if isinstance(value, str) else value for name, value in fields.items()
    }
    job = world.submit(**text)
    world.pass_()
    assert (job.state, job.reason) == (JobState.PENDING, reason)


def test_array_limit_and_ids(world: World) -> None:
    base = world.submit(array="1-4%2")
    world.pass_()
    members = list(world.job_table.array(base.job_id))
    assert [(job.job_id - base.job_id, job.array_task_id) for job in members] == [(0, None), (1, 1), (2, 2)]
    assert (base.reason, base.pending_count) == ("JobArrayTaskLimit", 2)
    for job in members[1:]:
        world.end(job)
    world.pass_()
    # The last element takes the base record.
    assert (base.array_task_id, base.state, base.pending_count) == (4, JobState.RUNNING, 0)


def test_a_large_array_is_one_row(world: World) -> None:
    world.submit(array="0-99999", hold=True)
    world.job_table.flush()
    assert world.job_table.store.count() == 1


def test_het_components_start_together_or_not(world: World) -> None:
    world.submit(nodes_min=3, nodes_max=3, exclusive="")
    world.pass_()
    leader = world.submit(JobSpec(exclusive=""), JobSpec(exclusive=""))
    world.pass_()
    parts = world.job_table.components(leader)
    assert [part.state for part in parts] == [JobState.PENDING, JobState.PENDING]
    assert world.job_table.uses["n4"].jobs == set()


def test_components_on_warm_nodes_start_within_the_budget_together_or_not(world: World) -> None:
    site = load(SITE + "[[budget]]\nhourly = 13\n", "site.toml")
    policy = BudgetPolicy(world.job_table, site, lambda: None, lambda *_: None, lambda shares: 6.0 * len(shares))
    world.scheduler = Scheduler(world.job_table, budget=policy.trial)
    dear = world.submit(JobSpec(), JobSpec(nodes_min=2))
    within = world.submit(JobSpec(), JobSpec())
    world.pass_()
    parts = [(part.state, part.reason) for part in world.job_table.components(dear)]
    assert parts == [(JobState.PENDING, "AssocGrpBilling")] * 2
    assert [part.state for part in world.job_table.components(within)] == [JobState.RUNNING] * 2


def test_priority_and_nice(world: World) -> None:
    world.submit(nodes_min=4, nodes_max=4, exclusive="")
    world.pass_()
    nicer = world.submit(exclusive="", nodelist="n1", nice=10)
    later = world.submit(exclusive="", nodelist="n1")
    assert later.priority > nicer.priority
    for job in list(world.job_table.jobs.values()):
        if job.state is JobState.RUNNING:
            world.end(job)
    world.pass_()
    assert (later.state, nicer.state) == (JobState.RUNNING, JobState.PENDING)


def test_one_of_two_licences_suffices(world: World) -> None:
    world.job_table.cluster = replace(world.job_table.cluster, licenses=(("matlab", 1), ("octave", 1)))
    jobs = [world.submit(licenses="matlab|octave") for _ in range(3)]
    world.pass_()
    assert [job.licenses_alloc for job in jobs] == ["matlab:1", "octave:1", ""]
    assert [job.state for job in jobs] == [JobState.RUNNING, JobState.RUNNING, JobState.PENDING]
    assert jobs[2].reason == "Licenses"
    with pytest.raises(SlurmError):
        world.submit(licenses="matlab|nosuch")


def test_partitions_made_later_are_scheduled_like_the_others(world: World) -> None:
    cluster = world.job_table.cluster
    world.job_table.store_partition(replace(cluster.partitions[0], name="late", default=False, nodes=("n2",)))
    late, usual = world.submit(partition="late"), world.submit()
    assert world.pass_().started == [late, usual]
    assert late.nodes == ("n2",)


def test_a_partition_that_moves_starts_jobs_on_its_new_nodes(world: World) -> None:
    world.job_table.store_partition(replace(world.job_table.cluster.partitions[1], nodes=("n1",)))
    moved, too_large = world.submit(partition="short"), world.submit(partition="short", nodes_min=2)
    world.pass_()
    assert moved.nodes == ("n1",)
    assert too_large.reason == "PartitionNodeLimit"


def test_a_tier_given_later_counts(world: World) -> None:
    first = world.submit(nodes_min=4, exclusive="exclusive")
    second = world.submit(nodes_min=2, exclusive="exclusive", partition="short")
    world.job_table.store_partition(replace(world.job_table.cluster.partitions[1], priority_tier=9))
    world.pass_()
    assert second.state is JobState.RUNNING and first.state is JobState.PENDING


def test_a_job_that_raises_in_the_scheduler_affects_no_other_job(world: World) -> None:
    broken, healthy = world.submit(), world.submit()
    broken.dependency = "afterok:("  # as a damaged record may say
    done = world.pass_()
    assert done.started == [healthy]
    assert [job for job, _ in done.broken] == [broken]


def test_a_job_that_an_internal_error_holds_starts_after_its_release(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, other = world.submit(comment="bad"), world.submit()
    demand = world.scheduler.demand

    def fails(spec: JobSpec) -> Demand:
        if spec.comment == "bad":
            raise KeyError("node")
        return demand(spec)

    router = Router({}, str)
    builder = LaunchBuilder(world.job_table, router.of_job, world.folder, "host")
    mailer = Mailer(world.job_table, "", {})
    life = LifeCycle(world.job_table, router, builder, lambda: None, mailer)
    with monkeypatch.context() as patch:
        patch.setattr(world.scheduler, "demand", fails)
        patch.setattr(world.scheduler, "fit", lambda spec: fails(spec) and Scheduler.fit(world.scheduler, spec))
        ((broken, problem),) = world.pass_().broken
        assert broken is job and other.state is JobState.RUNNING, "the pass continues with the others"
        life.hold_after_error(job, problem)
        assert not world.pass_().broken, "a held job is not tried again"
    world.restart()
    job = world.job_table.jobs[job.job_id]
    assert world.pass_().started == [] and job.reason == "SystemFailure"
    life.job_table = world.job_table
    life.release(job)
    assert world.pass_().started == [job] and job.state is JobState.RUNNING
