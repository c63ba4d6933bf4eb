"""What slurmsky why says about the CPUs and devices of a partition."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from slurmsky.commands.slurmsky.why_command import _room
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
