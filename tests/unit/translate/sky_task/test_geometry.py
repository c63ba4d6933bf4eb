"""Nodes of the size that translate computes can hold the job, by the scheduler's placement."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmsky.controller.rules.demand import demand_of
from slurmsky.controller.rules.job_placement import place
from slurmsky.controller.rules.node_use import NodeUse
from slurmsky.language.syntax_errors import GresError
from slurmsky.model.cluster import NodeConfig
from slurmsky.model.spec import JobSpec
from slurmsky.options import submit
from slurmsky.options.usage_errors import CommandError
from slurmsky.options.values import ReadContext
from slurmsky.translate.sky_task.geometry import geometry
from slurmsky.translate.sky_task.translation_notes import Refused

_CONTEXT = ReadContext(
    now=0, cwd="/submit", env={}, read_file=lambda name: b"", is_root=False, find_user=lambda name: 0,
    find_group=lambda name: 0, max_array_size=1001,
)  # fmt: skip


def _option(name: str, most: int, values: str = "{}") -> st.SearchStrategy[str]:
    return st.one_of(st.just(""), st.integers(1, most).map(lambda count: f"{name}={values.format(count)}"))


_LINES = st.tuples(
    _option("--nodes", 5), _option("--ntasks", 24), _option("--ntasks-per-node", 8), _option("--cpus-per-task", 8),
    st.one_of(
        st.just(""), _option("--gpus", 16), _option("--gpus-per-node", 8), _option("--gpus-per-task", 3),
        _option("--gres", 8, "gpu:a100:{}"),
    ),
    st.one_of(st.just(""), _option("--mem", 64, "{}G"), _option("--mem-per-cpu", 8, "{}G")),
    st.sampled_from(["", "--exclusive", "--mincpus=3", "--cpus-per-gpu=2"]),
).map(lambda words: [word for word in words if word])  # fmt: skip


def _spec(words: list[str]) -> JobSpec | None:
    script = submit.ScriptText("job.sh", b"#!/bin/sh\n")
    try:
        return submit.parse_sbatch([*words, "job.sh"], script, _CONTEXT).components[0]
    except CommandError:
        return None


@given(_LINES)
def test_nodes_of_the_computed_size_hold_the_job(words: list[str]) -> None:
    spec = _spec(words)
    if spec is None:
        return
    if (spec.ntasks or 0) > (spec.nodes_min or spec.ntasks or 0) * (spec.ntasks_per_node or 1 << 20):
        return  # slurmctld refuses these
    try:
        size, demand = geometry(spec), demand_of(spec)
    except (Refused, GresError):
        return
    cpus = size.cpus or 64
    nodes = [
        NodeConfig(
            f"n{index}", cpus=cpus, cores=cpus, memory_mib=size.memory_mib or 1 << 20,
            gres=(("gpu", size.gpu_type, size.gpus),) if size.gpus else (),
        )
        for index in range(size.nodes)
    ]  # fmt: skip
    shares = place(demand, [NodeUse(node) for node in nodes])
    assert shares is not None, (words, size)
    if spec.ntasks or spec.ntasks_per_node or spec.nodes_min:
        assert sum(share.tasks for share in shares) == size.ntasks, (words, size)


@pytest.mark.parametrize(
    ("words", "nodes", "cpus"),
    [(["-N2", "-n5", "-c3"], 2, 9), (["-n6", "--ntasks-per-node=4", "-c3"], 2, 12), (["-N3", "--mincpus=7"], 3, 7)],
)
def test_the_largest_node_sets_the_size(words: list[str], nodes: int, cpus: int) -> None:
    spec = _spec(words)
    assert spec is not None
    size = geometry(spec)
    assert (size.nodes, size.cpus) == (nodes, cpus)


def test_gres_and_gpus_per_node_name_the_same_gpus() -> None:
    assert geometry(JobSpec(gres="gpu:8", gpus_per_node="8")).gpus == 8
