"""Random kills of all processes around warm nodes.

No job is lost or runs twice, no cluster remains.

SLURMSKY_KILLS sets the number of kills (200 for the full test).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from warm_world import SITE, WarmWorld, namespaces_work

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not namespaces_work(), reason="needs namespaces"),
]
KILLS = int(os.environ.get("SLURMSKY_KILLS", "10"))
JOBS = min(40, KILLS + 4)
#: writes a line when it begins, and its output in parts; --no-requeue: what an agent's death ends stays ended
SCRIPT = """echo "$SLURM_JOB_ID $SLURM_RESTART_COUNT" >>{begun}
for part in 1 2 3 4 5; do echo "$SLURM_JOB_ID part $part"; sleep 0.$((RANDOM % 6)); done
"""


@pytest.mark.parametrize("hide", [False, True], ids=["shared", "apart"])
def test_no_job_is_lost_or_runs_twice_after_any_kill(tmp_path, hide):
    dice = random.Random(hash((KILLS, hide)))
    begun = tmp_path / "begun"

    async def what(world):
        async def kill() -> None:
            kind = dice.choice(["controller", "controller", "agents", "server", "tunnels"])
            if kind == "controller":
                with contextlib.suppress(ProcessLookupError):  # no command has started the next one yet
                    os.kill(await world.controller_pid(), signal.SIGKILL)
            elif kind == "tunnels":
                world.kill_tunnels()
            elif kind == "agents" and dice.random() < 0.3:
                world.kill_agents()
            elif kind == "server":
                world.server.fault = lambda path: (503, "text/plain", b"restarting")
                await asyncio.sleep(dice.random())
                world.server.fault = lambda path: None

        (world.project / "job.sh").write_text("#!/bin/bash\n" + SCRIPT.format(begun=begun))
        jobs: list[str] = []
        kills = 0
        while len(jobs) < JOBS or kills < KILLS:
            if len(jobs) < JOBS:
                done = await world.run("sbatch", "--parsable", "--no-requeue", "-o", "%j.out", "job.sh")
                if done.returncode == 0:
                    jobs.append(done.stdout.strip())
            if kills < KILLS:
                kills += 1
                await kill()
            await asyncio.sleep(dice.random() * 0.3)

        async def over() -> bool:
            done = await world.run("squeue", "-h", "-o", "%i %T %r")
            return done.returncode == 0 and not done.stdout

        try:
            await world.until(over, int(os.environ.get("SLURMSKY_PATIENCE", "240")))
        except AssertionError:
            shown = [await world.run(*words) for words in (["squeue"], ["sinfo"], ["scontrol", "show", "jobs"])]
            log = (world.engine.home / "controller.log").read_text()[-3000:]
            pytest.fail("\n".join([*(done.stdout for done in shown), log]))
        rows = (await world.out("sacct", "-nXP", "-o", "JobID,State", "-j", ",".join(jobs))).splitlines()
        states = dict(row.split("|") for row in rows)
        runs = [line.split()[0] for line in begun.read_text().splitlines()]
        assert sorted(states) == sorted(jobs)
        assert [job for job in runs if runs.count(job) > 1] == []
        for job, state in states.items():
            text = (world.project / f"{job}.out").read_text() if job in runs else ""
            whole = "".join(f"{job} part {part}\n" for part in range(1, 6))
            assert state in ("COMPLETED", "NODE_FAIL"), (job, state)
            assert text == whole if state == "COMPLETED" else whole.startswith(text.split("slurmstepd")[0]), (job, text)
        await world.out("scontrol", "update", "NodeName=k[1-4]", "State=POWER_DOWN_FORCE")
        await world.until(lambda: world.clusters == [])
        await world.until(lambda: world.tunnels() == [])  # also those of killed controllers

    WarmWorld(tmp_path, SITE, hide=hide, tunnel=hide).play(what)
