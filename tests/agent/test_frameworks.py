"""torch, Lightning, JAX and accelerate read the same values from their environment as under Slurm.

The table lists the variables that each framework reads (from its sources) and their meaning; no framework is
installed. Two nodes of two tasks, on one machine and on nodes that share nothing.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from slurmsky.model.spec import JobSpec

from .conftest import KINDS
from .driver import Cluster

Environment = dict[str, str]


@dataclass(frozen=True)
class Framework:
    """How one framework reads the environment of a task."""

    name: str
    detects: Callable[[Environment], bool]
    rank: str
    size: str
    local: str
    node: str = ""  # "": not read
    nodes: str = ""  # the variable in which it looks for the first node; "": not read


def _all(*names: str) -> Callable[[Environment], bool]:
    return lambda env: all(name in env for name in names)


def _lightning(env: Environment) -> bool:
    """An srun outside an interactive session, with sizes per node.

    Lightning recognises an interactive session by its name.
    """
    used = "SLURM_NTASKS" in env and env.get("SLURM_JOB_NAME") not in ("bash", "interactive")
    return used and "SLURM_NTASKS_PER_NODE" in env


FRAMEWORKS = (
    # fabric/plugins/environments/slurm.py
    Framework(
        "lightning",
        _lightning,
        "SLURM_PROCID",
        "SLURM_NTASKS",
        "SLURM_LOCALID",
        "SLURM_NODEID",
        "SLURM_NODELIST",
    ),
    # jax/_src/clusters/slurm_cluster.py: all of them, so that a batch script without srun is one process
    Framework(
        "jax",
        _all("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NUM_NODES"),
        "SLURM_PROCID",
        "SLURM_NTASKS",
        "SLURM_LOCALID",
        nodes="SLURM_STEP_NODELIST",
    ),
    # accelerate/state.py and utils/environment.py: launched by MPI's variables, which srun --mpi=pmi2 sets
    Framework("accelerate", _all("PMI_RANK", "PMI_SIZE"), "PMI_RANK", "PMI_SIZE", "SLURM_LOCALID"),
    # torch.distributed has env:// only; scripts make its variables of these (PyTorch's and Jean Zay's examples)
    Framework(
        "torch",
        _all("SLURM_JOB_NODELIST", "SLURM_NNODES", "SLURM_NTASKS_PER_NODE"),
        "SLURM_PROCID",
        "SLURM_NTASKS",
        "SLURM_LOCALID",
        "SLURM_NODEID",
        "SLURM_JOB_NODELIST",
    ),
)  # fmt: skip
SHOW = f"{sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"


def first_node(text: str) -> str:
    """First name of a node list, as all frameworks extract it.

    The name ends at a comma, or at a bracket's first number.
    """
    found = re.match(r"([^\[,]+)(?:\[([^\],-]+))?", text)
    assert found is not None
    return found[1] + (found[2] or "")


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> type[Cluster]:
    """The tests also run on cloud nodes."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def seen(two: Cluster) -> tuple[Environment, list[Environment]]:
    """The environments of the batch script and of its tasks by rank."""
    script = f"#!/bin/bash\n{SHOW}\nsrun --mpi=pmi2 {SHOW}\n"
    event, text = two.run(script, tasks=(2, 2), spec=JobSpec(job_name="train", ntasks_per_node=2, nodes_min=2))
    assert event["state"] == "COMPLETED", text
    batch, *tasks = [json.loads(line) for line in text.splitlines()]
    return batch, sorted(tasks, key=lambda env: int(env["SLURM_PROCID"]))


@pytest.mark.parametrize("framework", FRAMEWORKS, ids=lambda framework: framework.name)
def test_ranks_sizes_and_the_first_node(seen: tuple[Environment, list[Environment]], framework: Framework) -> None:
    _, tasks = seen
    assert all(map(framework.detects, tasks))
    assert [int(env[framework.rank]) for env in tasks] == [0, 1, 2, 3]
    assert {env[framework.size] for env in tasks} == {"4"}
    assert [int(env[framework.local]) for env in tasks] == [0, 1, 0, 1]
    if framework.node:
        assert [int(env[framework.node]) for env in tasks] == [0, 0, 1, 1]
    if framework.nodes:
        assert {first_node(env[framework.nodes]) for env in tasks} == {"n1"}


def test_a_batch_script_is_no_rank_of_a_step(seen: tuple[Environment, list[Environment]]) -> None:
    """JAX and accelerate treat a program without srun as a single process.

    Lightning does not: with --ntasks-per-node Slurm sets SLURM_NTASKS in batch scripts, too.
    """
    batch, _ = seen
    assert [framework.name for framework in FRAMEWORKS if framework.detects(batch)] == ["lightning", "torch"]
    assert "SLURM_STEP_NODELIST" not in batch and "PMI_RANK" not in batch
