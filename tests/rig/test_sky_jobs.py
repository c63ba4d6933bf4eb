"""Batch jobs on the real SkyPilot, as managed jobs and on warm nodes, by the commands.

Nodes take SkyPilot about a minute, so the jobs run side by side, once, and the tests look at what came out. Two jobs
wait for nodes at a time: on two cores, more launches keep SkyPilot's processes beyond its own time limits.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from on_skypilot import LIMITS, PATIENCE_S, LocalEngine, Nodes

pytestmark = [pytest.mark.rig, pytest.mark.timeout(1500)]
WAITING = {"PENDING", "CONFIGURING"}
LIVE = WAITING | {"RUNNING", "COMPLETING"}
LAUNCHES = 2

OUTPUT = r"""#!/bin/bash
cat data.txt
printf part; sleep 1; printf ' done\n10%%\r20%%\r\n\xff\x00'
echo err >&2
head -c 100000 /dev/zero | tr '\0' x
printf '\nend'
env | sort > env.txt; echo more >> old.txt; mkdir sub; echo y > sub/y; chmod 750 sub/y
exit 5
"""
TWO = r"""#!/bin/bash
scontrol show hostnames
srun -l sh -c 'cat data.txt; echo $SLURM_PROCID > out.$SLURM_PROCID' | sort
"""
SIGNAL = "#!/bin/bash\nkill -9 $$\n"
LIMIT = "#!/bin/bash\ntrap 'echo usr1' USR1\nfor i in `seq 600`; do sleep 0.5; done\n"
CANCEL = "#!/bin/bash\ntrap 'echo trapped; exit 0' TERM\necho here; for i in `seq 6000`; do sleep 0.5; done\n"
#: name -> script and options
JOBS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "nodes": (TWO, ("-N2", "-n2")),
    "output": (OUTPUT, ()),
    "signal": (SIGNAL, ()),
    "limit": (LIMIT, ("-t", "1", "--signal=B:USR1@50")),
    "cancel": (CANCEL, ()),
    "early": (CANCEL, ()),
}


@dataclass
class Ran:
    """One job and its results."""

    folder: Path
    job_id: str
    seen: list[str] = field(default_factory=list)  # its states, in order
    state: str = ""
    exit_code: str = ""
    nodes: str = ""
    elapsed_s: int = 0
    started: bool = False

    @property
    def out(self) -> bytes:
        path = self.folder / f"slurm-{self.job_id}.out"
        return path.read_bytes() if path.exists() else b""


def submit(engine: LocalEngine, home: Path, name: str) -> Ran:
    script, options = JOBS[name]
    folder = home / name
    folder.mkdir(parents=True)
    (folder / "data.txt").write_text("hi\n")
    (folder / "old.txt").write_text("old\n")
    (folder / "job.sh").write_text(script)
    done = engine.run(["sbatch", "--parsable", "-J", name, *options, "job.sh"], cwd=folder, env={"FOO": "b a r"})
    assert done.returncode == 0, done.stderr
    return Ran(folder, done.stdout.strip())


def run_all(home: Path, site: Path, nodes: Nodes) -> dict[str, Ran]:
    site.mkdir()
    with nodes.commands(site, LIMITS) as engine:
        jobs: dict[str, Ran] = {}
        states: dict[str, str] = {}
        later, cancelled = list(JOBS), False
        deadline = time.monotonic() + PATIENCE_S
        while later or LIVE & set(states.values()):
            if later and sum(state in WAITING for state in states.values()) < LAUNCHES:
                name = later.pop(0)
                jobs[name] = submit(engine, home, name)
                if name == "early":
                    engine.run(["scancel", jobs[name].job_id])
            ids = ",".join(job.job_id for job in jobs.values())
            shown = engine.run(["squeue", "-h", "-t", "all", "-j", ids, "-o", "%j %T"]).stdout.splitlines()
            states = dict(line.split() for line in shown)
            for name, state in states.items():
                if jobs[name].seen[-1:] != [state]:
                    jobs[name].seen.append(state)
            if not cancelled and states.get("cancel") == "RUNNING" and jobs["cancel"].out:
                engine.run(["scancel", jobs["cancel"].job_id])
                cancelled = True
            assert time.monotonic() < deadline, states
            time.sleep(0.5)
        fields = "jobname,state,exitcode,nodelist,elapsedraw,start"
        for row in engine.run(["sacct", "-nXP", "-j", ids, "-o", fields]).stdout.splitlines():
            name, state, code, names, elapsed, start = row.split("|")
            job = jobs[name]
            job.state, job.exit_code, job.nodes = state.split(" ")[0], code, names
            job.elapsed_s, job.started = int(elapsed), start not in ("Unknown", "None")
        return jobs


@pytest.fixture(scope="module")
def ran(rig, nodes, tmp_path_factory):
    return run_all(rig / nodes.kind, tmp_path_factory.mktemp("sites") / nodes.kind, nodes)


def test_bytes_exit_code_and_files(ran):
    done = ran["output"]
    assert done.out == b"hi\npart done\n10%\r20%\r\n\xff\x00err\n" + b"x" * 100000 + b"\nend"
    assert (done.state, done.exit_code) == ("FAILED", "5:0")
    assert (done.folder / "old.txt").read_text() == "old\nmore\n"
    assert (done.folder / "sub" / "y").stat().st_mode & 0o777 == 0o750


def test_the_environment(ran):
    lines = (ran["output"].folder / "env.txt").read_text().splitlines()
    env = dict(line.split("=", 1) for line in lines if "=" in line)
    assert env["FOO"] == "b a r" and env["SLURM_JOB_ID"] == ran["output"].job_id and env["SLURM_NNODES"] == "1"
    assert env["SKYPILOT_NUM_NODES"] == "1" and env["SKYPILOT_NODE_RANK"] == "0"
    assert "OMP_NUM_THREADS" not in env and "VIRTUAL_ENV" not in env and ".sky_clusters" not in env["PATH"]
    assert env["HOME"] == os.environ["HOME"]


def test_two_nodes(ran):
    lines = ran["nodes"].out.decode().splitlines()
    assert len(lines) == 4 and len(set(lines[:2])) == 2
    assert lines[2:] == ["0: hi", "1: hi"]
    assert [(ran["nodes"].folder / f"out.{rank}").read_text() for rank in (0, 1)] == ["0\n", "1\n"]
    assert ran["nodes"].state == "COMPLETED"


def test_death_by_a_signal(ran):
    assert (ran["signal"].state, ran["signal"].exit_code) == ("FAILED", "0:9")


def test_the_time_limit_and_its_warning(ran):
    done = ran["limit"]
    assert done.state == "TIMEOUT" and b"DUE TO TIME LIMIT" in done.out and done.out.startswith(b"usr1\n")
    assert 59 <= done.elapsed_s < 75


def test_cancel_while_running(ran):
    done = ran["cancel"]
    assert done.state == "CANCELLED" and done.out.startswith(b"here\n") and b"trapped" in done.out


def test_cancel_while_pending(ran):
    assert ran["early"].state == "CANCELLED" and "RUNNING" not in ran["early"].seen


def test_states_of_a_job_before_it_runs(ran, nodes):
    """A job waits until its nodes are up, and runs once.

    The loop cancels the job after it has shown RUNNING: SkyPilot may deliver the log of a short job as a whole.
    """
    first = ("PENDING", "CONFIGURING") if nodes.kept is None else ("PENDING", "CONFIGURING", "RUNNING")
    seen = ran["cancel"].seen
    assert seen[0] in first and seen.count("RUNNING") == 1 and seen[-1] == "CANCELLED"
    seen = ran["limit"].seen
    assert seen[0] in first and seen.count("RUNNING") <= 1 and seen[-1] == "TIMEOUT"
