"""An existing cluster of the real SkyPilot as a partition, and the notice that a warm node is taken."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from kills import agents
from on_skypilot import BIN, PATIENCE_S, SKY_BIN, LocalEngine, WarmEngine, clusters, commands, wait

from slurmsky.agent.cloud import spot_notice

pytestmark = [pytest.mark.rig, pytest.mark.timeout(1500)]
EXISTING = """
[[partition]]
name = "dev"
nodes = "d1"
cluster = "{name}"
[sky]
reach = "ssh"
start_server = false
"""
PATH = f"{BIN}:{SKY_BIN}:/usr/local/bin:/usr/bin:/bin"
#: saves its state when it gets SIGTERM, and has ended well when it runs again
SAVES = """#!/bin/bash
[ -z "$SLURM_RESTART_COUNT" ] || { cat saved; exit; }
trap 'echo saved >saved; exit 1' TERM
touch begun
while :; do sleep 0.1; done
"""


def sky(*words: str) -> None:
    env = {**os.environ, "PATH": f"{SKY_BIN}:{os.environ['PATH']}"}
    done = subprocess.run([SKY_BIN / "sky", *words], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def eventually(engine: LocalEngine, command: list[str], pattern: str) -> str:
    """The first match of a pattern in a command's output."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := re.search(pattern, engine.run(command).stdout)):
        assert time.monotonic() < deadline, (command, engine.run(command))
        time.sleep(1)
    return found[0]


def test_an_existing_cluster_has_its_price_and_one_user_and_stays(rig: Path, tmp_path: Path) -> None:
    name = f"mine-{os.getpid()}"
    sky("launch", "-y", "-c", name, "--infra", "slurm/oracle/debug", "--cpus", "2", "--memory", "0.5", "true")
    try:
        mine, hers, work = tmp_path / "mine", tmp_path / "hers", rig / "dev"
        for folder in (mine, hers, work):
            folder.mkdir()
        site = EXISTING.format(name=name)
        with commands(mine, site, PATH=PATH) as one, commands(hers, site, PATH=PATH, LOGNAME="ada") as two:
            done = one.run(["srun", "-p", "dev", "sh", "-c", "echo hello >made; nproc"], cwd=work, limit_s=PATIENCE_S)
            assert (done.returncode, done.stdout) == (0, "2\n") and (work / "made").read_text() == "hello\n", done
            price = eventually(one, ["scontrol", "show", "node", "d1"], r"\$[\d.]+/h")
            assert float(re.sub(r"[^\d.]", "", price)) > 0
            reasons = ["sinfo", "-R", "-h", "-p", "dev", "-o", "%80E"]
            eventually(two, reasons, rf"cluster {name} is in use by \S+ \(ExclusiveUser\)")
            assert one.run(["scontrol", "update", "NodeName=d1", "State=POWER_DOWN_FORCE"]).returncode == 0
            assert one.run(["srun", "-p", "dev", "true"], cwd=work, limit_s=PATIENCE_S).returncode == 0
        assert name in clusters()
    finally:
        sky("down", "-y", name)


@pytest.mark.parametrize("kind", ["kept"])
def test_a_job_saves_its_state_when_its_node_is_taken(kind: str, kept: WarmEngine, rig: Path) -> None:
    work, engine = rig / f"notice-{kind}", kept.engine
    work.mkdir()
    (work / "job.sh").write_text(SAVES)
    command = ["sbatch", "--parsable", "--requeue", "-p", "apart", "-o", "out", "job.sh"]
    job = engine.run(command, cwd=work).stdout.strip()
    wait(engine, ["squeue", "-h", "-j", job, "-o", "%T"], {"RUNNING"})
    order = re.search(r"InstanceId=(\S+)", engine.run(["scontrol", "show", "node", "t1"]).stdout)
    assert order is not None
    # SkyPilot has no spot machines on a Slurm infra, so the test does what the pilot does at a cloud's notice.
    (agent,) = agents([order[1]])
    arguments = Path(f"/proc/{agent}/cmdline").read_text().split("\0")
    notice = spot_notice.Notice(time.time() + 60, "AWS")
    notice.write(str(Path(arguments[arguments.index("--home") + 1]) / spot_notice.FILE))
    os.kill(agent, signal.SIGTERM)
    assert wait(engine, ["sacct", "-nXj", job, "-o", "State"], {"COMPLETED"})
    assert (work / "out").read_text().splitlines()[-1] == "saved"
    assert "NODE_FAIL" in engine.run(["sacct", "-nXDj", job, "-o", "State%20"]).stdout
    kept.wait_for_clusters(kept.clusters_in_use())
