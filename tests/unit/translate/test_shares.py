"""Nodes that do not exist yet."""

from __future__ import annotations

from slurmsky.model.spec import JobSpec
from slurmsky.site import load
from slurmsky.translate.expected_shares import shares
from slurmsky.translate.task import plan

SITE = load('[gpus]\ndefault="H100"', "site.toml")


def test_tasks_in_blocks_and_devices_on_every_node():
    spec = JobSpec(ntasks=5, nodes_min=2, cpus_per_task=2, gpus_per_node="a100:2", mem_mib=4096)
    first, second = shares(plan(spec, SITE, "debug"))
    assert (first.tasks, second.tasks) == (3, 2)
    assert first.cpu_ids == tuple(range(6)) and first.memory_mib == 4096
    assert second.gres == {"gpu:a100": (0, 1)}
    assert first.name != second.name


def test_what_is_left_open_is_filled_in_later():
    (share,) = shares(plan(JobSpec(gpus="1"), SITE, "debug"))
    assert share.cpu_ids == () and share.gres == {"gpu": (0,)} and share.tasks == 1
