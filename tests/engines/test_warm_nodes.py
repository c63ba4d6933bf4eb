"""Warm nodes end to end: brought up on demand, shared, powered down, adopted and lost."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import signal
import sys
import zipfile
from datetime import datetime
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from warm_world import PRICES, SITE, WarmWorld, namespaces_work

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not namespaces_work(), reason="needs namespaces"),
]


def test_a_job_brings_its_node_up_and_the_next_one_finds_it(tmp_path):
    async def what(world):
        assert await world.out("sinfo", "-h", "-o", "%t %N") == "idle~ k[1-4]\n"
        assert await world.out("sinfo", "-h", "-p", "kept", "-o", "%P %t %N") == "kept* idle~ k[1-4]\n"
        shown = await world.out("scontrol", "show", "node", "k1")
        assert "NodeName=k1 CoresPerSocket=8 \n" in shown and "OS=" not in shown and "Version=" not in shown
        code = await world.run("sbatch", "--test-only", "--wrap", "true")
        assert "on nodes k1 in partition kept\n" in code.stderr
        assert "Warm nodes k1: they must be powered up, which takes about 120 s" in code.stderr
        first = await world.batch("echo first on $SLURMD_NODENAME\n", "-o", "first.out", "--wait")
        assert (world.project / "first.out").read_text() == "first on k1\n", first
        assert await world.states() == {"k1": "idle", "k2": "idle~", "k3": "idle~", "k4": "idle~"}
        assert "they are up: it starts at once" in (await world.run("sbatch", "--test-only", "--wrap", "true")).stderr
        assert "Warm nodes: 1 of 4 are up, 1 of them idle" in await world.out("slurmsky", "explain", "job.sh")
        await world.batch("echo second\n", "-o", "second.out", "--wait")
        assert (world.project / "second.out").read_text() == "second\n"
        assert len(world.server.jobs) == 1
        shown = await world.out("scontrol", "show", "node", "k1")
        assert " Arch=" in shown and "OS=Linux " in shown and "Version=" in shown
        busy = await world.batch("sleep 60\n", "-n8", "-t5")
        await world.until(lambda: world.are_running(busy))
        message = (await world.run("sbatch", "--test-only", "-wk1", "--wrap", "true")).stderr
        assert "they are up, and other jobs use them until then" in message

    WarmWorld(tmp_path).play(what)


def test_jobs_share_a_node_and_reach_each_other_across_nodes_of_one_order(tmp_path):
    async def what(world):
        out = await world.out("srun", "-N2", "-n4", "--ntasks-per-node=2", "bash", "-c", "echo $SLURMD_NODENAME")
        assert sorted(out.split()) == ["k1", "k1", "k2", "k2"]
        assert [job.task.get("num_nodes") for job in world.server.jobs] == [2]
        ranks = """srun bash -c 'echo $SKYPILOT_NODE_RANK/$SKYPILOT_NUM_NODES $(getent hosts k1 k2 | cut -c1-9)'"""
        await world.batch(ranks, "-N2", "-o", "two.out", "--wait")
        await world.batch(ranks, "-w", "k2", "-o", "one.out", "--wait")
        lines = sorted((world.project / "two.out").read_text().splitlines())
        assert lines == ["0/2 127.0.1.1 127.0.1.2", "1/2 127.0.1.1 127.0.1.2"]
        assert (world.project / "one.out").read_text() == "0/1 127.0.1.1 127.0.1.2\n"
        out = await world.out("salloc", "-N2", "srun", "bash", "-c", "echo $SLURMD_NODENAME $SLURM_JOB_PARTITION")
        assert sorted(out.split()) == ["k1", "k2", "kept", "kept"]
        job = await world.batch("sleep 60\n", "-n3")
        other = await world.batch("sleep 60\n", "-n3")
        await world.until(lambda: world.are_running(job, other))
        assert (await world.out("squeue", "-h", "-o", "%i %t %N", "--sort=i")).split() == [
            job,
            "R",
            "k1",
            other,
            "R",
            "k1",
        ]
        assert (await world.states())["k1"] == "mix"
        await world.out("scancel", job, other)
        await world.batch("squeue -h -j $SLURM_JOB_ID -o '%i %N'\nsrun hostname\n", "-o", "in.out", "--wait")
        assert (world.project / "in.out").read_text().split("\n")[0].endswith(" k1")

    WarmWorld(tmp_path).play(what)


def test_an_array_runs_on_nodes_that_are_up(tmp_path):
    async def what(world):
        await world.batch("true\n", "--wait")
        await world.batch("echo $SLURM_ARRAY_TASK_ID\n", "-a", "1-40", "-o", "a-%a.out", "--wait")
        assert [int((world.project / f"a-{i}.out").read_text()) for i in range(1, 41)] == list(range(1, 41))

    WarmWorld(tmp_path).play(what)


def test_a_job_waits_configuring_and_can_be_cancelled_meanwhile(tmp_path):
    async def what(world):
        world.hold = True
        job = await world.batch("echo never\n", "-t", "10")
        await world.until(lambda: world.job_is(job, "CF"))
        assert (await world.states())["k1"] == "mix#"
        shown = await world.out("scontrol", "show", "job", job)
        assert "JobState=CONFIGURING" in shown
        submitted, start = (
            datetime.fromisoformat(re.search(rf"{key}Time=(\S+)", shown)[1]) for key in ("Submit", "Start")
        )
        assert 115 <= (start - submitted).total_seconds() <= 300  # no bring-up has been measured yet
        await world.out("scancel", job)
        await world.until(lambda: world.ended_as(job, "CANCELLED"))
        assert (await world.states())["k1"] == "idle#"
        world.hold = False
        await world.until(lambda: world.node_is("k1", "idle"))

    WarmWorld(tmp_path).play(what)


def test_a_controller_that_was_killed_finds_its_nodes_and_their_jobs(tmp_path):
    async def what(world):
        job = await world.batch("echo begun\nwhile [ ! -e go ]; do sleep 0.05; done\necho done\n", "-o", "j.out")
        out = world.project / "j.out"
        await world.until(lambda: out.exists() and out.read_text() == "begun\n")
        await world.kill_controller()
        (world.project / "go").touch()
        await world.until(lambda: out.read_text() == "begun\ndone\n")
        await world.until(lambda: world.ended_as(job, "COMPLETED"))
        assert (await world.states())["k1"] == "idle"
        assert len(world.server.jobs) == 1
        busy = _busy_since(await world.out("scontrol", "show", "node", "k1"))
        await world.out("slurmsky", "stop")
        assert _busy_since(await world.out("scontrol", "show", "node", "k1")) == busy

    WarmWorld(tmp_path).play(what)


def _busy_since(shown: str) -> str:
    return re.search(r"LastBusyTime=(20\S+)", shown)[1]


def test_jobs_of_a_lost_node_are_requeued_and_it_comes_up_again(tmp_path):
    async def what(world):
        job = await world.batch(
            'echo $SLURM_RESTART_COUNT >>runs\n[ -n "$SLURM_RESTART_COUNT" ] || sleep 600\n', "--requeue"
        )
        await world.until(lambda: (world.project / "runs").exists())
        alone = await world.batch("sleep 600\n", "--no-requeue")
        await world.until(lambda: world.are_running(alone))
        world.lose(1)
        await world.until(lambda: world.ended_as(alone, "NODE_FAIL"))
        await world.until(lambda: world.ended_as(job, "COMPLETED"))
        assert (world.project / "runs").read_text() == "\n1\n"
        assert len(world.server.jobs) == 2

    WarmWorld(tmp_path).play(what)


def test_a_node_that_receives_sigterm_starts_no_further_job(tmp_path):
    async def what(world):
        job = await world.batch(
            'echo ${SLURM_RESTART_COUNT:-0} >>runs\n[ -n "$SLURM_RESTART_COUNT" ] || sleep 600\n', "--requeue", "-t9"
        )
        await world.until(lambda: (world.project / "runs").exists())
        world.machines.stop(1, signal.SIGTERM)  # as scancel of the allocation under it
        await world.until(lambda: world.ended_as(job, "COMPLETED"))
        assert (world.project / "runs").read_text() == "0\n1\n" and len(world.server.jobs) == 2
        first, second = (await world.out("sacct", "-nXDP", "-j", job, "-o", "State,ElapsedRaw")).splitlines()
        state, seconds = first.split("|")
        assert state == "NODE_FAIL" and int(seconds) < 60 and second.startswith("COMPLETED|")

    WarmWorld(tmp_path).play(what)


def test_a_script_that_receives_sigterm_before_its_node_is_requeued(tmp_path):
    async def what(world):
        job = await world.batch(
            'echo ${SLURM_RESTART_COUNT:-0} >>runs\n[ -n "$SLURM_RESTART_COUNT" ] && exit\n'
            f"while [ ! -e {world.project}/go ]; do sleep 0.02; done\nkill -TERM $$\n",
            *("--requeue", "-t9"),
        )
        await world.until(lambda: (world.project / "runs").exists())
        (world.project / "go").touch()
        await asyncio.sleep(0.3)
        world.machines.stop(1, signal.SIGTERM)
        await world.until(lambda: world.ended_as(job, "COMPLETED"))
        assert (world.project / "runs").read_text() == "0\n1\n"
        assert "NODE_FAIL" in await world.out("sacct", "-nXDP", "-j", job, "-o", "State")

    WarmWorld(tmp_path).play(what)


def test_requests_to_a_node_wait_until_it_is_connected_again(tmp_path):
    async def what(world):
        ssh = world.tools / "ssh"

        job = await world.batch("trap 'touch got' USR1\ntouch begun\nwhile :; do sleep 0.05; done\n", "--no-requeue")
        await world.until(lambda: (world.project / "begun").exists())
        ssh.rename(ssh.with_suffix(".away"))
        world.kill_tunnels()
        await world.until(lambda: world.node_is("k1", "mix*"))
        await world.out("scancel", "-b", "-s", "USR1", job)
        requested = asyncio.ensure_future(world.run("srun", "--jobid", job, "--overlap", "echo", "back"))
        await asyncio.sleep(0.2)
        assert not requested.done()
        ssh.with_suffix(".away").rename(ssh)
        assert (await requested).stdout == "back\n"
        assert (world.project / "got").exists()

    WarmWorld(tmp_path, tunnel=True).play(what)


def test_an_agent_that_was_killed_is_replaced_and_its_jobs_fail(tmp_path):
    async def what(world):
        job = await world.batch("echo $$ >pid\nsleep 600\n", "--no-requeue")
        await world.until(lambda: (world.project / "pid").exists())
        world.kill_agents()
        await world.until(lambda: world.ended_as(job, "NODE_FAIL"))
        await world.batch("echo again\n", "-o", "again.out", "--wait")
        assert (world.project / "again.out").read_text() == "again\n"
        assert len(world.server.jobs) == 1

    WarmWorld(tmp_path).play(what)


def test_a_folder_that_nodes_do_not_share_is_copied_by_content_and_returns(tmp_path):
    async def what(world):
        (world.project / "sub").mkdir()
        (world.project / "sub" / "data").write_bytes(bytes(range(256)) * 10000)
        (world.project / "link").symlink_to("sub/data")
        script = """echo live
srun -o step.out sh -c 'echo step; while [ ! -e /tmp/go-%d ]; do sleep 0.05; done; echo over'; sort -o step.out step.out
md5sum <link >sum; cp sub/data copy; printf 'tail without newline' """ % os.getpid()
        job = await world.batch(script, "-o", "live.out")
        live = world.project / "live.out"
        await world.until(lambda: live.exists() and live.read_text() == "live\n")
        step = world.project / "step.out"
        await world.until(lambda: step.exists() and step.read_text() == "step\n")
        go = Path("/tmp/go-%d" % os.getpid())
        go.touch()
        await world.until(lambda: world.ended_as(job, "COMPLETED"))
        assert live.read_text() == "live\ntail without newline"
        assert step.read_text() == "over\nstep\n"
        assert (world.project / "copy").read_bytes() == (world.project / "sub" / "data").read_bytes()
        wanted = hashlib.md5((world.project / "link").read_bytes()).hexdigest()
        assert (world.project / "sum").read_text().split()[0] == wanted
        go.unlink()
        (world.project / "sub" / "data").write_text("new")
        (world.project / "sum").unlink()
        live.unlink()
        await world.batch("cat link; ls", "-o", "second.out", "--wait")
        shown = (world.project / "second.out").read_text().split()
        assert shown == ["newcopy", "job.sh", "link", "second.out", "step.out", "sub"]
        await world.batch("echo a; sleep 0.$SLURM_ARRAY_TASK_ID; echo b\n", "-a", "1-4", "-o", "e%a.out", "--wait")
        made = {path.name: path.read_text() for path in world.project.glob("*.out*")}
        assert made == {
            "second.out": "newcopy\njob.sh\nlink\nsecond.out\nstep.out\nsub\n",
            "step.out": "over\nstep\n",
            **{f"e{index}.out": "a\nb\n" for index in range(1, 5)},
        }
        await world.kill_controller()
        out = await world.out("srun", "bash", "-c", "cat link; echo $PWD; echo made >made")
        assert out == f"new{world.project}\n"
        assert (world.project / "made").read_text() == "made\n"
        await _above(world)

    WarmWorld(tmp_path, hide=True).play(what)


async def _above(world):
    """A folder above the submit folder that the script names is copied in its place, and contains it."""
    whole, world.project = world.project, world.project / "jobs"
    world.project.mkdir()
    (whole / "data.txt").write_text("hi\n")
    (whole / ".skyignore").write_text("large\n")
    (whole / "large").touch()
    await world.batch("pwd; echo one >made", "-o", "alone.out", "--wait")
    assert (world.project / "alone.out").read_text() == f"{world.project}\n"
    script = "cat made ../data.txt; ls ..; mkdir -p ../new; echo new >../new/x; echo two >made\n"
    await world.batch(script + "srun -o step.out echo step\n", "-o", "above.out", "--wait")
    shown = (world.project / "above.out").read_text().split()
    assert shown[:2] == ["one", "hi"] and "jobs" in shown and "large" not in shown
    assert (whole / "new" / "x").read_text() == "new\n" and (world.project / "made").read_text() == "two\n"
    assert (world.project / "step.out").read_text() == "step\n" and (whole / "large").exists()
    (world.project / "made").write_text("one\n")  # the content that the copy of the submit folder received
    await world.batch("cat made", "-o", "alone.out", "--wait")
    assert (world.project / "alone.out").read_text() == "one\n"


def test_jobs_start_on_nodes_that_are_up_while_the_api_server_is_unreachable(tmp_path):
    async def what(world):
        await world.batch("true\n", "--wait")
        world.server.fault = lambda path: (503, "text/plain", b"restarting")
        await world.batch("echo here\n", "-o", "here.out", "--wait")
        assert (world.project / "here.out").read_text() == "here\n"
        job = await world.batch("echo later\n", "-N2", "-o", "later.out", "-w", "k[2-3]")
        await world.until(lambda: _says(world, job, "waiting for SkyPilot"))
        world.server.fault = lambda path: None
        await world.until(lambda: world.ended_as(job, "COMPLETED"))
        assert (world.project / "later.out").read_text() == "later\n"

    WarmWorld(tmp_path).play(what)


async def _says(world, job, text):
    return text in await world.out("scontrol", "show", "job", job)


def test_a_node_that_cannot_be_started_is_down_with_the_reason(tmp_path):
    async def what(world):
        world.hold = True
        job = await world.batch("true\n", "-w", "k1")
        await world.until(lambda: world.node_is("k1", "down~"))
        assert "Reason=ResumeTimeout reached" in await world.out("scontrol", "show", "node", "k1")
        assert (await world.out("squeue", "-h", "-j", job, "-o", "%t")).strip() == "PD"
        await world.until(lambda: world.clusters == [])
        world.hold = False
        await world.out("scontrol", "update", "NodeName=k1", "State=RESUME")
        await world.until(lambda: world.ended_as(job, "COMPLETED"))

    WarmWorld(tmp_path, SITE + "resume_timeout = 15\n").play(what)


def test_jobs_cost_their_share_and_idle_time_is_the_partitions(tmp_path):
    async def what(world):
        world.server.prices = PRICES
        world.server.place = {"infra": "AWS (us-east-1)", "resources_str": "1x(m6i.large)"}
        job = await world.batch("sleep 2\n", "-n4", "--wait")
        shown = await world.out("scontrol", "show", "node", "k1")
        cluster = world.server.jobs[0].name
        assert f"InstanceId={cluster} InstanceType=AWS (us-east-1) 1x(m6i.large), $3600.00/h " in shown
        assert re.search(r"NodeAddr=127\.0\.1\.1 NodeHostName=foreign Port=\d+ ", shown), shown
        assert re.search(r"BootTime=20\S+ SlurmdStartTime=20", shown), shown
        cost = float(await world.out("sacct", "-nXP", "-o", "Cost", "-j", job))
        assert 1.0 <= cost <= 3.0, cost  # half of a dollar a second
        await asyncio.sleep(1)
        row = (await world.out("sreport", "-nP", "cost", "byPartition")).strip().split("|")
        assert row[1] == "kept" and float(row[-2]) == pytest.approx(cost, abs=0.01)
        assert float(row[-1]) > 2.0, row
        assert (await world.out("sreport", "-nP", "cost", "byUser", "format=Idle")).strip() == "0.0000"
        poor = await world.batch("true\n", "-A", "poor", "-t9")

        async def waits() -> bool:
            return await world.out("squeue", "-h", "-j", poor, "-o", "%r") == "AssocGrpBilling\n"

        await world.until(waits)

    budget = '[[budget]]\naccount = "poor"\nhourly = 100\n'  # a CPU costs 450
    WarmWorld(tmp_path, SITE + budget).play(what)


def test_a_node_with_an_outdated_agent_is_replaced(tmp_path):
    async def what(world):
        bring = world.machines.bring

        def older(job, home):
            bring(job, home)
            if job.job_id == 1:
                for path in home.glob(".slurmsky/*/*.pyz"):
                    _replace(path, "slurmsky/agent/job/version.py", b"NUMBER = ", b"NUMBER = 1")
                    path.with_suffix("").unlink()

        world.machines.bring = older
        await world.batch("echo done\n", "-o", "done.out", "--wait")
        assert (world.project / "done.out").read_text() == "done\n"
        await world.until(lambda: world.clusters == [world.server.jobs[1].name])

    WarmWorld(tmp_path).play(what)


def _replace(archive, member, old, new):
    """Replace bytes of a member of a zip file."""
    with zipfile.ZipFile(archive) as file:
        members = {name: file.read(name) for name in file.namelist()}
    start = archive.read_bytes().split(b"PK")[0]
    assert old in members[member]
    members[member] = members[member].replace(old, new)
    with archive.open("wb") as raw:
        raw.write(start)
        with zipfile.ZipFile(raw, "w") as file:
            for name, data in members.items():
                file.writestr(name, data)
