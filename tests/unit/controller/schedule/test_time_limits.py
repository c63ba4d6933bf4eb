"""Deadlines and time limits of jobs; requests that are refused at submit or wait."""

from __future__ import annotations

from typing import Any

import pytest
from scheduled_world import NOT_AVAILABLE, World

from slurmsky.controller.slurm_errors import SlurmError
from slurmsky.model.spec import INFINITE
from slurmsky.model.states import JobState

TIME_MIN = "Invalid time-min specification (exceeds job's time or other limits)"


TIME_LIMIT = "Requested time limit is invalid (missing or exceeds some limit)"


def test_deadline_expires(world: World) -> None:
    job = world.submit(deadline=int(world.now) + 600, begin=int(world.now) + 300)
    assert world.scheduler.plan().wake == world.now + 300
    world.now += 541  # a job without a limit needs a minute at least
    assert world.scheduler.plan().expired == [job]


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({"time_limit_min": 120, "time_min_min": 20}, 60),
        ({"time_limit_min": 30}, 30),
        ({}, 60),
    ],
)
def test_a_start_cuts_the_limit_to_the_deadline(world: World, fields: dict[str, int], limit: int) -> None:
    job = world.submit(deadline=int(world.now) + 3600, **fields)
    assert world.pass_().started == [job]
    assert job.time_limit_min == limit


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"time_min_min": 120, "after": 3600}, TIME_MIN),
        ({"time_min_min": 5, "time_limit_min": 3}, TIME_MIN),
        ({"time_limit_min": 120, "after": 3600}, TIME_LIMIT),
        ({"time_limit_min": INFINITE, "after": 3600}, TIME_LIMIT),
        ({"after": -1}, TIME_LIMIT),
    ],
)
def test_limits_that_cannot_hold_together_are_refused(world: World, fields: dict[str, int], text: str) -> None:
    after = fields.pop("after", None)
    if after is not None:
        fields["deadline"] = int(world.now) + after
    with pytest.raises(SlurmError) as refused:
        world.submit(**fields)
    assert refused.value.text == text


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"partition": "nosuch"}, "Invalid partition name specified"),
        ({"nodelist": "n9"}, "Invalid node name specified"),
        ({"constraint": "slow"}, "Invalid feature specification"),
        ({"licenses": "matlab:3"}, "Invalid license specification"),
        ({"cpus_per_task": 9}, NOT_AVAILABLE),
        ({"cpus_per_task": 5, "ntasks_per_core": 2}, NOT_AVAILABLE),  # a node must hold this many tasks
        ({"mem_mib": 5000}, NOT_AVAILABLE),
        ({"gres": "gpu:a100:1"}, NOT_AVAILABLE),
        (
            {"gres": "shard:1,gpu:1"},
            "Invalid generic resource (gres) specification",
        ),  # a part of a GPU, and a whole one
        ({"gres": "shard:1", "gpu_freq": "high"}, "Invalid generic resource (gres) specification"),
        ({"ntasks": 4, "ntasks_per_socket": 1, "nodes_min": 1, "nodes_max": 1}, NOT_AVAILABLE),
        ({"ntasks": 8, "ntasks_per_socket": 1}, NOT_AVAILABLE),
        ({"ntasks": 8, "gpus_per_task": "1", "nodes_min": 1, "nodes_max": 1}, NOT_AVAILABLE),
        ({"ntasks": 8, "gpus_per_task": "1", "nodes_min": 1, "nodes_max": 1, "overcommit": True}, NOT_AVAILABLE),
        ({"ntasks": 30, "exclude": "n1"}, NOT_AVAILABLE),
        ({"dependency": "expand:1"}, "Requested operation not supported on this system"),
    ],
)
def test_refused_at_submit(world: World, fields: dict[str, Any], text: str) -> None:
    with pytest.raises(SlurmError) as caught:
        world.submit(**fields)
    assert caught.value.text == text
    assert world.job_table.jobs == {}


@pytest.mark.parametrize(
    "fields",
    [
        {"ntasks": 40, "ntasks_per_socket": 1},
        {"ntasks": 40, "gpus_per_task": "1", "nodes_min": 4, "nodes_max": 4},
        {"ntasks": 5, "nodes_min": 5, "ntasks_per_socket": 1},
        {"ntasks": 6, "nodes_min": 1, "nodes_max": 1, "ntasks_per_socket": 1, "overcommit": True},
    ],
)
def test_a_job_beyond_the_partition_limit_waits(world: World, fields: dict[str, Any]) -> None:
    """The expected answers were recorded from the real Slurm on equal nodes."""
    assert world.submit(**fields).state == JobState.PENDING
