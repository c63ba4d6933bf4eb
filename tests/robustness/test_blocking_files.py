"""A file that blocks its readers delays its own job alone."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from polling import PATIENCE_S, wait_for

from .conftest import Engine
from .test_agent_killed import state, submit

Run = Callable[..., Any]


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


@pytest.mark.parametrize("option", ["-o", "-e", "-i"])
def test_a_batch_job_waits_for_its_fifo_alone(engine: Engine, run: Run, fifo: Path, option: str) -> None:
    blocked = submit(run, "-wn1", option, str(fifo), "--wrap", "cat; echo out; echo err >&2")
    other = submit(run, "-wn1", "--wait", "--wrap", "true")
    assert (state(run, blocked), state(run, other)) == ("RUNNING", "COMPLETED")
    if option == "-i":
        fifo.write_text("in")
    else:
        assert fifo.read_text() == {"-o": "out\nerr\n", "-e": "err\n"}[option]
    wait_for(lambda: state(run, blocked) == "COMPLETED")
    assert engine.faults() == []


def test_a_job_that_waits_for_its_fifo_can_be_cancelled(engine: Engine, run: Run, fifo: Path) -> None:
    blocked = submit(run, "-wn1", "-o", str(fifo), "--wrap", "true")
    wait_for(lambda: state(run, blocked) == "RUNNING")
    run("scancel", blocked)
    wait_for(lambda: not run("squeue", "-h")[1])
    assert state(run, blocked) == "CANCELLED" and engine.faults() == []


@pytest.mark.parametrize("pattern", ["fifo", "fifo.%t"])
def test_a_step_waits_for_its_fifo_alone(engine: Engine, run: Run, fifo: Path, tmp_path: Path, pattern: str) -> None:
    name = tmp_path / pattern.replace("%t", "0")
    if not name.exists():
        os.mkfifo(name)
    step = run.start("srun", "-wn1", "-n1", "-o", str(tmp_path / pattern), "echo", "out")
    wait_for(lambda: run("squeue", "-htR")[1])
    assert run("srun", "-wn1", "-n1", "echo", "other")[:2] == (0, "other\n")
    assert name.read_text() == "out\n"
    assert step.wait(PATIENCE_S) == 0
    step = run.start("srun", "-wn1", "-n1", "-o", str(tmp_path / pattern), "echo", "out")
    wait_for(lambda: run("squeue", "-htR")[1])
    run("scancel", "--me")
    assert step.wait(PATIENCE_S) != 0
    wait_for(lambda: not run("squeue", "-h")[1])
    assert engine.faults() == []


def test_a_step_reads_a_slow_fifo(engine: Engine, run: Run, fifo: Path) -> None:
    step = run.start("srun", "-wn1", "-n1", "-i", str(fifo), "cat", stdout=-1)
    wait_for(lambda: run("squeue", "-htR")[1])
    with fifo.open("w") as writer:
        for line in ("one\n", "two\n"):
            writer.write(line)
            writer.flush()
            assert run("srun", "-wn1", "-n1", "true")[0] == 0
    assert step.communicate(timeout=PATIENCE_S)[0] == b"one\ntwo\n" and engine.faults() == []


def test_a_step_waits_for_the_fifo_that_its_options_name_alone(engine: Engine, run: Run, fifo: Path) -> None:
    job = submit(run, "-wn1", "--wrap", "sleep 60")
    wait_for(lambda: state(run, job) == "RUNNING")
    of_job = ["srun", f"--jobid={job}", "--overlap", "-n1"]
    step = run.start(*of_job, "--multi-prog", str(fifo))
    writer = os.open(fifo, os.O_WRONLY)  # returns as soon as the step's srun reads
    assert run(*of_job, "echo", "other")[:2] == (0, "other\n")
    os.write(writer, b"0 echo out\n")
    os.close(writer)
    assert step.wait(PATIENCE_S) == 0
    assert run("/bin/bash", "-c", shlex.join([*of_job, "--multi-prog"]) + " <(echo 0 echo pipe)")[:2] == (0, "pipe\n")
    code, _, err = run("sbcast", f"--jobid={job}", str(fifo), "copy")
    assert (code, err) == (255, f"sbcast: error: Can't mmap file `{fifo}`, No such device.\n")
    run("scancel", job)
    wait_for(lambda: not run("squeue", "-h")[1])
    assert engine.faults() == []
