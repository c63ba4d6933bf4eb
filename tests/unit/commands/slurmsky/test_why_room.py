"""What slurmsky why says about the CPUs and devices of a partition, and about a full disk."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slurmsky.commands.slurmsky.why_command import _is_full, _room
from slurmsky.controller.rules.node_use import NodeUse
from slurmsky.model.cluster import NodeConfig


def test_cpus_that_other_users_hold_are_named() -> None:
    own = NodeUse(NodeConfig(name="n1", cpus=4))
    own.cpu_ids |= {0}
    seen = own.copy()
    seen.cpu_ids |= {2, 3}
    partition: Any = SimpleNamespace(name="main")
    scheduler = SimpleNamespace(uses=lambda name: [seen])
    queue: Any = SimpleNamespace(scheduler=scheduler, job_table=SimpleNamespace(uses={"n1": own}))
    text = "3 of the 4 CPUs of partition main are in use"
    assert _room(queue, partition) == f"{text}, 2 of them by other users of this machine"
    queue.job_table.uses["n1"] = seen
    assert _room(queue, partition) == text


def test_requested_devices_are_counted_over_their_types() -> None:
    use = NodeUse(NodeConfig(name="n1", cpus=4, gres=(("gpu", "h100", 2), ("gpu", "", 1), ("shard", "", 8))))
    use.gres = {"gpu:h100": {0, 1}, "shard": {3}}
    partition: Any = SimpleNamespace(name="main")
    table = SimpleNamespace(uses={"n1": use})
    queue: Any = SimpleNamespace(scheduler=SimpleNamespace(uses=lambda name: [use]), job_table=table)
    assert _room(queue, partition, {"gpu"}) == "0 of the 4 CPUs of partition main are in use; 2 of its 3 GPUs"


def test_a_file_system_without_free_blocks_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not _is_full(str(tmp_path)) and not _is_full("/no/such")
    assert not _is_full("/proc")  # has no blocks at all
    counts = list(os.statvfs(tmp_path))
    counts[4] = 0  # f_bavail
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(counts))
    assert _is_full(str(tmp_path))
