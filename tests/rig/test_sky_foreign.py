"""A managed job without sbatch on the real SkyPilot: listed, cancelled and charged."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from on_skypilot import BUDGET, PATIENCE_S, SITE, Nodes, requested, wait

from slurmsky.engines.sky.api import api_server
from slurmsky.engines.sky.api.api_client import Client
from slurmsky.site import load

pytestmark = [pytest.mark.rig, pytest.mark.timeout(1500)]


def test_a_job_that_sbatch_did_not_launch(rig: Path, tmp_path: Path, nodes: Nodes) -> None:
    client: Client = api_server.connect(os.environ, load(SITE + BUDGET, "site.toml"), "root")
    name = f"elsewhere-{nodes.kind}-{os.getpid()}"
    size = {"infra": "slurm/oracle/debug", "cpus": "1+", "memory": "1+"}
    task = {"name": name, "resources": size, "run": "sleep 900"}
    (managed,) = requested(client, client.launch(json.dumps(task), name))
    try:
        with nodes.commands(tmp_path, BUDGET) as engine:
            job = str(60_000_000 + managed)
            # Held before anything is launched: the optimizer says that an hour costs more.
            held = engine.run(["sbatch", "--parsable", "-A", "poor", "-t", "10", "--wrap", "true"], cwd=rig)
            poor = held.stdout.strip()
            wait(engine, ["squeue", "-h", "-j", job, "-o", "%T"], {"RUNNING"})
            row = engine.run(["squeue", "-h", "-j", job, "-o", "%i %P %j %T %D"]).stdout
            assert row == f"{job} debug {name} RUNNING 1\n"
            assert "SkyPilot managed job" in engine.run(["scontrol", "show", "job", job]).stdout
            wait(engine, ["squeue", "-h", "-j", poor, "-o", "%r"], {"AssocGrpBilling"})
            assert engine.run(["scancel", poor, job]).returncode == 0
            assert wait(engine, ["squeue", "-h", "-j", job, "-o", "%T", "-t", "all"], {"COMPLETING", "CANCELLED"})
            deadline = time.monotonic() + PATIENCE_S
            while True:
                row = engine.run(["sacct", "-nXPj", job, "-o", "jobname,partition,nnodes,state,cost"]).stdout.strip()
                *known, state, cost = row.split("|")
                if float(cost) > 0 and not engine.run(["squeue", "-h", "-j", job]).stdout:
                    break
                assert time.monotonic() < deadline, row
                time.sleep(2)
            assert (known, state.split(" ")[0]) == ([name, "debug", "1"], "CANCELLED")
            spent = engine.run(["sreport", "-nP", "cost", "bypartition", "format=partition,cost"]).stdout
            sums = dict(row.split("|") for row in spent.split())  # of all that ran on the rig, this job among it
            assert float(sums["debug"]) > 0, spent
    finally:
        requested(client, client.cancel([managed]))
