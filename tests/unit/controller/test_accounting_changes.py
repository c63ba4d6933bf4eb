"""Changes by sacctmgr, in a controller of this process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from controller_in_process import ControllerInProcess

from slurmsky.controller.app import Controller
from slurmsky.controller.store.memory_store import MemoryStore
from slurmsky.engines.memory import MemoryEngine, Work
from slurmsky.paths import StatePaths
from slurmsky.site import load

SITE = """
accounts = ["root"]
[[node]]
names = "n[1-2]"
cpus = 4
[[partition]]
name = "debug"
default = true
nodes = "n[1-2]"
[parameters]
AccountingStorageEnforce = "associations,limits,qos"
EnforcePartLimits = "ALL"
"""


class Cluster(ControllerInProcess):
    def __init__(self, folder: Path) -> None:
        self.work = folder
        (folder / "jobs").mkdir()
        environment = {"HOME": str(folder), "PATH": os.environ["PATH"]}
        self.queue = Controller(
            load(SITE, "site.toml"), StatePaths(folder), None, environment, lambda: 1e9, store=MemoryStore(),
            local=lambda on_event: MemoryEngine(on_event, lambda: 1e9, lambda launch: Work(9.0, 0)),
        )  # fmt: skip

    async def manage(self, line: str) -> str:
        return await self.out("sacctmgr", "-i", *line.split())


Story = Callable[[Cluster], Awaitable[None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Story], None]:
    def play(story: Story) -> None:
        async def whole() -> None:
            cluster = Cluster(tmp_path)
            await story(cluster)
            await cluster.queue.close()

        asyncio.run(whole())

    return play


def test_a_deleted_qos_leaves_accounts_and_other_qos(play: Callable[[Story], None]) -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.manage("add qos q1,q2,q3")
        await cluster.manage("modify qos q3 set preempt=q1,q2")
        await cluster.manage("add account lab")
        await cluster.manage("modify account lab set qos=q1,q2,q3 defaultqos=q2")
        await cluster.manage("delete qos q2")
        assert await cluster.manage("-nP show assoc account=lab format=qos,defaultqos") == "q1,q3|\n" * 2
        assert await cluster.manage("-nP show qos q3 format=preempt") == "q1\n"

    play(story)


def test_enforced_associations_refuse_unknown_accounts(play: Callable[[Story], None]) -> None:
    async def story(cluster: Cluster) -> None:
        answer = await cluster.run("sbatch", "-A", "nosuch", "--wrap=true")
        refused = (
            "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified"
        )
        assert answer == (1, "", refused + "\n")

    play(story)


@pytest.mark.parametrize(
    ("option", "refusal"),
    [
        ("-N3", "Node count specification invalid"),
        ("-N650000", "More processors requested than permitted"),
        ("-n9", "More processors requested than permitted"),
    ],
)
def test_part_limits_refuse_too_many_cpus_before_too_many_nodes(
    play: Callable[[Story], None], option: str, refusal: str
) -> None:
    async def story(cluster: Cluster) -> None:
        answer = await cluster.run("sbatch", option, "--wrap=true")
        assert answer == (1, "", f"sbatch: error: Batch job submission failed: {refusal}\n")

    play(story)
