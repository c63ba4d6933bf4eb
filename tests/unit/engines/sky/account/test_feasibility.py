"""Requests that no node of the infras can run are refused at submit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slurmsky.engines.sky.account.feasibility import autoscaled, infeasibility
from slurmsky.engines.sky.account.inventory import Offer

POD = Offer("kubernetes/gke", "node-1", "idle", 4, 0, 16384, 0, (("L4", 1, 0),))
SLURM = Offer("slurm/oracle", "n1", "idle", 8, 0, 4096, 0)
TOO_BIG = {"infra": "kubernetes/gke", "cpus": "64+", "accelerators": "H100:8"}


def test_a_cluster_of_fixed_size_refuses_what_no_node_has() -> None:
    assert "has H100 GPUs" in infeasibility(TOO_BIG, [POD, SLURM])


def test_an_autoscaler_may_add_a_node_for_any_request() -> None:
    assert infeasibility(TOO_BIG, [POD, SLURM], can_grow=lambda context: context == "gke") == ""
    assert infeasibility({"cpus": "64+"}, [POD, SLURM], can_grow=lambda context: True) == "", "any infra will do"


@pytest.mark.parametrize("infra", ["", "kubernetes", "kubernetes/eks", "k8s/eks"])
def test_an_infra_without_nodes_refuses_nothing(infra: str) -> None:
    wanted = {"cpus": "64+", **({"infra": infra} if infra else {})}
    assert infeasibility(wanted, [POD, SLURM], unlisted=["kubernetes/eks"]) == ""
    assert infeasibility({"cpus": "64+", "infra": "slurm/oracle"}, [POD, SLURM], unlisted=["kubernetes/eks"]) != ""


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, False),
        ({"kubernetes": None}, False),
        ({"kubernetes": {"autoscaler": "gke"}}, True),
        ({"kubernetes": {"context_configs": {"gke": {"autoscaler": "karpenter"}}}}, True),
        ({"kubernetes": {"context_configs": {"eks": {"autoscaler": "karpenter"}, "gke": None}}}, False),
    ],
)
def test_the_configuration_names_the_autoscaler_of_a_context(config: dict[str, object], expected: bool) -> None:
    assert autoscaled(config, "gke") is expected


@pytest.mark.parametrize(
    ("resources", "most"),
    [
        ({"infra": "slurm/oracle", "cpus": "1+"}, 2),
        ({"infra": "slurm/oracle", "cpus": "8+"}, 1),  # n2 is smaller
        ({"infra": "kubernetes/gke", "cpus": "1+", "memory": "8+"}, 2),  # pods of one machine
        ({"infra": "kubernetes/gke", "accelerators": "L4:1"}, 1),
        ({"cpus": "1+"}, 4),  # one infra alone, the roomiest
    ],
)
def test_one_infra_must_have_all_nodes_of_a_job(resources: dict[str, str], most: int) -> None:
    offers = [POD, SLURM, replace(SLURM, name="n2", cpus=4)]
    assert infeasibility(resources, offers, nodes=most) == ""
    assert f"no infra has {most + 1} nodes for the job: the most is {most} " in infeasibility(
        resources, offers, nodes=most + 1
    )
