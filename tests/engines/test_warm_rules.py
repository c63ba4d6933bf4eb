"""Jobs on warm nodes: steps, signals, files, and scheduling.

The rules are those of one machine's nodes.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from warm_world import BIN, SITE, WarmWorld, namespaces_work

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not namespaces_work(), reason="needs namespaces"),
]

GPU = """
[[partition]]
name = "gpu"
infra = ["kubernetes/x"]
nodes = "g[1-2]"
shape = { cpus = 8, memory = 16, gpus = "H100:4" }
"""
#: two steps; the first one ends by a signal, the second one and the script when the file exists on the node
STEPS = """trap 'echo signalled' USR1
echo begun
srun -n1 --exact sh -c 'echo first; exec sleep 600' &
while [ "$(squeue -hs -j $SLURM_JOB_ID -o %i | grep -c '[.]0')" = 0 ]; do sleep 0.1; done
srun -n2 --exact -o step.out sh -c 'while [ ! -e go ]; do echo tick; sleep 0.1; done' &
while [ ! -e go ]; do sleep 0.1; done
wait
echo over
"""


async def _rows(world: WarmWorld, *jobs: str) -> dict[str, str]:
    """State, nodes and reason of the jobs that squeue shows, by job."""
    shown = await world.out("squeue", "-h", "-o", "%i %t %N %r")
    rows = {line.split(" ", 1)[0]: line.split(" ", 1)[1] for line in shown.splitlines()}
    return {job: rows.get(job, "over") for job in jobs}


async def _until(world: WarmWorld, **rows: str) -> None:
    """Wait until squeue shows these rows; a keyword is j and the job's id."""

    async def shown() -> bool:
        return await _rows(world, *(job[1:] for job in rows)) == {job[1:]: row for job, row in rows.items()}

    await world.until(shown)


@pytest.mark.parametrize("hide", [False, True], ids=["shared", "apart"])
def test_steps_signals_suspension_and_broadcasts(tmp_path, hide):
    async def what(world):
        out = world.project / "j.out"

        async def steps() -> bool:
            return set((await world.out("squeue", "-hs", "-o", "%i")).split()) == {"1.0", "1.1", "1.batch"}

        assert await world.batch(STEPS, "-n4", "-t5", "-o", "j.out") == "1"
        await world.until(steps)
        inside = await world.out("srun", "--jobid=1", "--overlap", "sh", "-c", "echo $SLURM_JOB_ID $PWD; ls job.sh")
        assert inside == f"1 {world.project}\njob.sh\n"
        measured = await world.out("sstat", "-nP", "-j", "1.1", "-o", "JobID,NTasks,Nodelist")
        assert measured == "1.1|2|k1\n"
        attached = await asyncio.create_subprocess_exec(
            BIN / "sattach",
            "1.0",
            env=world.engine.env,
            cwd=world.project,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert await attached.stdout.readline() == b"first\n"
        await world.out("scancel", "-b", "-s", "USR1", "1")
        await world.until(lambda: "signalled" in out.read_text())
        await world.out("scontrol", "suspend", "1")
        await _until(world, j1="S k1 None")
        length = (world.project / "step.out").stat().st_size
        assert (await world.out("squeue", "-h", "-o", "%T")) == "SUSPENDED\n"
        await world.out("scontrol", "resume", "1")
        await _until(world, j1="R k1 None")
        await world.until(lambda: (world.project / "step.out").stat().st_size > length)
        await world.out("scancel", "-s", "KILL", "1.0")
        await attached.communicate()
        await world.out("srun", "--jobid=1", "--overlap", "touch", "go")
        await _until(world, j1="over")
        lines = out.read_text().splitlines()
        assert lines[0] == "begun" and lines[-1] == "over" and "first" in lines
        assert set((world.project / "step.out").read_text().split()) == {"tick"}
        kept = await world.out("sacct", "-nP", "-j", "1", "-o", "JobID,State,ExitCode")
        assert re.search(r"1\|COMPLETED\|0:0\n(.*\n)*1.0\|CANCELLED.*\|0:9\n1.1\|COMPLETED\|0:0\n", kept), kept

        (world.project / "data").write_bytes(b"x" * 70000)
        script = 'sbcast -f data "$0"; srun sh -c "wc -c <$0"'
        copied = await world.out("salloc", "-N2", "-Q", "sh", "-c", script, str(tmp_path / "copy"))
        assert copied.split() == ["70000", "70000"]
        typed = await world.out("script", "-qec", "srun --pty sh -c 'tty; cat'", "/dev/null", stdin="typed\n\x04")
        assert "/dev/pts/" in typed and "typed" in typed
        done = await world.run("salloc", "-Q", "sh", "-c", "srun -l echo hi; exit 3")
        assert (done.returncode, done.stdout) == (3, "0: hi\n")
        done = await world.run("srun", "sh", "-c", "cat; echo err >&2; exit 7", stdin="piped\n")
        assert (done.returncode, done.stdout) == (7, "piped\n") and done.stderr.startswith("err\n")

    WarmWorld(tmp_path, hide=hide, tunnel=hide).play(what)


def test_devices_features_licences_reservations_and_limits(tmp_path):
    async def what(world):
        async def holds(*options: str) -> str:
            return await world.batch("while [ ! -e $SLURM_JOB_ID ]; do sleep 0.1; done; env >$SLURM_JOB_ID\n", *options)

        async def ends(*jobs: str) -> None:
            for job in jobs:
                (world.project / job).touch()
            await _until(world, **{f"j{job}": "over" for job in jobs})

        first, second = [await holds("-pgpu", "-wg1", "--gpus=2") for _ in range(2)]
        third = await holds("-pgpu", "-wg1", "--gpus=1")
        await _until(world, **{f"j{first}": "R g1 None", f"j{second}": "R g1 None", f"j{third}": "PD  Resources"})
        await ends(first)
        await _until(world, **{f"j{third}": "R g1 None"})
        await ends(second, third)
        devices = [
            re.search(r"^CUDA_VISIBLE_DEVICES=(.*)", (world.project / job).read_text(), re.M) for job in (first, second)
        ]
        assert [found and found[1] for found in devices] == ["0,1", "2,3"]
        refused = await world.run("sbatch", "-C", "none", "job.sh")
        assert refused.returncode == 1 and "Invalid feature specification" in refused.stderr

        both, one = await holds("-L", "lic:2", "-C", "cloud"), await holds("-L", "lic:1")
        await _until(world, **{f"j{both}": "R k1 None", f"j{one}": "PD  Licenses"})
        assert "Used=2 Free=0" in await world.out("scontrol", "show", "lic")
        await ends(both)
        await ends(one)

        words = ["ReservationName=r", "StartTime=now", "Duration=60", "Nodes=k1", "Users=root,daemon"]
        await world.out("scontrol", "create", "reservation", *words)
        assert (await world.states())["k1"] == "resv"
        outside, inside = await holds("-wk1"), await holds("-wk1", "--reservation=r")
        await _until(world, **{f"j{inside}": "R k1 None"})
        assert (await _rows(world, outside))[outside].startswith("PD  ReqNodeNotAvail")
        await ends(inside)
        await world.out("scontrol", "delete", "ReservationName=r")
        await ends(outside)

        await world.out("sacctmgr", "-i", "add", "qos", "tiny", "MaxJobsPerUser=1")
        account = (await world.out("sacctmgr", "-nP", "show", "user", "format=DefaultAccount")).split()[0]
        await world.out("sacctmgr", "-i", "modify", "account", account, "set", "GrpTRES=cpu=6")
        small, next_ = await holds("--qos=tiny"), await holds("--qos=tiny")
        large, larger = await holds("-n4"), await holds("-n4")
        await _until(world, **{
            f"j{small}": "R k1 None", f"j{next_}": "PD  QOSMaxJobsPerUserLimit", f"j{large}": "R k1 None",
            f"j{larger}": "PD  AssocGrpCpuLimit",
        })  # fmt: skip
        await ends(small)
        await ends(large)
        await ends(next_, larger)

    WarmWorld(tmp_path, SITE.replace("[limits]", "licenses = { lic = 2 }\n[limits]") + GPU).play(what)


def _seconds(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S").timestamp()


def test_a_planned_job_keeps_its_nodes_and_shorter_jobs_are_backfilled(tmp_path):
    async def what(world):
        await world.out("srun", "-N2", "true")
        notices = (await world.run("sbatch", "--test-only", "-N3", "-t9", "--wrap", "true")).stderr
        assert "using 3 processors on nodes" in notices
        assert (
            int(re.search(r"they must be powered up, which takes about (\d+) s", notices)[1]) < 100
        )  # as the first time
        first = await world.batch("sleep 600\n", "-wk1", "-t10", "--exclusive")
        await _until(world, **{f"j{first}": "R k1 None"})
        large = await world.batch("srun hostname >hosts\n", "-N3", "-t9", "--exclusive")
        await _until(world, **{f"j{large}": "PD  Resources"})
        start, nodes = (await world.out("squeue", "-h", "--start", "-j", large, "-o", "%S %D")).split()
        began = _seconds((await world.out("squeue", "-h", "-j", first, "-o", "%S")).strip())
        assert nodes == "3" and began + 600 <= _seconds(start) <= began + 900  # after the first one's limit
        late = await world.batch("true\n", "--exclusive", "-t60")  # would keep a node of the two that came together
        short = await world.batch("true\n", "--exclusive", "-t1", "--wait")
        await _until(world, **{f"j{short}": "over", f"j{late}": "PD  Priority", f"j{large}": "PD  Resources"})
        await world.out("scancel", first)
        await _until(world, **{f"j{late}": "over", f"j{large}": "over"})
        assert len((world.project / "hosts").read_text().split()) == 3
        orders = [job.task.get("num_nodes", 1) for job in world.server.jobs]
        assert orders[0] == 2 and 3 in orders  # neighbours: all three were started by one order

    WarmWorld(tmp_path).play(what)


def test_idle_nodes_power_down_for_a_job_of_another_partition_that_names_them(tmp_path):
    async def what(world):
        await world.out("srun", "-N1", "true")
        out = await world.out("srun", "-p", "short", "-N3", "sh", "-c", "echo $SLURM_JOB_PARTITION")
        assert out.split() == ["short"] * 3
        assert world.server.jobs[1].task["num_nodes"] == 3

    WarmWorld(tmp_path, SITE + '[[partition]]\nname = "short"\nnodes = "k[1-3]"\nmax_time = 10\n').play(what)


HET = """#SBATCH --exclusive -N{0}
#SBATCH hetjob
#SBATCH --exclusive -N{0}
srun --het-group=0,1 sh -c 'echo $SLURMD_NODENAME' >nodes
"""


def test_the_components_of_a_het_job_start_on_nodes_that_reach_each_other(tmp_path):
    async def what(world):
        async def idle() -> bool:
            return (await world.states())["k1"] == "idle"

        await world.until(idle)
        for count in (1, 2):
            await world.batch(HET.format(count), "--wait", "-t5")
            assert len(set((world.project / "nodes").read_text().split())) == 2 * count
        assert [job.task.get("num_nodes", 1) for job in world.server.jobs][:3] == [1, 2, 4]

    WarmWorld(tmp_path, SITE + "keep_up = 1\n").play(what)


@pytest.mark.parametrize("number", [1, 2], ids=["first", "second"])
def test_a_job_ends_when_one_of_its_nodes_is_lost_with_its_files(tmp_path, number):
    async def what(world):
        for node in ("k1", "k2"):  # one after the other: clusters 1 and 2
            await world.out("scontrol", "update", f"NodeName={node}", "State=POWER_UP")

            async def idle(node: str = node) -> bool:
                return (await world.states())[node] == "idle"

            await world.until(idle)
        job = await world.batch("echo begun\nsrun sleep 600\n", "-wk[1-2]", "-N2", "--no-requeue", "-o", "j.out")
        await world.until(
            lambda: (world.project / "j.out").exists() and "begun" in (world.project / "j.out").read_text()
        )
        world.lose(number)
        await _until(world, **{f"j{job}": "over"})
        assert (await world.out("sacct", "-nXP", "-j", job, "-o", "State")) == "NODE_FAIL\n"
        assert f"k{number}" in (await world.out("sacct", "-nXP", "-j", job, "-o", "SystemComment"))

    WarmWorld(tmp_path, hide=True).play(what)


UNAVAILABLE = """engine = "sky"
[[partition]]
name = "large"
nodes = "l[1-2]"
shape = { cpus = 8, memory = 16 }
[[partition]]
name = "dev"
nodes = "d1"
cluster = "dev"
"""


def test_site_check_prints_the_line_of_a_shape_that_no_infra_has_and_of_a_cluster_that_does_not_exist(tmp_path):
    async def what(world):
        file = world.project / "other.toml"
        file.write_text(UNAVAILABLE)
        world.server.refuse = "no resources satisfy the request"
        done = await world.run("slurmsky", "site", "check", "other.toml")
        assert done.returncode == 1
        assert f"{file}:5:1: partition large: no infra has such nodes: no resources satisfy the request" in done.stdout
        assert f"{file}:9:1: partition dev: SkyPilot has no cluster dev (sky status)" in done.stdout

    WarmWorld(tmp_path).play(what)
