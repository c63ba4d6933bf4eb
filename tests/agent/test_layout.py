"""Layout of tasks, compared with rows of the real srun.

The allocations had the CPUs per node that a row names.
"""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmsky.agent.job import task_layout
from slurmsky.agent.steps import step_gpus, step_placement
from slurmsky.agent.steps.step_placement import NodeOffer, PlacementVerdict, StepDemand, pick

# distribution, plane size, tasks, CPUs per node, ranks per node
SEEN = [
    ("block", 0, 4, [3, 1], [[0, 1, 2], [3]]),
    ("cyclic", 0, 4, [3, 1], [[0, 2, 3], [1]]),
    ("plane", 2, 4, [3, 1], [[0, 1, 3], [2]]),
    ("plane", 2, 8, [7, 1], [[0, 1, 3, 4, 5, 6, 7], [2]]),
    ("plane", 3, 8, [7, 1], [[0, 1, 2, 4, 5, 6, 7], [3]]),
    ("plane", 4, 7, [6, 1], [[0, 1, 2, 3, 5, 6], [4]]),
    ("block", 0, 6, [3, 1], [[0, 1, 2, 3], [4, 5]]),
    ("cyclic", 0, 2, [3, 1], [[0], [1]]),
]


@pytest.mark.parametrize(("kind", "size", "tasks", "cpus", "ranks"), SEEN)
def test_layouts_recorded_from_slurm(kind: str, size: int, tasks: int, cpus: list[int], ranks: list[list[int]]) -> None:
    assert task_layout.lay_out(tasks, cpus, 1, kind, plane_size=size) == ranks


@given(
    st.sampled_from(["block", "cyclic", "plane"]),
    st.integers(1, 60),
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.integers(1, 3),
    st.integers(1, 4),
    st.booleans(),
)
def test_every_rank_once_and_in_order(
    kind: str, tasks: int, cpus: list[int], per_task: int, size: int, pack: bool
) -> None:
    ranks = task_layout.lay_out(tasks, cpus, per_task, kind, plane_size=size, pack=pack)
    assert len(ranks) == len(cpus)
    assert sorted(rank for here in ranks for rank in here) == list(range(tasks))
    assert all(here == sorted(here) for here in ranks)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(1, 12), st.integers(1, 6))
def test_picked_nodes_hold_the_tasks(room: list[int], tasks: int, least: int) -> None:
    most = max(least, 3)
    chosen = pick(
        [NodeOffer(size) for size in room],
        range(len(room)),
        StepDemand(least, most, tasks),
    )
    if isinstance(chosen, list):
        assert least <= len(chosen) <= most
        assert sum(room[index] for index in chosen) >= tasks
    else:
        largest = sorted(filter(None, room), reverse=True)[:most]
        assert len(largest) < least or sum(largest) < tasks


@pytest.mark.parametrize(
    ("offers", "demand", "found"),
    [
        # Idle nodes come before those where a step runs; -r counts from the first one.
        (
            [NodeOffer(2, used=1, idle=False), NodeOffer(2)],
            StepDemand(1, 1, cpus=1),
            [1],
        ),
        (
            [NodeOffer(2, used=1, idle=False), NodeOffer(2)],
            StepDemand(1, 1, cpus=2, whole=True),
            [1],
        ),
        (
            [NodeOffer(1), NodeOffer(1), NodeOffer(1)],
            StepDemand(1, 1, cpus=1, relative=2),
            [2],
        ),
        # A range is filled.
        ([NodeOffer(2)] * 3, StepDemand(2, 3, cpus=2), [0, 1, 2]),
        # srun waits for resources of other steps, but not for resources that the job lacks.
        (
            [NodeOffer(2, used=2, idle=False)],
            StepDemand(1, 1, cpus=2),
            PlacementVerdict.BUSY,
        ),
        (
            [NodeOffer(2)],
            StepDemand(1, 1, cpus=3),
            PlacementVerdict.TOO_MANY,
        ),
        (
            [NodeOffer(2, gpus=1, gpus_free=0)],
            StepDemand(1, 1, cpus=1, gpus_here=1),
            PlacementVerdict.BUSY,
        ),
        (
            [NodeOffer(2, gpus=1, gpus_free=1)],
            StepDemand(1, 1, cpus=3, gpus_here=2),
            PlacementVerdict.BAD_GRES,
        ),
    ],
)
def test_nodes_of_a_step(offers: list[NodeOffer], demand: StepDemand, found: object) -> None:
    assert pick(offers, range(len(offers)), demand) == found


def test_examples_in_the_documentation() -> None:
    for module in (task_layout, step_placement, step_gpus):
        found = doctest.testmod(module)
        assert found.attempted > 0 and found.failed == 0
