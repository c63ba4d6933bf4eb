"""salloc and srun outside a job on the real SkyPilot: their clusters hold nodes, answer, and are removed.

A cluster takes SkyPilot about a minute, so the allocations are side by side.
"""

from __future__ import annotations

import re
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from on_skypilot import BIN, PATIENCE_S, SKY_BIN, LocalEngine, Nodes, clusters

pytestmark = [pytest.mark.rig, pytest.mark.timeout(2400)]
INSIDE = r"""
echo "$SLURM_NNODES $SLURM_NTASKS"
echo abc | srun -l sh -c 'cat data.txt; echo $SLURM_PROCID > made.$SLURM_PROCID; cat' | sort
srun -n1 sh -c 'exit 7'; echo code $?
exit 3
"""


def until_gone(engine: LocalEngine, nodes: Nodes) -> None:
    """Wait until none of the engine's clusters exists. Warm nodes stay up after their job."""
    if nodes.kept is not None:
        return
    comments = engine.run(["sacct", "-nXPD", "-o", "systemcomment"], limit_s=120).stdout.split()
    mine = {word for word in comments if "-s" in word}
    assert mine
    deadline = time.monotonic() + PATIENCE_S
    while clusters() & mine:
        assert time.monotonic() < deadline, clusters()
        time.sleep(5)


def salloc_with_a_command(work: Path, folder: Path, nodes: Nodes) -> None:
    with nodes.commands(folder) as engine:
        done = engine.run(["salloc", "-N2", "-n2", "bash", "inside.sh"], cwd=work, limit_s=PATIENCE_S)
        assert done.stdout.splitlines() == ["2 2", "0: abc", "0: hi", "1: abc", "1: hi", "code 7"], done.stderr
        assert done.returncode == 3 and "salloc: Relinquishing job allocation " in done.stderr
        assert (work / "made.1").read_text() == "1\n"
        until_gone(engine, nodes)


def srun_outside_a_job(work: Path, folder: Path, nodes: Nodes) -> None:
    with nodes.commands(folder) as engine:
        command = ["srun", "-N1", "sh", "-c", "cat; echo err >&2; exit 5"]
        done = engine.run(command, cwd=work, stdin="typed\n", limit_s=PATIENCE_S)
        assert done.stdout == "typed\n" and "err\n" in done.stderr and done.returncode == 5, done.stderr
        until_gone(engine, nodes)


def no_shell_through_ssh(work: Path, folder: Path, nodes: Nodes) -> None:
    path = f"{BIN}:{SKY_BIN}:/usr/local/bin:/usr/bin:/bin"
    with nodes.commands(folder, '[sky]\nreach = "ssh"\nstart_server = false\n', PATH=path) as engine:
        done = engine.run(["salloc", "--no-shell", "-N1"], cwd=work, limit_s=PATIENCE_S)
        granted = re.search(r"salloc: Granted job allocation (\d+)", done.stderr)
        assert done.returncode == 0 and granted, done.stderr
        job = granted[1]
        step = engine.run(["srun", f"--jobid={job}", "cat", "data.txt"], cwd=work, limit_s=PATIENCE_S)
        assert (step.stdout, step.returncode) == ("hi\n", 0), step.stderr
        again = engine.run(["srun", "sh", "-c", "echo $SLURM_STEP_ID; exit 4"], cwd=work,
                           env={"SLURM_JOB_ID": job}, limit_s=PATIENCE_S)  # fmt: skip
        assert (again.stdout, again.returncode) == ("1\n", 4), again.stderr
        assert engine.run(["scancel", job]).returncode == 0
        until_gone(engine, nodes)


def test_allocations(rig: Path, tmp_path: Path, nodes: Nodes) -> None:
    with ThreadPoolExecutor() as pool:
        running: list[Future[None]] = []
        for use in (salloc_with_a_command, srun_outside_a_job, no_shell_through_ssh):
            # One for each: jobs of one submit folder that share a node would see each other's files.
            work, folder = rig / f"{use.__name__}-{nodes.kind}", tmp_path / use.__name__
            work.mkdir()
            folder.mkdir()
            (work / "data.txt").write_text("hi\n")
            (work / "inside.sh").write_text(INSIDE)
            running.append(pool.submit(use, work, folder, nodes))
        for one in running:
            one.result()
