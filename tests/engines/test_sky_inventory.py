"""sinfo and scontrol on SkyPilot: answers of its endpoints as nodes and partitions."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from sky_controller import World, world

from slurmsky.engines.offers import Offer
from slurmsky.engines.sky.account.sky_account import inventory
from slurmsky.model import plain

# As SkyPilot 0.14.1 answered for a Slurm of four nodes.
SLURM = [
    {
        "node_name": f"n{number}", "slurm_cluster_name": "oracle", "node_state": state, "gpu_type": "H100",
        "total_gpus": 4, "free_gpus": free_gpus, "vcpu_count": 8, "memory_gb": 3.91, "free_vcpus": free,
        "free_alloc_memory_gb": 3.91, "cpu_load": 2.57, "free_memory_gb": 17.48, "partition": partition,
    }
    for number, state, free, free_gpus, partition in (
        (1, "mix", 7, 3, "debug*"), (2, "alloc", 0, 4, "debug*"), (3, "idle", 8, 4, "debug*,gpu"),
        (4, "down*", 8, 4, "debug*,gpu"),
    )
]  # fmt: skip
KUBERNETES = {
    "node_info_dict": {
        "gke-1": {"name": "gke-1", "accelerator_type": "L4", "total": {"accelerator_count": 2},
                  "free": {"accelerators_available": 1}, "cpu_count": 16.0, "memory_gb": 64.0, "cpu_free": 10.5,
                  "memory_free_gb": 32.0, "is_ready": True, "is_cordoned": False},
        "gke-2": {"name": "gke-2", "accelerator_type": None, "total": {"accelerator_count": 0},
                  "free": {"accelerators_available": 0}, "cpu_count": 4.0, "memory_gb": 8.0, "cpu_free": None,
                  "memory_free_gb": None, "is_ready": False},
    },
    "hint": "",
}  # fmt: skip
CATALOG = {
    "H100": [
        ["AWS", "p5.48xlarge", "H100", 8.0, 192.0, 80.0, 2048.0, 98.32, 30.0, "us-east-1"],
        ["AWS", "p5.dear", "H100", 8.0, 192.0, 80.0, 2048.0, 120.0, 30.0, "us-west-2"],
        ["AWS", None, "H100", 1.0, None, 80.0, None, 4.0, 1.0, "us-east-1"],
        ["AWS", "p5.4xlarge", "H100", 1, 16, 80, 256, float("nan"), None, "us-east-1"],
    ]
}


def test_slurm_nodes() -> None:
    first, second, _, fourth = inventory.slurm_offers(SLURM)
    assert first == Offer("slurm/oracle", "n1", "mixed", 8, 1, 4003, 0, (("H100", 4, 1),), ("debug",), 2.57)
    assert (second.state, second.used_cpus, fourth.state, fourth.zones) == ("allocated", 8, "down", ("debug", "gpu"))


def test_kubernetes_nodes() -> None:
    first, second = inventory.kubernetes_offers("kubernetes/gke", KUBERNETES)
    assert first == Offer("kubernetes/gke", "gke-1", "mixed", 16, 6, 65536, 32768, (("L4", 2, 1),))
    assert (second.state, second.gpus, second.cpus) == ("down", (), 4)


def test_the_catalog_gives_the_cheapest_machine_of_each_size() -> None:
    (offer,) = inventory.catalog_offers(CATALOG)
    assert offer == Offer("aws/us-east-1", "aws-p5.48xlarge", "cloud", 192, 0, 2097152, 0, (("H100", 8, 0),),
                          (), 0.0, 98.32)  # fmt: skip


@pytest.mark.parametrize("answer", [None, [], {}, {"node_info_dict": None}, [None, {}], {"H100": [[1]]}])
def test_malformed_answers_give_no_nodes(answer: Any) -> None:
    assert inventory.kubernetes_offers("kubernetes/x", answer) == []
    assert inventory.slurm_offers(answer if isinstance(answer, list) else []) == []
    assert inventory.catalog_offers(answer) == []


@pytest.mark.parametrize(
    ("infra", "expected"),
    [
        ("slurm", True), ("slurm/oracle", True), ("Slurm/oracle/gpu", True), ("slurm/oracle/long", False),
        ("slurm/other", False), ("*/oracle", True), ("aws", False),
    ],
)  # fmt: skip
def test_which_partition_has_a_node(infra: str, expected: bool) -> None:
    assert Offer("slurm/oracle", "n3", zones=("debug", "gpu")).matches_infra(infra) is expected


def test_offers_survive_the_store() -> None:
    found = inventory.slurm_offers(SLURM)
    assert [plain.read(Offer, json.loads(json.dumps(plain.write(one)))) for one in found] == found


SITE = """engine = "sky"
[[node]]
names = "n1"
cpus = 2
memory_mib = 100
[[partition]]
name = "debug"
default = true
infra = "slurm/oracle/debug"
[[partition]]
name = "gpu"
infra = "slurm/oracle/gpu"
[[partition]]
name = "aws"
infra = "aws"
[[partition]]
name = "here"
engine = "local"
"""


def test_sinfo_and_scontrol_show_the_infras(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.server.answers.update({"/slurm_node_info": SLURM, "/list_accelerators": CATALOG})
        world.server.enabled = ["slurm/oracle", "AWS"]
        assert await world.out("sinfo", "-ho", "%P %D %t %N", "-p", "debug") == "debug* 0 n/a \n"
        infra = world.queue.infra
        assert infra is not None
        await infra.refresh()
        output = await world.out("sinfo", "-ho", "%P|%D|%t|%G|%N")
        assert sorted(output.splitlines()) == [
            "aws|1|idle~|gpu:h100:8|aws-p5.48xlarge",
            "debug*|1|alloc|gpu:h100:4|n2",
            "debug*|1|down|gpu:h100:4|n4",
            "debug*|1|idle|gpu:h100:4|n3",
            "debug*|1|mix|gpu:h100:4|oracle-n1",
            "gpu|1|down|gpu:h100:4|n4",
            "gpu|1|idle|gpu:h100:4|n3",
            "here|1|idle|(null)|n1",
        ]
        shown = await world.out("scontrol", "show", "node", "aws-p5.48xlarge")
        for word in (
            "CPUTot=192",
            "State=IDLE+CLOUD+POWERED_DOWN",
            "Partitions=aws",
            "Gres=gpu:h100:8",
            "ActiveFeatures=aws,us-east-1",
            "Comment=SkyPilot infra aws/us-east-1, $98.3200 an hour",
        ):
            assert word in shown
        shown = await world.out("scontrol", "-o", "show", "partition", "debug")
        assert "Nodes=oracle-n1,n[2-4]" in shown and "TotalCPUs=32 TotalNodes=4" in shown
        assert await world.out("sinfo", "-hN", "-t", "cloud", "-o", "%N") == "aws-p5.48xlarge\n"
        requested = len(world.server.requests)
        await infra.refresh()  # fresh enough
        assert len(world.server.requests) == requested
        world.launch("theirs", "RUNNING", start_at=time.time(), node_names="job1-n3", resources="1x[CPU:1]")
        await world.managed.read()
        assert await world.out("squeue", "-h", "-w", "job1-n3", "-o", "%j") == "theirs\n"
        assert (await world.run("squeue", "-w", "nowhere"))[2] == "squeue: error: Invalid node name nowhere\n"

    world(tmp_path, story, SITE)


def test_the_next_controller_shows_what_was_read_before(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.server.enabled = ["slurm/oracle"]
        world.server.answers["/slurm_node_info"] = SLURM
        infra = world.queue.infra
        assert infra is not None
        infra.request_refresh()
        await infra.refresh()
        again = type(infra)(world.queue.job_table, world.queue.site, infra.account, infra.on_sky)
        assert again.offers == infra.offers and again.read_at == infra.read_at

    world(tmp_path, story, SITE)


def test_without_skypilot_nothing_changes(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.queue.infra = None
        assert await world.out("sinfo", "-ho", "%P %D %N", "-p", "here") == "here 1 n1\n"

    world(tmp_path, story, SITE)


NOT_AVAILABLE = "sbatch: error: Batch job submission failed: Requested node configuration is not available"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("--gpus-per-node=h100:4", ""),
        ("-c 8 --mem=3900M", ""),
        ("--gpus-per-node=h100:8 -N1", "no node of slurm/oracle/debug has 8 H100 GPUs: the most is 4"),
        ("--gpus-per-node=a100:1", "no node of slurm/oracle/debug has A100 GPUs: there are H100"),
        ("--mem=100G", "no node of slurm/oracle/debug has 100 GiB of memory: the most is 3.9"),
        ("-c 64", "no node of slurm/oracle/debug has 64 CPUs: the most is 8"),
        ("-p aws -c 500 --mem=9T", ""),  # a cloud has machines that sinfo does not list
        ("-p aws --gpus-per-node=h100:8", ""),
        ("-p aws --gpus-per-node=h100:16", "no node of aws has 16 H100 GPUs: the most is 8"),
    ],
)
def test_a_request_beyond_every_node_is_refused_at_submit(tmp_path: Path, words: str, problem: str) -> None:
    async def story(world: World) -> None:
        world.server.answers.update({"/slurm_node_info": SLURM, "/list_accelerators": CATALOG})
        world.server.enabled = ["slurm/oracle", "AWS"]
        infra = world.queue.infra
        assert infra is not None
        submit = ["sbatch", *words.split(), "--wrap", "true"]
        infra.offers, infra.read_at = [], 0.0
        assert (await world.run(*submit))[0] == 0  # nothing is known yet: SkyPilot decides
        infra.request_refresh()
        await infra.refresh()
        code, _, err = await world.run(*submit)
        assert (code, err) == ((1, f"sbatch: error: {problem}\n{NOT_AVAILABLE}\n") if problem else (0, ""))
        infra.read_at -= 7200
        assert (await world.run(*submit))[0] == 0  # the nodes may be others by now

    world(tmp_path, story, SITE)
