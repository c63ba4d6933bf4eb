"""sacct's rows of a step show the usage of its tasks.

Usage is memory, bytes read and written, processor time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

MIB = 1 << 20
# Task 1 allocates 200 MB, writes 50 MB and reads them back; task 0 does little. Each is sampled once, as a
# step that runs for long is, then uses the processor for half a second.
PROGRAM = """
import os, subprocess, time
rank = os.environ["SLURM_PROCID"]
if rank == "1":
    held = b"x" * (200 << 20)
    with open("data", "wb", buffering=0) as file:
        for _ in range(50):
            file.write(held[:1 << 20])
    with open("data", "rb", buffering=0) as file:
        while file.read(1 << 20):
            pass
subprocess.run(["sstat", "-n", "-P", "-o", "MaxVMSize", "-j", os.environ["SLURM_JOB_ID"] + ".0"], check=True)
while time.process_time() < 0.5:
    pass
"""
FIELDS = (
    "JobID,State,NTasks,AveCPU,MinCPU,MaxRSS,MaxRSSTask,AveRSS,MaxVMSize,MaxVMSizeTask,AveDiskRead,MaxDiskRead,"
    "MaxDiskReadTask,AveDiskWrite,MaxDiskWrite,MaxDiskWriteTask,ExitCode"
)


def _bytes(text: str) -> float:
    """A size of sacct: with a unit, else bytes."""
    return float(text[:-1]) * 1024 ** (" KMGT".index(text[-1])) if text[-1:] in "KMGT" else float(text)


def test_a_step_that_allocates_and_writes(run: Callable[..., object], tmp_path: Path) -> None:
    (tmp_path / "work" / "use.py").write_text(PROGRAM)
    done = run("srun", "-n2", "--job-name=usage", sys.executable, "use.py")
    assert done.code == 0, done.err  # type: ignore[attr-defined]
    out = run("sacct", "-n", "-P", "--name=usage", "-o", FIELDS).out  # type: ignore[attr-defined]
    rows = [dict(zip(FIELDS.split(","), line.split("|"), strict=True)) for line in out.splitlines()]
    names = [row["JobID"].partition(".")[2] for row in rows]
    assert "" in names and "0" in names
    (step,) = (row for row in rows if row["JobID"].endswith(".0"))
    assert (step["State"], step["NTasks"], step["ExitCode"]) == ("COMPLETED", "2", "0:0")
    assert 200 * MIB < _bytes(step["MaxRSS"]) < 260 * MIB and step["MaxRSSTask"] == "1"
    assert 100 * MIB < _bytes(step["AveRSS"]) < 160 * MIB
    assert 200 * MIB < _bytes(step["MaxVMSize"]) < 1024 * MIB and step["MaxVMSizeTask"] == "1"
    assert 50 * MIB <= _bytes(step["MaxDiskWrite"]) < 60 * MIB and step["MaxDiskWriteTask"] == "1"
    assert 25 * MIB <= _bytes(step["AveDiskWrite"]) < 30 * MIB
    assert 50 * MIB <= _bytes(step["MaxDiskRead"]) < 70 * MIB and step["MaxDiskReadTask"] == "1"
    assert 25 * MIB <= _bytes(step["AveDiskRead"]) < 40 * MIB
    assert step["MinCPU"] in ("00:00:00", "00:00:01") and step["AveCPU"] <= "00:00:05"


def test_a_small_task_has_a_smaller_peak_than_the_process_that_started_it(run: Callable[..., object]) -> None:
    assert run("srun", "-n2", "--job-name=small", "true").code == 0  # type: ignore[attr-defined]
    out = run("sacct", "-n", "-P", "--name=small", "-o", "JobID,MaxRSS,AveRSS").out  # type: ignore[attr-defined]
    (step,) = (line.split("|") for line in out.splitlines() if ".0|" in line)
    assert _bytes(step[1]) < 8 * MIB and _bytes(step[2]) < 8 * MIB
