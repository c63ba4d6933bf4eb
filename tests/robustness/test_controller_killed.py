"""kill -9 of the controller at random moments.

No job is lost or run twice, and no output byte is missing.

SLURMSKY_KILLS sets the number of kills (200 for the full test), SLURMSKY_KILL_SEED the moments.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from polling import PATIENCE_S, wait_for

from .conftest import Engine
from .test_agent_killed import state, submit

KILLS = int(os.environ.get("SLURMSKY_KILLS", "12"))
SEED = int(os.environ.get("SLURMSKY_KILL_SEED", "20221"))
ENOUGH = min(KILLS, 20)  # the number of kills, on any machine
BUDGET_S = float(os.environ.get("SLURMSKY_KILL_BUDGET_S", "30" if KILLS <= 40 else "600"))  # for the others
JOBS = 50 if KILLS > 40 else 25
ELEMENTS = 40 if KILLS > 40 else 20

SCRIPT = """#!/bin/bash
token=$2${SLURM_ARRAY_TASK_ID:+-$SLURM_ARRAY_TASK_ID}
echo "begin $SLURM_JOB_ID" >> "$1/$token"
for line in {1..5}; do
    echo "$token line $line"
    sleep 0.$((RANDOM % 3))
done
echo "end $SLURM_JOB_ID" >> "$1/$token"
exit "$3"
"""


class Submitter(threading.Thread):
    """Submits jobs while the controller is killed repeatedly; remembers the ids that it received."""

    def __init__(self, run: Any, marks: Path, pause_s: float) -> None:
        super().__init__()
        self.run_command = run
        self.marks = marks
        self.pause_s = pause_s
        #: token -> job id, exit code, number of elements (0: no array)
        self.reported: dict[str, tuple[str, int, int]] = {}
        self.unreported: list[str] = []  # the controller died before it answered
        self.problems: list[tuple[int, str, str]] = []

    def run(self) -> None:
        number = 0
        while len(self.reported) < JOBS:
            number += 1
            code = 3 if number % 4 == 1 else 0
            self.submit(f"job{number}", code, 5 if number % 10 == 5 else 0)
            time.sleep(self.pause_s)

    def submit(self, token: str, code: int, elements: int) -> None:
        """One sbatch; its answer must be correct."""
        array = [f"--array=0-{elements - 1}"] if elements else []
        line = ["--parsable", *array, "job.sh", str(self.marks), token, str(code)]
        got, out, err = self.run_command("sbatch", *line)
        if got == 0:
            self.reported[token] = (out.strip(), code, elements)
        else:
            self.unreported.append(token)
            if "lost connection" not in err and "Unable to contact" not in err:
                self.problems.append((got, out, err))


@pytest.mark.slow
@pytest.mark.timeout(BUDGET_S + 600)
def test_controller_killed(engine: Engine, run: Any, tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "job.sh").write_text(SCRIPT)
    marks = tmp_path / "marks"
    marks.mkdir()
    dice = random.Random(SEED)
    submitter = Submitter(run, marks, pause_s=0.1 if KILLS <= 40 else KILLS * 0.008)
    submitter.submit("array", 0, ELEMENTS)
    assert "array" in submitter.reported
    submitter.start()
    deadline = time.monotonic() + BUDGET_S
    kills = 0
    first = None
    while kills < ENOUGH or (kills < KILLS and time.monotonic() < deadline):
        if dice.random() < 0.75:
            run("squeue")  # there is one, and it answers
            time.sleep(dice.uniform(0, 0.25))
        else:
            first = run.start("squeue", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wait_for(engine.controller)  # one that is just starting
            time.sleep(dice.uniform(0, 0.1))
        if engine.controller():
            engine.kill_controller()
            kills += 1
        if first is not None:
            first.wait()  # it may have lost its controller, or found another
            first = None
        if not submitter.is_alive() and dice.random() < 0.5:
            run("squeue")
    submitter.join()
    assert submitter.problems == []
    wait_for(lambda: run("squeue", "--noheader")[1] == "", 90, "an empty queue")
    assert engine.faults() == []
    print(f"{kills} kills, {len(submitter.reported)} jobs, {len(submitter.unreported)} unanswered submissions")

    # Every mark file records exactly one run, also where the client received no answer.
    twice = {}
    for mark in marks.iterdir():
        words = Counter(line.split()[0] for line in mark.read_text().splitlines())
        if words != {"begin": 1, "end": 1}:
            twice[mark.name] = mark.read_text()
    assert twice == {}

    expected = {}
    for token, (job, code, elements) in submitter.reported.items():
        for element in range(elements) if elements else [None]:
            name = token if element is None else f"{token}-{element}"
            number = job if element is None else f"{job}_{element}"
            assert (marks / name).exists(), f"{name} ({number}) never ran"
            output = work / f"slurm-{number}.out"
            lines = "".join(f"{name} line {line}\n" for line in range(1, 6))
            assert output.read_text() == lines, f"{output.name}: {output.read_text()!r}"
            expected[number] = ("FAILED" if code else "COMPLETED", f"{code}:0")

    answer = run("sacct", "-X", "-n", "-P", "-o", "JobID,State,ExitCode")[1]
    rows = [line.split("|") for line in answer.splitlines()]
    found = {row[0]: (row[1], row[2]) for row in rows}
    assert len(found) == len(rows), "a job has two records"
    assert {number: found.get(number) for number in expected} == expected
    show = run("scontrol", "show", "job", "-o")[1]
    shown = {}
    for line in show.splitlines():
        fields = dict(word.partition("=")[::2] for word in line.split() if "=" in word)
        number = fields["JobId"] if "ArrayTaskId" not in fields else f"{fields['ArrayJobId']}_{fields['ArrayTaskId']}"
        shown[number] = (fields["JobState"], fields["ExitCode"])
    assert {number: shown.get(number) for number in expected} == expected


def test_srun_and_salloc_outlive_it(engine: Engine, run: Any, tmp_path: Path) -> None:
    """The programs continue; the allocations end with them, although no client notifies the next controller."""
    go = tmp_path / "go"
    until = f"until [ -e {go} ]; do sleep 0.1; done;"
    work = {
        ("srun", "-Q", "sh", "-c", f"{until} echo out; exit 3"): (3, "out\n"),
        ("salloc", "-Q", "sh", "-c", f"{until} srun -n1 echo in"): (0, "in\n"),
    }
    started = []
    for job_id, line in enumerate(work, 1):
        started.append(run.start(*line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL))
        wait_for(lambda job_id=job_id: run("squeue", "-h", "-tR", f"-j{job_id}", "-o%i")[1].split())
    wait_for(lambda: "1.0" in run("squeue", "-h", "-s", "-o%i")[1])
    engine.kill_controller()
    assert len(run("squeue", "-h")[1].splitlines()) == 2
    go.touch()
    answers = [(process.communicate(timeout=PATIENCE_S)[0].decode(), process.returncode) for process in started]
    assert [(code, out) for out, code in answers] == list(work.values())
    wait_for(lambda: not run("squeue", "-h")[1])
    assert run("sacct", "-X", "-n", "-P", "-oState,ExitCode")[1].split() == ["FAILED|3:0", "COMPLETED|0:0"]


def test_agents_restart_a_dead_controller_while_jobs_run(engine: Engine, run: Any, tmp_path: Path) -> None:
    go = tmp_path / "go"
    waits = f"touch {tmp_path}/began; until [ -e {go} ]; do sleep 0.1; done"
    first = submit(run, "-wn1", "--wrap", f"{waits}; squeue -ho%A > {tmp_path}/seen")
    chained = submit(run, "-wn2", "-d", f"afterok:{first}", "--wrap", f"touch {tmp_path}/chained")
    later = submit(run, "-wn2", "--begin=now+3", "--wrap", f"touch {tmp_path}/later")
    wait_for((tmp_path / "began").exists)
    old = engine.controller()
    engine.kill_controller()
    # No command runs from here on.
    wait_for(lambda: engine.controller() not in (0, old))
    wait_for((tmp_path / "later").exists)
    engine.kill_controller()
    go.touch()  # its squeue starts a controller, too
    wait_for((tmp_path / "chained").exists)
    assert first in (tmp_path / "seen").read_text().split()
    assert state(run, chained) == state(run, later) == state(run, first) == "COMPLETED"
    agent = engine.agents("n1")
    assert not agent or engine.controller() not in children_of(agent[0])
    assert engine.faults() == []


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_the_shell_of_salloc_outlives_the_controller(engine: Engine, run: Any, tmp_path: Path, how: str) -> None:
    go = tmp_path / "go"
    line = f"touch {tmp_path}/began; until [ -e {go} ]; do sleep 0.1; done; srun -n1 hostname; exit 9"
    salloc = run.start("salloc", "-n1", "bash", "-c", line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for((tmp_path / "began").exists)
    if how == "kill":
        engine.kill_controller()
    else:
        assert run("slurmsky", "stop")[0] == 0
    if how == "kill":
        assert run("squeue", "-ho%T")[1] == "RUNNING\n"
    go.touch()
    out, err = salloc.communicate(timeout=PATIENCE_S)
    assert (salloc.returncode, out.count(b"\n")) == (9, 1), err
    assert b"lost connection" not in err
    assert err.count(b"Granted job allocation") == err.count(b"Relinquishing job allocation") == 1, err
    assert run("sacct", "-XnP", "-oState,ExitCode")[1] == "FAILED|9:0\n"
    assert run("squeue", "-h")[1] == ""
    assert engine.faults() == []


@pytest.mark.parametrize(("how", "command"), [("kill", "salloc"), ("stop", "srun")])
def test_a_request_that_waits_outlives_the_controller(engine: Engine, run: Any, how: str, command: str) -> None:
    blocker = run("sbatch", "--parsable", "-N2", "--exclusive", "--wrap", "sleep 600")[1].strip()
    line = {"salloc": ["salloc", "-n1", "srun", "echo", "granted"], "srun": ["srun", "-n1", "echo", "granted"]}[command]
    waiting = run.start(*line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(lambda: run("squeue", "-htPD")[1])
    if how == "kill":
        engine.kill_controller()
    else:
        assert run("slurmsky", "stop")[0] == 0
    run("scancel", blocker)
    out, err = waiting.communicate(timeout=PATIENCE_S)
    assert (waiting.returncode, out) == (0, b"granted\n"), err
    assert err.count(b"queued and waiting for resources") == err.count(b"has been allocated resources") == 1, err
    wait_for(lambda: not run("squeue", "-h")[1])
    assert engine.faults() == []


@pytest.mark.parametrize("options", [[], ["-a1-2"]], ids=["job", "array"])
def test_sbatch_that_waits_outlives_the_controller(
    engine: Engine, run: Any, tmp_path: Path, options: list[str]
) -> None:
    go = tmp_path / "go"
    script = f"until [ -e {go} ]; do sleep 0.1; done; exit 7"
    line = ["sbatch", "--wait", "--no-requeue", "-o/dev/null", *options, "--wrap", script]
    waiting = run.start(*line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(lambda: run("squeue", "-htR")[1])
    engine.kill_controller()
    assert run("squeue", "-htR")[1]
    go.touch()
    out, err = waiting.communicate(timeout=PATIENCE_S)
    assert (waiting.returncode, out, err) == (7, b"Submitted batch job 1\n", b"")
    assert not run("squeue", "-h")[1]
    assert engine.faults() == []


def test_a_request_whose_caller_died_with_the_controller_is_cancelled(engine: Engine, run: Any) -> None:
    run("sbatch", "-N2", "--exclusive", "--wrap", "sleep 600")
    waiting = run.start("salloc", "-n1", "true", stderr=subprocess.DEVNULL)
    wait_for(lambda: run("squeue", "-htPD")[1])
    os.kill(engine.controller(), signal.SIGSTOP)
    waiting.kill()
    waiting.wait()
    engine.kill_controller()
    wait_for(lambda: not run("squeue", "-htPD")[1])
    run("scancel", "--me")
    assert engine.faults() == []
