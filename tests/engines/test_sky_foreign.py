"""Managed jobs that others launched, costs and budgets.

A whole controller runs against a simulated API server.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from polling import PATIENCE_S
from sky_controller import SITE, World, world
from sky_server import SkyServer

from slurmsky.controller.services import infra_cache, managed_jobs
from slurmsky.engines.base import cancel_all
from slurmsky.engines.cloud import Bill
from slurmsky.engines.foreign import site_partition
from slurmsky.engines.sky.account.sky_account import foreign_jobs, prices
from slurmsky.engines.sky.api.queue_rows import QueueRow, queue_row

# --- SkyPilot's queue records


def record(job_id: int, status: str, **more: Any) -> QueueRow:
    known = {"job_id": job_id, "task_id": 0, "job_name": "train", "task_name": "train", "status": status}
    return queue_row({**known, **more})


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([record(1, "PENDING", schedule_state="WAITING")], ("PENDING", "NONE", "Priority", False)),
        ([record(1, "PENDING", schedule_state="ALIVE_BACKOFF")], ("PENDING", "NONE", "Resources", False)),
        ([record(1, "STARTING", details="Launching (nodes allocated)")], ("PENDING", "CONFIGURING", "None", False)),
        ([record(1, "RUNNING")], ("RUNNING", "NONE", "None", False)),
        ([record(1, "ManagedJobStatus.RUNNING")], ("RUNNING", "NONE", "None", False)),
        ([record(1, "RECOVERING")], ("PENDING", "REQUEUED", "NodeDown", False)),
        ([record(1, "CANCELLING")], ("CANCELLED", "COMPLETING", "None", False)),
        ([record(1, "FAILED", failure_reason="exit code 5")], ("FAILED", "NONE", "NonZeroExitCode", True)),
        ([record(1, "SUCCEEDED")], ("COMPLETED", "NONE", "None", True)),
        # A pipeline: the running task; once all have ended, the failed one.
        ([record(1, "SUCCEEDED"), record(1, "RUNNING", task_id=1)], ("RUNNING", "NONE", "None", False)),
        ([record(1, "RUNNING"), record(1, "PENDING", task_id=1)], ("RUNNING", "NONE", "None", False)),
        ([record(1, "FAILED"), record(1, "CANCELLED", task_id=1)], ("FAILED", "NONE", "NonZeroExitCode", True)),
        ([record(1, "a word of 2030")], ("PENDING", "NONE", "None", False)),
    ],
)
def test_states(records: list[QueueRow], expected: tuple[str, str, str, bool]) -> None:
    (found,) = foreign_jobs.managed_job_infos(records)
    assert (found.seen.state.name, found.seen.flags.name, found.seen.reason, found.over) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"resources": "2x[CPU:1+]"}, (2, 1, "")),
        ({"resources": "1x[CPU:4+, Mem:16+, H100:8]"}, (1, 4, "h100:8")),
        ({"resources": "1x[CPU:4+]", "cluster_resources": "3x[CPU:8, A100-80GB:2]"}, (3, 8, "a100-80gb:2")),
        ({"resources": "1x[CPU:4+]", "cluster_resources": "-", "accelerators": {"L4": 1.0}}, (1, 4, "l4:1")),
        ({"resources": None}, (1, 1, "")),
    ],
)
def test_sizes(fields: dict[str, Any], expected: tuple[int, int, str]) -> None:
    (found,) = foreign_jobs.managed_job_infos([record(1, "RUNNING", **fields)])
    assert (found.nodes, found.cpus, found.gpus) == expected


def test_a_job_group_is_one_job_on_all_its_nodes() -> None:
    group = {"execution": "parallel", "start_at": 20.0}
    (found,) = foreign_jobs.managed_job_infos(
        [
            record(7, "RUNNING", task_name="b", task_id=1, resources="1x[CPU:2]", node_names="n3", **group),
            record(7, "RUNNING", task_name="a", resources="2x[CPU:1]", node_names="n1,n2", **group),
        ]
    )
    assert (found.nodes, found.node_names, found.start_time) == (3, ("n1", "n2", "n3"), 20.0)
    assert found.clusters == ("a-7", "b-7")


@pytest.mark.parametrize(
    ("infra", "expected"),
    [
        ("slurm/oracle/gpu", "gpu"),
        ("slurm/oracle/debug", "any"),
        ("aws/us-east-1/us-east-1a", "aws/us-east-1"),
        ("slurm/oracle", "any"),
        ("kubernetes/Big", "kube"),
        ("", "sky"),
    ],
)
def test_a_foreign_jobs_partition_follows_from_its_infra(infra: str, expected: str) -> None:
    choices = [("gpu", ["slurm/oracle/gpu"]), ("kube", ["k8s/big", "kubernetes/*"]), ("any", ["slurm/oracle"])]
    assert site_partition(infra, choices) == expected


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        # As SkyPilot 0.14.1 named them.
        ("output-s1-967974cd", "output-s1-967974cd-62"),
        ("My_Task.v1", "my-task-v1-62"),
    ],
)
def test_names_of_clusters(task: str, expected: str) -> None:
    assert prices.cluster_name(task, 62) == expected


def test_a_long_name_ends_in_a_hash() -> None:
    name = prices.cluster_name("a-task-with-a-very-long-name-indeed", 9)
    assert name.startswith("a-task-with-a-very-lon") and name.endswith("-9") and len(name) == 27


def test_bills() -> None:
    found = prices.bills(
        [
            {"name": "a-1", "total_cost": 2.0, "duration": 3600, "usage_intervals": [[0, 3600]], "status": None},
            {"name": "a-1", "total_cost": 1.0, "duration": 1800, "usage_intervals": [[9, None]], "status": "UP"},
            {"name": "b-2", "total_cost": None, "duration": None},
        ]
    )
    assert found == {"a-1": Bill(3.0, 2.0, True), "b-2": Bill()}


# --- the controller


def test_a_foreign_managed_job_from_start_to_end(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        began = time.time() - 50
        launched = world.launch("train", "PENDING")
        world.launch("old", "FAILED", start_at=began, end_at=began + 20).events[-1]["reason"] = "exit code 5"
        assert await world.out("squeue", "-h") == ""
        await world.managed.read()
        assert await world.out("squeue", "-h", "-o", "%i|%P|%j|%T|%D|%r") == "60000001|sky|train|PENDING|2|Priority\n"
        launched.become("RUNNING")
        launched.record.update(cloud="Slurm", region="oracle", zone="debug", start_at=began, node_names="n7,n8")
        await world.managed.read()
        row = await world.out("squeue", "-h", "-o", "%i|%P|%j|%u|%T|%D|%N|%l")
        user = (await world.out("squeue", "-h", "-o", "%u")).strip()
        assert row == f"60000001|debug|train|{user}|RUNNING|2|n[7-8]|UNLIMITED\n"
        assert int((await world.out("squeue", "-h", "-O", "TimeUsed")).strip().replace(":", "")) >= 49
        launched.become("SUCCEEDED")
        launched.record.update(end_at=began + 40, cloud="-", node_names=None)
        world.server.report = [{"name": "train-1", "total_cost": 0.25, "duration": 100, "usage_intervals": [[1, 2]]}]
        await world.managed.read()
        assert await world.out("squeue", "-h") == ""
        form = "jobid,jobname,partition,state,exitcode,elapsedraw,nnodes,nodelist,cost"
        output = await world.out("sacct", "-nPX", "-S", "now-1hour", "-o", form)
        assert sorted(output.splitlines()) == [
            "60000001|train|debug|COMPLETED|0:0|40|2|n[7-8]|0.2500",
            "60000002|old|sky|FAILED|5:0|20|2|sky-60000002-[0-1]|0.0000",
        ]
        launched.become("FAILED_CONTROLLER")  # reported after a success; the first end counts
        await world.managed.read()
        assert "COMPLETED" in await world.out("sacct", "-nXj", "60000001", "-o", "state")
        assert "\nCost: $0.2500\n" in await world.out("seff", "60000001")
        assert (await world.out("sbatch", "--parsable", "--hold", "--wrap", "true")).strip() == "1"

    world(tmp_path, story)


def test_reads_are_frequent_only_while_a_job_of_ours_waits_for_a_foreign_one(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        launched = world.launch("train", "RUNNING", start_at=time.time())
        await world.managed.read()
        assert await world.out("squeue", "-h", "-o", "%j") == "train\n"  # a command: the time of frequent reads begins
        assert world.managed._gap() == managed_jobs.QUIET_GAP_S
        job = (await world.out("sbatch", "--parsable", "-d", "afterok:60000001", "--wrap", "true")).strip()
        assert world.managed._gap() == world.queue.site.sky.queue_poll_s - managed_jobs.LEAST_GAP_S
        await world.out("scancel", job)
        assert world.managed._gap() == managed_jobs.QUIET_GAP_S
        launched.become("SUCCEEDED")
        launched.record.update(end_at=time.time())
        world.server.report = [{"name": "train-1", "total_cost": 0.25, "duration": 9, "usage_intervals": [[1, 2]]}]
        await world.managed.read()
        assert world.managed._gap() == managed_jobs.IDLE_GAP_S

    world(tmp_path, story)


KEPT = SITE + 'nodes = "k[1-8]"\nshape = { cpus = 1, memory = 1 }\n'


MIXED = KEPT + '[[partition]]\nname = "each"\ninfra = "kubernetes/x"\n'


@pytest.mark.parametrize("newer", [0, 4])
@pytest.mark.parametrize("site, read", [(KEPT, {"jobs", "bills"}), (MIXED, {"jobs", "bills", "inventory"})])
def test_with_warm_nodes_two_requests_a_minute_are_sent_unless_a_job_of_ours_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, site: str, read: set[str], newer: int
) -> None:
    async def story(world: World) -> None:
        clock, reads = 1000.0, []

        async def sleep(seconds: float) -> None:
            nonlocal clock
            clock += seconds
            world.managed.read_soon()  # a user calls squeue and sinfo repeatedly
            world.managed._infra.request_refresh()
            await asyncio.sleep(0)

        def counted(read: Callable[..., Any]) -> Callable[..., Any]:
            def call(*words: Any) -> Any:
                reads.append((clock, read.__name__))
                return read(*words)

            return call

        async def until(moment: float) -> list[float]:
            reads.clear()
            while clock < moment:
                await asyncio.sleep(0.001)
            return [later - earlier for (earlier, _), (later, _) in pairwise(reads)]

        account, infras = world.managed.account, world.managed._infra.account
        for reader, name in ((account, "jobs"), (account, "bills"), (infras, "inventory")):
            monkeypatch.setattr(reader, name, counted(getattr(reader, name)))
        monkeypatch.setattr(managed_jobs, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": sleep}))
        monkeypatch.setattr(managed_jobs, "time", SimpleNamespace(monotonic=lambda: clock))
        monkeypatch.setattr(infra_cache, "FRESH_S", 0.0)  # its clock is not this one
        monkeypatch.setattr(foreign_jobs, "PAGE", 2)
        world.launch("train", "RUNNING", start_at=time.time())
        for _ in range(newer):  # the running job is not on the first page, and needs a request of its own
            world.launch("brief", "SUCCEEDED", start_at=time.time() - 99, end_at=time.time() - 9)
        await world.out("sinfo")
        reading = asyncio.ensure_future(world.managed.run())
        await until(2000.0)
        began, sent = clock, len(world.server.requests)
        await until(8000.0)
        assert (len(world.server.requests) - sent) / (clock - began) * 60 <= 2.1, reads
        queue_reads = [at for at, name in reads if name == "jobs"]
        pace = managed_jobs.PACE_S * (4 if newer else 2)  # of the requests of one read
        assert max(later - earlier for earlier, later in pairwise(queue_reads)) <= pace + 2 * managed_jobs.PACE_POLL_S
        assert {name for _, name in reads} == read  # of infras only managed jobs have nodes
        monkeypatch.setattr(world.managed, "_needs_read", lambda: True)
        assert managed_jobs.LEAST_GAP_S in await until(clock + 200.0)
        await cancel_all([reading])

    world(tmp_path, story, site)


def test_foreign_jobs_do_not_change_the_idle_cost_of_warm_nodes(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        now = time.time()
        world.launch(
            "train", "SUCCEEDED", start_at=now - 900, end_at=now - 1, cloud="Slurm", region="oracle", zone="debug"
        )
        world.server.report = [{"name": "train-1", "total_cost": 0.25, "duration": 9, "usage_intervals": [[1, 2]]}]
        await world.managed.read()
        world.queue.power.hours.node_up("debug", "k1", 2.0, now - 3600)
        world.queue.power.hours.node_down("k1")
        words = ("sreport", "-nP", "cost", "byPartition", "start=now-2hours", "format=partition,cost,idle")
        assert (await world.out(*words)).startswith("debug|0.2500|2.000")

    world(tmp_path, story, KEPT)


def test_foreign_jobs_are_stored_for_the_next_controller(tmp_path: Path) -> None:
    async def story() -> None:
        async with SkyServer() as server:
            async with World(tmp_path / "home", server, SITE) as first:
                first.launch("train", "RUNNING", start_at=time.time())
                first.launch("gone", "RUNNING", start_at=time.time())
                await first.managed.read()
            server.jobs[0].become("CANCELLED")
            server.jobs[0].record["end_at"] = time.time()
            async with World(tmp_path / "home", server, SITE) as second:
                await second.queue.recover()
                assert not second.queue.busy  # it does not stay for jobs that are not ours
                assert (await second.out("squeue", "-h", "-o", "%i", "-S", "i")).split() == ["60000001", "60000002"]
                del server.jobs[1]
                await second.managed.read()
                output = await second.out("sacct", "-nXP", "-o", "jobid,state", "-S", "now-1hour")
                assert output == "60000001|CANCELLED\n60000002|NODE_FAIL\n"
                assert not [path for path in server.requests if path == "/jobs/launch"]

    asyncio.run(asyncio.wait_for(story(), PATIENCE_S))


def test_foreign_jobs_are_cancelled_by_id_or_name_and_have_no_other_request(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        for name in ("one", "two", "three"):
            world.launch(name, "RUNNING", start_at=time.time())
        await world.managed.read()
        assert await world.run("scancel", "-u", os.environ.get("USER", "root")) == (0, "", "")
        assert await world.run("scancel", "60000001") == (0, "", "")
        assert await world.run("scancel", "--name", "two") == (0, "", "")
        await asyncio.sleep(0)
        deadline = time.monotonic() + 20
        while [job.cancelled for job in world.server.jobs] != [True, True, False]:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        assert await world.out("squeue", "-h", "-o", "%i %t", "-S", "i") == "60000001 CG\n60000002 CG\n60000003 R\n"
        unsupported = "Requested operation not supported on this system"
        for words in (("scancel", "-s", "USR1", "60000003"), ("scontrol", "hold", "60000003"),
                      ("scontrol", "suspend", "60000003"), ("scontrol", "requeue", "60000003"),
                      ("scontrol", "update", "jobid=60000003", "timelimit=5")):  # fmt: skip
            code, _, err = await world.run(*words)
            expected = 2036 % 256 if words[0] == "scancel" else 1  # scancel.c exits with slurmctld's error number
            assert code == expected and unsupported in err, (code, words, err)
        world.server.jobs[0].become("CANCELLED")
        await world.managed.read()
        assert await world.out("sacct", "-nXPj", "60000001", "-o", "state") == f"CANCELLED by {os.geteuid()}\n"

    world(tmp_path, story)


def test_a_cancellation_is_sent_when_the_server_is_reachable_again(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.launch("one", "RUNNING", start_at=time.time())
        await world.managed.read()
        world.server.fault = lambda path: (503, "application/json", b'{"detail": "restarting"}')
        assert await world.run("scancel", "60000001") == (0, "", "")
        await asyncio.sleep(0.1)
        assert not world.server.jobs[0].cancelled
        world.server.fault = lambda path: None
        await world.managed.read()
        assert world.server.jobs[0].cancelled

    world(tmp_path, story)


def test_an_unreachable_server_delays_no_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from slurmsky.controller.services import managed_jobs

    monkeypatch.setattr(managed_jobs, "LEAST_GAP_S", 0.01)

    async def story(world: World) -> None:
        world.launch("one", "RUNNING", start_at=time.time())
        await world.managed.read()
        world.server.fault = lambda path: (503, "application/json", b'{"detail": "restarting"}')
        reading = asyncio.ensure_future(world.managed.run())
        while not world.managed.problem:
            world.managed.read_soon()
            await asyncio.sleep(0.01)
        began = time.perf_counter()
        assert await world.out("squeue", "-h", "-o", "%i %T") == "60000001 RUNNING\n"
        assert time.perf_counter() - began < 10
        await cancel_all([reading])

    world(tmp_path, story)


def test_a_site_may_hide_foreign_jobs(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.launch("one", "RUNNING", start_at=time.time())
        await world.managed.read()
        assert await world.out("squeue", "-h") == ""

    world(tmp_path, story, SITE + "[sky]\nforeign = false\n")


def test_a_history_of_a_thousand_jobs_costs_few_requests(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        now = time.time()
        for number in range(1200):
            ended = number != 3
            world.launch(f"job{number}", "SUCCEEDED" if ended else "RUNNING", start_at=now - 50,
                         end_at=now - 10 if ended else None)  # fmt: skip
        await world.managed.read()
        assert await world.out("squeue", "-h", "-o", "%j") == "job3\n"  # old, but not over
        output = await world.out("sacct", "-nXP", "-o", "jobid", "-S", "now-1hour")
        assert len(output.split()) == 1001
        world.server.requests.clear()
        world.launch("new", "RUNNING", start_at=now)
        await world.managed.read()
        assert sorted((await world.out("squeue", "-h", "-o", "%j")).split()) == ["job3", "new"]
        # The newest, the old one by its id, and costs: six requests at most, in twenty seconds at least.
        assert len(world.server.requests) <= 6, world.server.requests

    world(tmp_path, story)
