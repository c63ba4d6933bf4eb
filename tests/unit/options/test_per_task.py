"""--tres-per-task, -c and --gpus-per-task say the same. Cases from slurm_opt.c _validate_tres_per_task of 25.11."""

from __future__ import annotations

from typing import Any

import pytest

from slurmsky.controller.rules.demand import demand_of
from slurmsky.options import submit
from slurmsky.options.device_counts import resolved
from slurmsky.options.submit import ScriptText
from slurmsky.options.usage_errors import CommandError
from slurmsky.options.values import ReadContext


def spec_of(*argv: str) -> Any:
    script = ScriptText("/home/user/s.sh", b"#!/bin/sh\n")
    return submit.parse_sbatch((*argv, "s.sh"), script, ReadContext()).components[0]


def step_of(*argv: str, **env: str) -> Any:
    return submit.parse_srun((*argv, "true"), ReadContext(env=env)).step.job


@pytest.mark.parametrize(
    ("argv", "tres", "cpus", "gpus"),
    [
        (("--tres-per-task=cpu:2",), "cpu:2", 2, None),
        (("--tres-per-task=cpu=2,gres:gpu:h100:1",), "cpu=2,gres/gpu:h100:1", 2, "h100:1"),
        (("--tres-per-task=gres/gpu=2", "-c3"), "cpu=3,gres/gpu=2", 3, "2"),
        (("--tres-per-task=cpu=3", "--gpus-per-task=a100:2"), "gres/gpu:a100=2,cpu=3", 3, "a100:2"),
        (("--tres-per-task=gres/gpu",), "gres/gpu", None, "1"),
        (("-c3", "--gpus-per-task=1"), "cpu=3,gres/gpu=1", 3, "1"),
        (("--gpus-per-task=a100:1,h100:2",), "gres/gpu:h100=2,gres/gpu:a100=1", None, "a100:1,h100:2"),
        (("-n2",), None, None, None),
    ],
)
def test_one_number_determines_the_other(argv: tuple[str, ...], tres: str, cpus: int, gpus: str) -> None:
    spec = spec_of("-n2", *argv)
    assert (spec.tres_of_task, spec.cpus_per_task, spec.gpus_per_task) == (tres, cpus, gpus)


def test_typed_options_override_the_environment() -> None:
    inherited = {"SLURM_TRES_PER_TASK": "cpu=2,gres/gpu=1", "SLURM_CPUS_PER_TASK": "2"}
    spec = step_of("-n2", "-c4", **inherited)
    assert (spec.tres_of_task, spec.cpus_per_task, spec.gpus_per_task) == ("cpu=4,gres/gpu=1", 4, "1")
    spec = step_of("--tres-per-task=cpu=5", SLURM_CPUS_PER_TASK="2")
    assert (spec.tres_of_task, spec.cpus_per_task) == ("cpu=5", 5)
    spec = step_of("-n1", "--cpus-per-gpu=3", "--gpus=1", **inherited)
    assert (spec.tres_of_task, spec.cpus_per_task, spec.cpus_per_gpu) == ("gres/gpu=1", None, 3)


def test_two_variables_that_differ() -> None:
    with pytest.raises(CommandError) as caught:
        step_of(SLURM_TRES_PER_TASK="cpu=2", SLURM_CPUS_PER_TASK="3")
    assert caught.value.lines == (
        "srun: fatal: cpus-per-task set by two different environment variables "
        "SLURM_CPUS_PER_TASK=3 != SLURM_TRES_PER_TASK=cpu=2",
    )


def test_licences_of_all_tasks() -> None:
    assert spec_of("-n3", "--tres-per-task=license/matlab=2,cpu=1", "-L", "ansys:1").licenses == "ansys:1,matlab:6"


@pytest.mark.parametrize(
    ("argv", "tasks", "tasks_per_node", "least", "most"),
    [
        (("--gpus=4", "--gpus-per-task=1"), 4, None, None, None),
        (("--gpus=8", "--gpus-per-task=2"), 4, None, None, None),
        (("--gpus=8", "--gpus-per-node=4", "--gpus-per-task=2"), 4, 2, 2, 2),
        (("-N2", "--gpus-per-node=4", "--gpus-per-task=2", "-n4"), 4, 2, 2, 2),
        (("-n4", "--gpus-per-node=2", "--gpus-per-task=1"), 4, 2, None, None),
        (("-n4", "--gres=gpu:2", "--tres-per-task=gres/gpu=1"), 4, 2, None, None),
        (("--gpus=4", "--gpus-per-node=2"), None, None, 2, 2),
        (("--gpus=2", "--ntasks-per-gpu=3"), 6, None, None, None),
        (("-n6", "--ntasks-per-gpu=3"), 6, None, None, None),
    ],
)
def test_counts_that_follow(argv: tuple[str, ...], tasks: int, tasks_per_node: int, least: int, most: int) -> None:
    numbers = resolved(spec_of(*argv)).numbers
    assert (numbers.tasks, numbers.tasks_per_node, numbers.least, numbers.most) == (tasks, tasks_per_node, least, most)


@pytest.mark.parametrize(
    ("argv", "node", "task", "job"),
    [
        (("--gpus=2", "--gres=tmpdisk:1"), (("tmpdisk", "", 1),), (), (("gpu", "", 2),)),
        (("--gpus=a100:2", "--gres=gpu:h100:1"), (("gpu", "h100", 1),), (), (("gpu", "a100", 2),)),
        (("-n2", "--gpus-per-task=1", "--gres=tmpdisk:1"), (("tmpdisk", "", 1),), (("gpu", "", 1),), ()),
        (("-n4", "--gpus-per-node=2", "--gpus-per-task=1"), (("gpu", "", 2),), (), ()),
        (("--gpus=4", "--gpus-per-task=2"), (), (("gpu", "", 2),), ()),
    ],
)
def test_each_kind_of_device_is_requested_once(argv: tuple[str, ...], node: Any, task: Any, job: Any) -> None:
    demand = demand_of(spec_of(*argv))
    assert (demand.gres_node, demand.gpus_task, demand.gpus_total) == (node, task, job)
