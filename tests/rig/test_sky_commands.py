"""What a user types, on the real SkyPilot: sbatch, squeue, scancel, sacct, and files that come back."""

from __future__ import annotations

from pathlib import Path

import pytest
from on_skypilot import LocalEngine, commands, wait

pytestmark = [pytest.mark.rig, pytest.mark.timeout(1500)]

NODES = """#!/bin/bash
#SBATCH -N2 -n2 -t 20 -J nodes
echo "job $SLURM_JOB_ID on $SLURM_JOB_NUM_NODES nodes"
srun -l bash -c 'echo task $SLURM_PROCID of $SLURM_NTASKS' | sort
squeue -h -j $SLURM_JOB_ID -o '%i %j %T'
echo made > result.txt
exit 3
"""


def end(engine: LocalEngine, job_id: str) -> str:
    """The job's state as sacct says it, once it is over."""
    return wait(engine, ["sacct", "-nXPj", job_id, "-o", "state"], {"FAILED", "COMPLETED", "CANCELLED"})


def test_commands(rig: Path, tmp_path: Path) -> None:
    (rig / "nodes.sh").write_text(NODES)
    with commands(tmp_path) as engine:
        said = engine.run(["sbatch", "nodes.sh"], cwd=rig)
        assert (said.stdout, said.returncode) == ("Submitted batch job 1\n", 0), said.stderr
        late = engine.run(["sbatch", "--parsable", "-d", "afterok:1", "--wrap", "true"], cwd=rig).stdout.strip()
        never = engine.run(["sbatch", "--parsable", "--wrap", "sleep 600"], cwd=rig).stdout.strip()
        refused = engine.run(["sbatch", "--gpus-per-node=a100:99", "--wrap", "true"], cwd=rig)
        assert refused.returncode == 1 and "Requested node configuration is not available" in refused.stderr
        assert engine.run(["scancel", never]).returncode == 0
        assert end(engine, "1") == "FAILED"
        rows = engine.run(["sacct", "-nPj", "1", "-o", "jobid,state,exitcode"]).stdout.split()
        assert rows == ["1|FAILED|3:0", "1.batch|FAILED|3:0", "1.0|COMPLETED|0:0"]
        output = (rig / "slurm-1.out").read_text()
        assert output == "job 1 on 2 nodes\n0: task 0 of 2\n1: task 1 of 2\n1 nodes RUNNING\n"
        assert (rig / "result.txt").read_text() == "made\n"
        assert engine.run(["squeue", "-h", "-j", late, "-o", "%r"]).stdout == "DependencyNeverSatisfied\n"
        assert engine.run(["scancel", late]).returncode == 0
        assert end(engine, never).startswith("CANCELLED")
