"""CPU, memory and GPU binding. SLURM_*_BIND* were recorded from the real srun (22.05); masks follow
cpu_management.html and task/affinity."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from slurmsky.agent.process import topology
from slurmsky.agent.process.topology import Cpu, machine, node
from slurmsky.agent.steps import task_binding, task_devices
from slurmsky.model.allocation import Launch, NodeShare
from slurmsky.model.spec import JobSpec

from .allocations import allocation
from .driver import Cluster

#: two sockets of two cores of two threads
MACHINE = tuple(Cpu(number, number // 2, number // 4, number // 4) for number in range(8))


def cpu(kind: str, values: str = "", word: str = "quiet") -> dict[str, str]:
    text = word + ("," if kind else "") + kind + values
    return {
        "SLURM_CPU_BIND": text,
        "SLURM_CPU_BIND_LIST": values,
        "SLURM_CPU_BIND_TYPE": kind,
        "SLURM_CPU_BIND_VERBOSE": word,
    }


def memory(kind: str, values: str = "", word: str = "quiet", **more: str) -> dict[str, str]:
    return {name.replace("CPU", "MEM"): text for name, text in cpu(kind, values, word).items()} | more


# 22.05 also prints the option's own text again behind cores and similar words ("quiet,corescores"): an error of 22.05.
@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (JobSpec(), {}),
        (JobSpec(cpu_bind="none"), cpu("none")),
        (JobSpec(cpu_bind="cores"), cpu("cores")),
        (JobSpec(cpu_bind="v,cores"), cpu("cores", word="verbose")),
        (JobSpec(cpu_bind="verbose"), cpu("", word="verbose")),
        (JobSpec(cpu_bind="quiet,sockets"), cpu("sockets")),
        (JobSpec(cpu_bind="map_cpu:0,1"), cpu("map_cpu:", "0,1")),
        (JobSpec(cpu_bind="v,mask_cpu:0x1,0x3"), cpu("mask_cpu:", "1,3", "verbose")),
        (JobSpec(cpu_bind="rank_ldom"), cpu("rank_ldom")),
        (JobSpec(cpu_bind="map_ldom:0"), cpu("map_ldom:", "0")),
        (JobSpec(cpu_bind="mask_ldom:0x1"), cpu("mask_ldom:", "1")),
        (JobSpec(hint="nomultithread"), cpu("threads") | {"SLURM_THREADS_PER_CORE": "1"}),
        (JobSpec(hint="multithread"), cpu("threads") | {"SLURM_NTASKS_PER_CORE": "65535"}),
        (JobSpec(hint="compute_bound"), cpu("cores") | {"SLURM_THREADS_PER_CORE": "1"}),
        (JobSpec(hint="memory_bound"), cpu("cores") | {"SLURM_THREADS_PER_CORE": "1"}),
        (JobSpec(threads_per_core=1), cpu("threads")),
        (JobSpec(ntasks_per_core=1), cpu("cores")),
        (JobSpec(mem_bind="local"), memory("local")),
        (JobSpec(mem_bind="v,map_mem:0"), memory("map_mem:", "0", "verbose")),
        (JobSpec(mem_bind="mask_mem:0x1"), memory("mask_mem:", "1")),
        (JobSpec(mem_bind="rank,sort"), memory("rank", SLURM_MEM_BIND_SORT="sort")),
        (JobSpec(mem_bind="none"), memory("none")),
        (
            JobSpec(mem_bind="prefer,local"),
            memory("local", SLURM_MEM_BIND_PREFER="prefer") | {"SLURM_MEM_BIND": "quiet,prefer,local"},
        ),
    ],
)
def test_variables(spec: JobSpec, expected: dict[str, str]) -> None:
    assert task_binding.environment(spec) == expected


def masks(spec: JobSpec, tasks: int, allocated: range = range(8)) -> list[str]:
    request = task_binding.task_binding(spec)
    assert request is not None
    laid = task_binding.lay_out(request.evolve(cpus=tuple(allocated)), MACHINE, tasks)
    return ["%x" % sum(1 << number for number in mask) for mask in laid]


@pytest.mark.parametrize(
    ("spec", "tasks", "expected"),
    [
        (JobSpec(cpu_bind="none"), 2, ["ff", "ff"]),
        (JobSpec(cpu_bind="threads"), 4, ["1", "10", "2", "20"]),  # cyclic over the sockets
        (JobSpec(cpu_bind="threads", distribution="block:block"), 4, ["1", "2", "4", "8"]),
        (JobSpec(cpu_bind="cores", distribution="block:block"), 4, ["3", "3", "c", "c"]),
        (JobSpec(cpu_bind="cores", cpus_per_task=2), 4, ["3", "30", "c", "c0"]),
        (JobSpec(cpu_bind="cores", cpus_per_task=2, distribution="*:fcyclic"), 2, ["33", "33"]),
        (JobSpec(cpu_bind="sockets"), 2, ["f", "f0"]),
        (JobSpec(cpu_bind="ldoms"), 2, ["f", "f0"]),
        (JobSpec(cpu_bind="threads", cpus_per_task=6), 1, ["3f"]),
        (JobSpec(cpu_bind="threads", overcommit=True), 9, ["1", "10", "2", "20", "4", "40", "8", "80", "1"]),
        (JobSpec(cpu_bind="verbose"), 2, ["f", "f0"]),  # as many tasks as sockets: automatic
        (JobSpec(cpu_bind="verbose"), 3, ["ff", "ff", "ff"]),
        (JobSpec(cpu_bind="map_cpu:3,1"), 3, ["8", "2", "8"]),
        (JobSpec(cpu_bind="mask_cpu:3,c0"), 2, ["3", "c0"]),
        (JobSpec(cpu_bind="rank_ldom"), 3, ["f", "f0", "f"]),
        (JobSpec(cpu_bind="map_ldom:1"), 2, ["f0", "f0"]),
        (JobSpec(cpu_bind="mask_ldom:0x3"), 1, ["ff"]),
        (JobSpec(hint="nomultithread"), 2, ["1", "10"]),
        (JobSpec(hint="compute_bound", cpus_per_task=2), 2, ["5", "50"]),
    ],
)
def test_masks(spec: JobSpec, tasks: int, expected: list[str]) -> None:
    assert masks(spec, tasks) == expected


@pytest.mark.parametrize(
    ("spec", "tasks", "cpus", "bound", "variable"),
    [
        (JobSpec(), 2, range(8), ["f", "f0"], "quiet,mask_cpu:0xf,0xf0"),
        (JobSpec(), 3, range(8), ["ff"] * 3, "quiet,mask_cpu:0xff"),
        (JobSpec(), 2, range(2), ["1", "2"], "quiet,mask_cpu:0x1,0x2"),
        (JobSpec(cpu_bind="v,cores"), 1, range(2, 6), ["c"], "verbose,mask_cpu:0xc"),
        (JobSpec(cpu_bind="none"), 1, range(8), ["ff"], None),
        (JobSpec(cpu_bind="none"), 1, range(2), ["3"], "quiet,mask_cpu:0x3"),  # not the whole node: bound
        (JobSpec(cpu_bind="map_cpu:1"), 1, range(2), ["2"], None),
    ],
)
def test_task_affinity_binds_steps_without_an_option(
    spec: JobSpec, tasks: int, cpus: range, bound: list[str], variable: str | None
) -> None:
    """With TaskPlugin=task/affinity; the rules were recorded from the real srun on a node of two CPUs."""
    request = task_binding.task_binding(spec, affinity=True)
    assert request is not None
    found = task_binding.of_step(request.evolve(cpus=tuple(cpus), count=8), MACHINE, "n1", range(tasks))
    assert [f"{sum(1 << number for number in one.cpus):x}" for one in found] == bound
    assert [one.environment.get("SLURM_CPU_BIND") for one in found] == [variable] * tasks


def test_a_share_is_bound_to_the_cpus_that_the_machine_has(one: Cluster) -> None:
    share = NodeShare("n1", cpu_ids=(0, 10_000), cpus_on_node=10_001)
    launch = replace(one.prepare(None), shares=[share], task_affinity=True)
    assert topology.allocated(launch) == {machine()[0].number}
    assert topology.allocated(replace(launch, task_affinity=False)) is None
    share.virtual = True
    assert topology.allocated(launch) is None


@pytest.mark.parametrize("text", ["map_cpu:5", "mask_cpu:10", "mask_cpu:0", "map_ldom:1"])
def test_outside_of_the_step(text: str) -> None:
    with pytest.raises(
        task_binding.BindingRefused, match="CPU binding outside of job step allocation, allocated CPUs are: 0xF"
    ):
        masks(JobSpec(cpu_bind=text), 1, range(4))


@pytest.mark.parametrize(
    ("text", "tasks", "expected"),
    [
        (None, 2, ["0,1,3", "0,1,3"]),
        ("none", 2, ["0,1,3", "0,1,3"]),
        ("closest", 2, ["0,1,3", "0,1,3"]),
        ("single:1", 4, ["0", "1", "3", "0"]),
        ("single:2", 4, ["0", "0", "1", "1"]),
        ("verbose,per_task:1", 3, ["0", "1", "3"]),
        ("map_gpu:3,0", 3, ["3", "0", "3"]),
        ("mask_gpu:0x9,2", 2, ["0,3", "1"]),
    ],
)
def test_gpus(text: str | None, tasks: int, expected: list[str]) -> None:
    seen = [task_devices.visible(text, (0, 1, 3), local, tasks) for local in range(tasks)]
    assert [",".join(map(str, gpus)) for gpus, _ in seen] == expected
    assert not any(complaint for _, complaint in seen)


def test_a_gpu_outside_of_the_allocation() -> None:
    assert task_devices.visible("map_gpu:7", (2, 3), 0, 1) == (
        (2,),
        "Bind request gpu:map_gpu:7 does not specify any devices within the allocation. "
        "Binding to the first device in the allocation instead.",
    )


def test_a_node_larger_than_the_machine() -> None:
    have = machine()
    cpus = node(len(have) + 2)
    assert cpus[: len(have)] == have and [cpu.real for cpu in cpus[len(have) :]] == [False, False]
    assert len({cpu.number for cpu in cpus}) == len(cpus) and len({cpu.core for cpu in cpus[-2:]}) == 2


# --- with real processes


@pytest.fixture(scope="module")
def two_tasks(one: Cluster) -> Iterator[tuple[Cluster, Launch]]:
    yield from allocation(one, (2,))


SHOW = "import os; print(os.environ['SLURM_PROCID'], sorted(os.sched_getaffinity(0)), os.getpid())"
FIRST = machine()[0].number


def test_verbose_reports_the_binding_of_tasks(two_tasks: tuple[Cluster, Launch]) -> None:
    cluster, launch = two_tasks
    done = cluster.command(
        launch, ["srun", "-n1", "--exact", "--cpu-bind=verbose,cores", "--mem-bind=v,local", "python3", "-c", SHOW]
    )
    rank, *cpus, pid = done.stdout.split()
    assert (rank, "".join(cpus)) == ("0", "[%d]" % FIRST)
    assert done.stderr == (
        "cpu-bind=MASK - n1, task  0  0 [%s]: mask 0x%X set\nmem-bind=LOC - n1, task  0  0 [%s]: mask 0x1 set\n"
        % (pid, 1 << FIRST, pid)
    )


def test_binding_none_is_reported(two_tasks: tuple[Cluster, Launch]) -> None:
    cluster, launch = two_tasks
    done = cluster.command(launch, ["srun", "-n1", "--cpu-bind=v,none", "python3", "-c", SHOW])
    have = os.sched_getaffinity(0)
    assert str(sorted(have)) in done.stdout
    assert re.fullmatch(
        r"cpu-bind=NONE - n1, task  0  0 \[\d+\]: mask 0x%X\n" % sum(1 << number for number in have), done.stderr
    )


def test_a_map_outside_of_the_step_is_refused(two_tasks: tuple[Cluster, Launch]) -> None:
    cluster, launch = two_tasks
    done = cluster.command(launch, ["srun", "-n1", "--cpu-bind=map_cpu:900", "true"])
    assert done.returncode == 1
    assert re.sub(r"\d+\.\d+ ", "J.S ", done.stderr) == (
        "srun: error: CPU binding outside of job step allocation, allocated CPUs are: 0x%X.\n"
        "srun: error: Task launch for StepId=J.S failed on node n1: Unable to satisfy cpu bind request\n"
        "srun: error: Application launch failed: Unable to satisfy cpu bind request\n"
        % sum(1 << cpu.number for cpu in node(8)[:2])
    )


def test_a_missing_memory_node_is_refused(two_tasks: tuple[Cluster, Launch]) -> None:
    cluster, launch = two_tasks
    done = cluster.command(launch, ["srun", "-n1", "--mem-bind=map_mem:60", "echo", "ran"])
    assert (done.stdout, done.returncode) == ("ran\n", 0)
    assert done.stderr == "slurmstepd-n1: error: set_mempolicy(): Invalid argument\n"


def test_task_affinity_binds_the_script_and_its_tasks(one: Cluster) -> None:
    first = "[%d]" % FIRST
    lines = ["#!/bin/sh", "taskset -cp $$ | sed 's/.*: //'", 'srun python3 -c "%s"' % SHOW, "echo ${SLURM_CPU_BIND-no}"]
    _, text = one.run("\n".join(lines), task_affinity=True)
    script, task, variable = text.splitlines()
    assert (script, task.split()[1], variable) == (str(FIRST), first, "no")
    _, text = one.run("#!/bin/bash\nsrun --cpu-bind=none printenv SLURM_CPU_BIND\n", task_affinity=True)
    assert text == "quiet,mask_cpu:0x%X\n" % (1 << FIRST)
