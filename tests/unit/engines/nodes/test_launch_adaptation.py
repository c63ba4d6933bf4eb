"""Launches adapted to warm nodes: the devices that a job sees."""

from __future__ import annotations

import pytest

from slurmsky.engines.nodes.launch_adaptation import Environments, on_devices
from slurmsky.model.allocation import HetComponent, Launch, NodeShare
from slurmsky.model.spec import JobSpec
from slurmsky.protocol.messages import NodeEnvironment


def launch(*shares: NodeShare) -> Launch:
    words = dict.fromkeys(("name", "user", "group", "account", "partition", "qos", "cluster", "submit_host"), "x")
    folders = dict.fromkeys(("submit_dir", "work_dir", "spool"), "/")
    return Launch(**words, **folders, job_id=1, uid=1, gid=1, ntasks=1, spec=JobSpec(), shares=list(shares))


def node(**environment: str) -> NodeEnvironment:
    return NodeEnvironment(pid=1, home="/h", environment=environment, shells=())


def test_jobs_use_the_devices_that_the_infra_allocated_to_each_node():
    nodes = {"n1": node(CUDA_VISIBLE_DEVICES="2,3"), "n2": node(CUDA_VISIBLE_DEVICES="5,7"), "n3": node()}
    shares = [NodeShare(name, gres={"gpu:h100": (1,), "fpga": (0,)}) for name in nodes]
    one = launch(*shares)
    words = dict.fromkeys(("name", "account", "partition", "qos"), "x")
    one.het = [HetComponent(job_id=1, spec=JobSpec(), shares=shares, **words)]
    there = on_devices(one, nodes)
    found = [{**share.gres} for share in there.shares]
    assert found == [{"gpu:h100": (number,), "fpga": (0,)} for number in (3, 7, 1)]
    assert there.every_share == there.shares
    assert [share.gres["gpu:h100"] for share in shares] == [(1,)] * 3  # those of the controller


@pytest.mark.parametrize("same", [True, False])
def test_a_job_does_not_see_the_devices_of_its_node_but_those_that_it_requested(same):
    detected = node(CUDA_VISIBLE_DEVICES="2,3", SKYPILOT_NUM_NODES="4", SKYPILOT_NUM_GPUS_PER_NODE="2", PATH="/bin")
    found = Environments().adapted({"HOME": "/home/ada"}, detected, same, ("192.0.2.1",), gpus=1)
    assert "CUDA_VISIBLE_DEVICES" not in found
    assert found["SKYPILOT_NUM_GPUS_PER_NODE"] == found["SKYPILOT_NUM_NODES"] == "1"
