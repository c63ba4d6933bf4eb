"""Prices, budgets and costs of managed jobs, in a controller with a simulated API server."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from sky_controller import SITE, World, world

from slurmsky.engines.sky.account.sky_account import prices
from slurmsky.model.job import Job
from slurmsky.model.spec import JobSpec
from slurmsky.model.states import JobState


@pytest.mark.parametrize("name", ["a-s7-0123abcd", "a-s7-0123abcd_1", "a-s7-0123abcd_1_4"])
def test_our_jobs_are_shown_once_and_elements_of_a_pack_share_its_cost(tmp_path: Path, name: str) -> None:
    """This includes elements that were launched again after a loss of nodes."""

    async def story(world: World) -> None:
        queue, now = world.queue, time.time()
        fields: dict[str, Any] = {"name": "a", "user": "me", "uid": os.geteuid(), "gid": 0, "group": "me",
                                 "account": "me", "partition": "debug", "spec": JobSpec(), "state": JobState.COMPLETED,
                                 "submit_time": now - 90, "eligible_time": now - 90, "array_job_id": 7,
                                 "managed_job_id": 1, "engine": "sky"}  # fmt: skip
        for task, seconds in enumerate((10, 30)):
            job = Job(job_id=7 + task, array_task_id=task, start_time=now - 60, end_time=now - 60 + seconds, **fields)
            queue.job_table.touch(job)
            if task:
                queue.job_table.drop(job)  # it has left memory
        queue.flush()
        world.launch(name, "SUCCEEDED", start_at=now - 60, end_at=now)
        world.launch("a-s9-0123abcd", "RUNNING", start_at=now)  # another slurmsky's
        world.server.report = [
            {"name": prices.cluster_name(name, 1), "total_cost": 4.0, "duration": 60, "usage_intervals": [[1, 2]]},
            {"name": "a-s9-0123abcd-2", "total_cost": 1.0, "duration": 1800, "usage_intervals": [[1, None]]},
        ]
        await world.managed.read()
        output = await world.out("sacct", "-nXP", "-S", "now-1hour", "-o", "jobid,cost")
        assert sorted(output.split()) == ["60000002|1.0000", "7_0|1.0000", "7_1|3.0000"]
        period = ("start=now-1day", "end=now+1hour")
        output = await world.out("sreport", "-nP", "cost", "byuser", *period, "format=jobs,cost")
        assert sorted(output.splitlines()) == ["1|1.0000", "2|4.0000"]

    world(tmp_path, story)


def test_components_of_a_het_job_share_its_cost_by_their_nodes(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        queue, now = world.queue, time.time()
        fields: dict[str, Any] = {"name": "a", "user": "me", "uid": os.geteuid(), "gid": 0, "group": "me",
                                 "account": "me", "partition": "debug", "spec": JobSpec(), "state": JobState.COMPLETED,
                                 "submit_time": now - 90, "eligible_time": now - 90, "start_time": now - 60,
                                 "end_time": now, "engine": "sky", "het_job_id": 7, "het_ids": (7, 8)}  # fmt: skip
        bills = []
        for number, gone in ((1, False), (2, True)):  # while they are in memory, and later
            base = 7 if number == 1 else 17
            for offset, nodes in enumerate((1, 3)):
                ids = {"het_job_id": base, "het_ids": (base, base + 1), "managed_job_id": number}
                job = Job(job_id=base + offset, het_offset=offset, num_nodes=nodes, **{**fields, **ids})
                queue.job_table.touch(job)
                if gone:
                    queue.job_table.drop(job)
            world.launch(f"a-s{base}-0123abcd", "SUCCEEDED", start_at=now - 60, end_at=now)
            bills.append({"name": f"a-s{base}-0123abcd-{number}", "total_cost": 4.0, "duration": 60,
                          "usage_intervals": [[1, 2]]})  # fmt: skip
        queue.flush()
        world.server.report = bills
        await world.managed.read()
        output = await world.out("sacct", "-nXP", "-S", "now-1hour", "-o", "jobid,cost")
        assert sorted(output.split()) == ["17+0|1.0000", "17+1|3.0000", "7+0|1.0000", "7+1|3.0000"]

    world(tmp_path, story)


def test_an_allocation_has_the_cost_of_its_cluster(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        queue, now = world.queue, time.time()
        fields: dict[str, Any] = {"name": "a", "user": "me", "uid": os.geteuid(), "gid": 0, "group": "me",
                                 "account": "me", "partition": "debug", "spec": JobSpec(), "submit_time": now - 90,
                                 "eligible_time": now - 90, "start_time": now - 60, "engine": "sky"}  # fmt: skip
        job = Job(job_id=7, state=JobState.RUNNING, **fields)
        queue.job_table.touch(job)
        queue.flush()
        world.managed.cloud.clusters = lambda: {7: "a-s7-0123abcd"}
        bill = {"name": "a-s7-0123abcd", "total_cost": 0.5, "duration": 900, "usage_intervals": [[1, None]]}
        world.server.report = [bill]
        await world.managed.read()
        assert (job.cost, job.hourly_cost) == (0.5, 2.0)
        job.state, job.end_time = JobState.COMPLETED, now
        queue.job_table.touch(job)
        queue.job_table.drop(job)
        queue.flush()
        bill.update(total_cost=0.75, usage_intervals=[[1, 2]])
        await world.managed.read()
        assert await world.out("sacct", "-nXP", "-S", "now-1hour", "-o", "jobid,cost") == "7|0.7500\n"
        assert world.managed.rows[-7].cost_final

    world(tmp_path, story)


PRICES = """Considered resources (1 node):
---------------------------------------------------------------------
 INFRA             INSTANCE    vCPUs   Mem(GB)   GPUS   COST ($)   CHOSEN
---------------------------------------------------------------------
 AWS (us-east-1)   m6i.large   2       8         -      3.00          \x1b[32m✔\x1b[0m
 AWS (us-east-2)   m6i.large   2       8         -      3.50
---------------------------------------------------------------------
"""


async def printed_reason(world: World) -> str:
    """squeue's rows, once no job waits for its price."""
    deadline = time.monotonic() + 20
    while True:
        output = await world.out("squeue", "-h", "-o", "%i %r", "-S", "i")
        if "None" not in output or time.monotonic() > deadline:
            return output
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("money", "options", "reason"),
    [
        ("[sky]\nmax_hourly_cost = 2.5", ["-t60"], "QOSMaxBillingPerJob"),
        ("[[qos]]\nname = 'big'\nmax_hourly_cost = 2.5", ["-t60", "-qbig"], "QOSMaxBillingPerJob"),
        ("[sky]\nbudget = 5", ["-t120"], "AssocMaxBillingMinutesPerJob"),
        ("[sky]\nbudget = 5", [], "AssocMaxBillingMinutesPerJob"),  # no time limit, so no end to its cost
        ("[[budget]]\naccount = 'vision'\nmonth = 5", ["-t120", "-Avision"], "AssocGrpBillingMinutes"),
        ("[[budget]]\naccount = 'vision'\nhourly = 2", ["-t10", "-Avision"], "AssocGrpBilling"),
        ("[[budget]]\nqos = 'long'\nmonth = 5", ["-t120", "-qlong"], "QOSGrpBillingMinutes"),
        ("[[budget]]\nuser = 'USER'\nhourly = 2", ["-t10"], "QOSMaxBillingPerUser"),
        ("[[budget]]\nuser = 'USER'\nmonth = 5", ["-t120"], "QOSMaxBillingPerUser"),
        ("[[budget]]\nmonth = 5", ["-t120"], "AssocGrpBillingMinutes"),
    ],
)
def test_a_job_that_would_cost_too_much_waits(tmp_path: Path, money: str, options: list[str], reason: str) -> None:
    import pwd

    async def story(world: World) -> None:
        world.server.prices = PRICES
        assert (await world.out("sbatch", *options, "--wrap", "true")).startswith("Submitted")
        assert (await printed_reason(world)).split() == ["1", reason]
        assert not world.server.jobs
        assert "Cost=0.0000 HourlyCost=3.0000" in await world.out("scontrol", "show", "job", "1")

    world(tmp_path, story, SITE + money.replace("USER", pwd.getpwuid(os.geteuid()).pw_name))


def test_explain_of_a_folder_prices_each_size_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from slurmsky.engines.sky.api import api_access

    scripts = tmp_path / "scripts"
    scripts.mkdir()
    for name, options in (("a", "-t60"), ("b", "-t120 --array=1-3"), ("c", "-c4")):
        (scripts / name).write_text(f"#!/bin/bash\n#SBATCH {options}\ntrue\n")

    async def story(world: World) -> None:
        world.server.prices = PRICES
        monkeypatch.setattr(api_access, "DEFAULT_ENDPOINT", world.server.endpoint)  # the caller's settings name none
        output = await world.out("slurmsky", "explain", str(scripts))
        assert "2 scripts, arrays times their elements: $21.00 on demand" in output
        assert "1 script, arrays times their elements: $3.00 on demand" in output and "AWS (us-east-1)" in output
        assert len([path for path in world.server.requests if path == "/optimize"]) == 2
        assert not world.server.jobs
        output = await world.out("slurmsky", "explain", "--no-prices", str(scripts))
        assert "Prices:" not in output

    world(tmp_path, story, SITE)


def test_test_only_answers_for_nodes_created_on_demand(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        words = ("--test-only", "-N2", "-n8", "-c2", "--gpus-per-node=h100:4")
        code, _, error = await world.run("sbatch", *words, "--wrap", "true")
        assert (code, world.server.jobs) == (0, [])
        found = re.fullmatch(r"sbatch: Job (\d+) to start at (\S+) a using 16 processors on nodes (\S+) in .*\n", error)
        assert found and found[3] == f"sky-{found[1]}-[0-1]"
        assert (await world.run("sbatch", "-q", "nosuch", "--test-only", "--wrap", "true"))[0] == 1

    world(tmp_path, story, SITE + "[[qos]]\nname = 'long'\n")


def test_the_components_of_a_het_job_have_one_price(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.server.prices = PRICES
        options = ["-t10", "-N1", "--wrap", "true", ":", "-N2", "-c4"]
        assert (await world.out("sbatch", *options)).startswith("Submitted")
        assert (await printed_reason(world)).splitlines() == ["1+0 QOSMaxBillingPerJob", "1+1 QOSMaxBillingPerJob"]
        assert not world.server.jobs
        shown = await world.out("scontrol", "show", "job", "1")
        assert "HourlyCost=1.0000" in shown and "HourlyCost=2.0000" in shown

    world(tmp_path, story, SITE + "[sky]\nmax_hourly_cost = 2.5\n")


def test_a_budget_applies_to_the_users_it_names_and_counts_expected_costs(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.server.prices = PRICES
        for account in ("vision", "vision", "speech"):
            await world.out("sbatch", "-t120", "-A", account, "--wrap", "true")  # $6 each
        deadline = time.monotonic() + 100
        while (
            len(world.server.jobs) < 2
            or await world.out("squeue", "-h", "-o", "%i %r", "-j2") != "2 AssocGrpBillingMinutes\n"
        ):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        assert len([path for path in world.server.requests if path == "/optimize"]) == 1
        # Its time limit is what it may cost.
        assert (await world.run("scontrol", "update", "jobid=2", "timelimit=20"))[0] == 0
        while len(world.server.jobs) < 3:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)

    world(tmp_path, story, SITE + "[[budget]]\naccount = 'vision'\nmonth = 10\n")


def test_costs_of_this_month_count_for_the_budget(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.launch("theirs", "RUNNING", start_at=time.time() - 5)
        world.server.report = [{"name": "theirs-1", "total_cost": 40, "duration": 9, "usage_intervals": [[1, None]]}]
        await world.managed.read()
        await world.out("sbatch", "-t1", "--wrap", "true")
        world.queue.schedule_now()
        assert await world.out("squeue", "-h", "-o", "%i %r", "-j1") == "1 AssocGrpBillingMinutes\n"
        assert "/optimize" not in world.server.requests  # nothing to ask for where nothing is left

    world(tmp_path, story, SITE + "[[budget]]\nmonth = 40\n")
