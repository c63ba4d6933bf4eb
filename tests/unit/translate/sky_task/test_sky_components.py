"""Components of a het job as one SkyPilot task."""

from __future__ import annotations

import pytest

from slurmsky.controller.rules.demand import demand_of
from slurmsky.controller.rules.provisional_shares import ordered_shares
from slurmsky.model.spec import JobSpec
from slurmsky.site import load
from slurmsky.translate.sky_task.sky_components import plan_all
from slurmsky.translate.sky_task.task import plan
from slurmsky.translate.sky_task.translation_notes import Refused

SITE = load(
    """
[gpus]
default = "L4"
[[partition]]
name = "debug"
default = true
infra = "kubernetes/x"
max_cpus_per_node = 8
max_hourly_cost = 30
[[partition]]
name = "same"
infra = "kubernetes/x"
price_ceiling = 2.5
[[partition]]
name = "aws"
infra = "aws"
[[partition]]
name = "pool"
infra = "kubernetes/x"
pool = "workers"
arrays = "pool"
[[partition]]
name = "old"
infra = "slurm/oracle/debug"
""",
    "site.toml",
)


def whole(*specs: JobSpec):
    return plan_all([(spec, spec.partition or "debug") for spec in specs], SITE)


SIZES = [
    ((JobSpec(nodes_min=1), JobSpec(nodes_min=3)), 4, {"cpus": "1+"}),
    ((JobSpec(mem_mib=3000), JobSpec(cpus_per_task=4, mem_mib=500)), 2, {"cpus": "4+", "memory": "3+"}),
    ((JobSpec(ntasks=2), JobSpec(gpus_per_node="h100:4", nodes_min=2)), 3, {"cpus": None, "accelerators": "H100:4"}),
    ((JobSpec(gpus="l4:1"), JobSpec(cpus_per_task=8)), 2, {"cpus": "8+", "accelerators": "L4:1"}),
    ((JobSpec(gpus="2"), JobSpec(gpus="1")), 2, {"accelerators": "L4:2"}),
    ((JobSpec(constraint="h100", gpus="2"), JobSpec()), 2, {"accelerators": "H100:2"}),
    ((JobSpec(ntasks=4, cpus_per_task=8), JobSpec()), 5, {"cpus": "8+"}),
    ((JobSpec(tmp_mib=102400), JobSpec()), 2, {"disk_size": 120}),
    # A ceiling for the job is that of each of its nodes times their number; the lower one holds for all.
    ((JobSpec(), JobSpec(nodes_min=2)), 3, {"max_hourly_cost": 10}),
    ((JobSpec(), JobSpec(nodes_min=2, partition="same")), 3, {"max_hourly_cost": 2.5}),
]


@pytest.mark.parametrize("specs, nodes, resources", SIZES)
def test_nodes_of_all_and_the_size_of_the_largest(specs, nodes, resources) -> None:
    task = whole(*specs)
    assert task.fields["num_nodes"] == task.geometry.nodes == nodes
    assert {name: task.fields["resources"].get(name) for name in resources} == resources
    note = next(note for note in task.notes if note.option == "hetjob")
    assert note.effect == "changed" and note.text.startswith(
        f"all {nodes} nodes have the size of the largest component"
    )


def test_one_component_is_an_ordinary_job() -> None:
    spec = JobSpec(nodes_min=2, gpus_per_node="h100:1")
    assert whole(spec) == plan(spec, SITE, "debug")


@pytest.mark.parametrize(
    "specs, hint",
    [
        ((JobSpec(gpus="a100:1"), JobSpec(gpus="h100:1")), "one type of GPU, not A100 and H100"),
        ((JobSpec(), JobSpec(partition="aws")), "differ in infra"),
        ((JobSpec(), JobSpec(partition="pool")), "differ in pool"),
        ((JobSpec(partition="old", qos="high"), JobSpec(partition="old")), "differ in qos"),
        ((JobSpec(site_options=(("container-image", "a"),)), JobSpec()), "differ in image"),
        ((JobSpec(gpus_per_node="32"), JobSpec()), "no cloud has nodes with 32 GPUs"),
    ],
)
def test_components_that_differ_are_refused(specs, hint) -> None:
    with pytest.raises(Refused, match="Requested node configuration is not available") as refused:
        whole(*specs)
    assert refused.value.hint.endswith(hint)


def test_an_allocation_lasts_as_long_as_the_longest_component() -> None:
    def options(*minutes: int | None):
        task = whole(*(JobSpec(partition="old", time_limit_min=limit) for limit in minutes))
        return task.fields.get("config", {}).get("slurm", {}).get("sbatch_options")

    assert options(10, 20) == {"time": "35"}
    assert options(10, None) is None


#: jobs whose node count is SkyPilot's to say
OPEN = [
    (JobSpec(ntasks=16, cpus_per_task=4), [2] * 8),
    (JobSpec(gpus="h100:16", ntasks=2), [1, 1]),
    (JobSpec(ntasks=16, gpus_per_task="h100:1"), [8, 8]),
    (JobSpec(nodes_min=4, ntasks=2), [1, 1]),
    (JobSpec(nodes_min=3, ntasks_per_node=2), [2, 2, 2]),
]


@pytest.mark.parametrize("spec, tasks", OPEN)
def test_a_job_has_the_nodes_that_are_requested_of_skypilot(spec: JobSpec, tasks: list[int]) -> None:
    shares = ordered_shares(demand_of(spec), spec, SITE.cluster.partition("debug"), 7)
    assert [share.tasks for share in shares] == tasks
    assert len(shares) == plan(spec, SITE, "debug").geometry.nodes
