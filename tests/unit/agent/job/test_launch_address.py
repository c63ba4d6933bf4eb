"""SLURM_LAUNCH_NODE_IPADDR: where srun runs."""

from __future__ import annotations

import pytest

from slurmsky.agent.job.task_environment import launch_address, step_environment


@pytest.mark.parametrize(
    ("node", "address"), [({}, "127.0.0.1"), ({"SKYPILOT_NODE_IPS": "10.0.0.7\n10.0.0.8"}, "10.0.0.7")]
)
def test_the_address_of_the_node_that_srun_runs_on(node: dict[str, str], address: str) -> None:
    env = step_environment("0", ["n1"], [[0]], distribution="block", umask=0o22, port=1, address=launch_address(node))
    assert env["SLURM_LAUNCH_NODE_IPADDR"] == env["SLURM_SRUN_COMM_HOST"] == address
