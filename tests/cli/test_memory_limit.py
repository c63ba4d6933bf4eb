"""Output of commands for jobs and steps that exceed their memory."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from memory_controller import needs_memory_groups

Run = Callable[..., Any]

LARGE = f"{sys.executable} -S -c 'x = bytearray(300 << 20)'"


def sacct(run: Run, job: str, fields: str = "JobID,State,ExitCode,DerivedExitCode") -> list[str]:
    """sacct's rows of a job."""
    return list(run("sacct", "-n", "-P", "-j", job, "-o", fields).out.split())


def submit(run: Run, *words: str) -> tuple[int, str]:
    """Exit code and id of a batch job that has ended."""
    done = run("sbatch", "-W", "--parsable", "-o", "out", *words)
    return done.code, done.out.strip()


@needs_memory_groups
def test_a_script_ends_out_of_memory(run: Run, tmp_path: Path) -> None:
    code, job = submit(run, "--mem=50M", "--wrap", LARGE)
    assert code == 1
    assert sacct(run, job) == [f"{job}|OUT_OF_MEMORY|0:125|0:0", f"{job}.batch|OUT_OF_MEMORY|0:125|"]
    shown = run("scontrol", "show", "job", job).out
    assert "JobState=OUT_OF_MEMORY Reason=OutOfMemory " in shown and " ExitCode=0:125\n" in shown
    assert f"error: Detected 1 oom_kill event in StepId={job}.batch. " in (tmp_path / "work" / "out").read_text()
    why = run("slurmsky", "why", job).out
    assert " is OUT_OF_MEMORY" in why and "sbatch with a larger --mem" in why
    assert "125" not in why.replace(str(tmp_path), "")
    assert run("seff", job).out.splitlines()[3] == "State: OUT_OF_MEMORY (exit code 0)"
    assert run("squeue", "-h", "-t", "all", "-j", job, "-o", "%t").out == "OOM\n"


@needs_memory_groups
def test_dependencies_see_a_failure(run: Run) -> None:
    _, job = submit(run, "--mem=50M", "--wrap", LARGE)
    assert submit(run, "-d", f"afternotok:{job}", "--wrap", "true")[0] == 0
    assert submit(run, "-d", f"afterok:{job}", "--kill-on-invalid-dep=yes", "--wrap", "true")[0] == 1


@needs_memory_groups
@pytest.mark.parametrize("request_", ["--mem-per-cpu=25M -c2", "--mem-per-gpu=50M --gpus=1"])
def test_memory_by_cpu_and_by_device_is_a_limit(run: Run, request_: str) -> None:
    _, job = submit(run, *request_.split(), "--wrap", LARGE)
    assert sacct(run, job)[0] == f"{job}|OUT_OF_MEMORY|0:125|0:0"


@pytest.mark.parametrize("request_", ["-n1", "--mem=0", "--mem=600M"])
def test_enough_memory(run: Run, request_: str) -> None:
    assert submit(run, request_, "--wrap", LARGE)[0] == 0


@needs_memory_groups
def test_an_srun_ends_out_of_memory(run: Run) -> None:
    done = run("srun", "--mem=50M", "-J", "alone", "sh", "-c", LARGE)
    assert done.code == 1
    assert "srun: error: " in done.err and ": task 0: Out Of Memory\n" in done.err and "Force" not in done.err
    rows = run("sacct", "-n", "-P", "-X", "--name=alone", "-o", "State,ExitCode,DerivedExitCode").out.split()
    assert rows == ["OUT_OF_MEMORY|0:125|0:125"]


@needs_memory_groups
def test_an_allocation_has_the_exit_code_of_its_command(run: Run) -> None:
    done = run("salloc", "--mem=60M", "-J", "held", "sh", "-c", f'srun sh -c "{LARGE}"; srun true')
    assert done.code == 0 and "task 0: Out Of Memory\n" in done.err
    rows = run("sacct", "-n", "-P", "-X", "--name=held", "-o", "State,ExitCode,DerivedExitCode").out.split()
    assert rows == ["COMPLETED|0:0|0:125"]
