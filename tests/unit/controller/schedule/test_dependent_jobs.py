"""Dependencies of jobs, and how long ended jobs are kept for them."""

from __future__ import annotations

import pytest
from scheduled_world import World

from slurmsky.controller.slurm_errors import SlurmError
from slurmsky.model.spec import JobSpec
from slurmsky.model.states import JobState


@pytest.mark.parametrize(
    ("kind", "ended", "outcome"),
    [
        ("afterok", JobState.COMPLETED, "RUNNING"),
        ("afterok", JobState.FAILED, "DependencyNeverSatisfied"),
        ("afternotok", JobState.FAILED, "RUNNING"),
        ("afternotok", JobState.COMPLETED, "DependencyNeverSatisfied"),
        ("afterany", JobState.CANCELLED, "RUNNING"),
        ("after", None, "RUNNING"),
        ("afterany", None, "Dependency"),
    ],
)
def test_dependencies(world: World, kind: str, ended: JobState | None, outcome: str) -> None:
    first = world.submit()
    world.pass_()
    job = world.submit(dependency=f"{kind}:{first.job_id}")
    if ended is not None:
        world.end(first, ended)
    world.pass_()
    assert (job.reason if job.state is JobState.PENDING else job.state.name) == outcome


def test_any_of_several_dependencies(world: World) -> None:
    first, second = world.submit(), world.submit()
    world.pass_()
    job = world.submit(dependency=f"afterok:{first.job_id}?afterok:{second.job_id}")
    world.end(first, JobState.FAILED)
    world.end(second)
    world.pass_()
    assert job.state is JobState.RUNNING


@pytest.mark.parametrize("evaluated", [True, False], ids=["evaluated", "not evaluated"])
@pytest.mark.parametrize("restarted", [False, True], ids=["", "restarted"])
def test_a_failed_dependency_outlives_min_job_age(world: World, evaluated: bool, restarted: bool) -> None:
    first = world.submit()
    world.pass_()
    job = world.submit(dependency=f"afterok:{first.job_id}")
    world.end(first, JobState.FAILED)
    if evaluated:
        world.pass_()
    if restarted:
        world.restart_later(360)
    world.later(360)
    job = world.job_table.jobs[job.job_id]
    world.pass_()
    assert (job.reason, job.dependency_shown) == ("DependencyNeverSatisfied", f"afterok:{first.job_id}(failed)")
    world.later(360)
    world.pass_()
    assert first.job_id not in world.job_table.jobs  # its end is recorded with the job that depends on it
    assert job.reason == "DependencyNeverSatisfied"


@pytest.mark.parametrize("restarted", [False, True], ids=["", "restarted"])
def test_a_het_job_is_dropped_as_a_whole(world: World, restarted: bool) -> None:
    """Source: job_mgr.c _purge_complete_het_job."""
    leader = world.submit(JobSpec(), JobSpec())
    world.pass_()
    component = world.job_table.jobs[leader.het_ids[1]]
    world.end(component, JobState.CANCELLED)
    if restarted:
        world.restart_later(360)
    world.later(360)
    leader = world.job_table.jobs[leader.job_id]
    assert [part.het_offset for part in world.job_table.components(leader)] == [0, 1]
    world.end(leader)
    world.later(360)
    world.later(360)
    assert not world.job_table.jobs.keys() & set(leader.het_ids)


def test_an_array_is_kept_whole_while_a_job_depends_on_it(world: World) -> None:
    """The first element fails and ends long before the last one."""
    base = world.submit(array="1-2")
    world.pass_()
    failed, last = sorted(world.job_table.array(base.job_id), key=lambda job: job.array_task_id or 0)
    job = world.submit(dependency=f"afterok:{base.job_id}")
    any_end = world.submit(dependency=f"afterany:{base.job_id}")
    world.end(failed, JobState.FAILED)
    world.pass_()
    world.later(3600)
    world.end(last)
    world.pass_()
    assert (job.reason, any_end.state) == ("DependencyNeverSatisfied", JobState.RUNNING)
    world.later(3600)
    assert set(world.job_table.jobs) == {job.job_id, any_end.job_id}


def test_a_corresponding_element_is_kept(world: World) -> None:
    base = world.submit(array="1-2")
    world.pass_()
    elements = {job.array_task_id: job for job in world.job_table.array(base.job_id)}
    job = world.submit(array="1-2", dependency=f"aftercorr:{base.job_id}")
    world.end(elements[1], JobState.FAILED)
    world.end(elements[2])
    world.later(3600)
    world.pass_()
    states = {one.array_task_id: one.state for one in world.job_table.array(job.job_id)}
    assert states == {1: JobState.PENDING, 2: JobState.RUNNING}
    world.later(3600)
    world.pass_()
    kept = world.job_table.element(job.array_job_id, 1)
    assert kept is not None and (kept.state, kept.reason) == (JobState.PENDING, "DependencyNeverSatisfied")


def test_the_end_of_a_job_that_was_forgotten_before_the_submit_is_met_and_its_result_is_refused(world: World) -> None:
    first = world.submit()
    world.pass_()
    world.end(first, JobState.FAILED)
    world.later(3600)
    for kind in ("afterok", "afternotok"):
        with pytest.raises(SlurmError, match="Job dependency problem"):
            world.submit(dependency=f"{kind}:{first.job_id}")
    job = world.submit(dependency=f"afterany:{first.job_id}")
    world.pass_()
    assert job.state is JobState.RUNNING


def test_a_failed_dependency_stays_failed_if_its_job_runs_again(world: World) -> None:
    first = world.submit()
    world.pass_()
    job = world.submit(dependency=f"afterok:{first.job_id}")
    world.end(first, JobState.FAILED)
    world.pass_()
    world.end(first, JobState.COMPLETED)
    world.pass_()
    assert (job.reason, job.dependency) == ("DependencyNeverSatisfied", f"afterok:{first.job_id}(failed)")
