"""salloc and srun print the real Slurm's messages for requests that must wait.

Recorded by hand from Slurm 22.05.8 on nodes of the same shape. What a cancelled srun prints there is one of its
two lines or both, by a race; here it is both.
"""

from __future__ import annotations

import re
import signal
import subprocess

import pytest
from local_engine import LocalEngine

UNKNOWN = """{0}: error: No cluster 'nosuch' known by database.
{0}: error: 'nosuch' can't be reached now, or it is an invalid entry for --cluster.  \
Use 'sacctmgr list clusters' to see available clusters.
"""


@pytest.mark.parametrize(
    ("command", "reported"),
    [
        (
            "salloc",
            "salloc: Requested partition configuration not available now\nsalloc: Pending job allocation N\n"
            "salloc: job N queued and waiting for resources\nsalloc: Job allocation N has been revoked.\n"
            "salloc: Job aborted due to signal\n",
        ),
        (
            "srun",
            "srun: Requested partition configuration not available now\n"
            "srun: job N queued and waiting for resources\nsrun: Job allocation N has been revoked\n"
            "srun: Force Terminated JobId=N\n",
        ),
    ],
)
def test_a_signal_ends_a_waiting_command(engine: LocalEngine, command: str, reported: str) -> None:
    with subprocess.Popen(
        [command, "-N9", "true"],
        env=dict(engine.env),
        cwd=engine.root,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as waiting:
        assert waiting.stderr is not None
        messages = ""
        while "queued and waiting" not in messages and (line := waiting.stderr.readline()):
            messages += line
        waiting.send_signal(signal.SIGTERM)
        messages += waiting.stderr.read()
    assert re.sub(r"\b\d+\b", "N", messages) == reported
    assert waiting.returncode == 1
    assert engine.run(["squeue", "-h", "-n", "true"]).stdout == ""


@pytest.mark.parametrize("command", [["salloc"], ["srun"], ["sbatch", "--wrap"]], ids=lambda command: command[0])
def test_unknown_clusters_are_refused(engine: LocalEngine, command: list[str]) -> None:
    done = engine.run([command[0], "-M", "nosuch", *command[1:], "true"])
    assert (done.stderr, done.returncode) == (UNKNOWN.format(command[0]), 1)


def test_sstat_prints_its_header_before_errors(engine: LocalEngine) -> None:
    done = engine.run("sstat -j 99999 -o JobID 2>&1")
    assert done.stdout == "JobID        \n------------ \nsstat: error: couldn't get steps for JobId=99999\n"


@pytest.mark.parametrize("command", ["scontrol requeuehold", "scancel"])
def test_a_command_that_ends_its_own_job_prints_its_answer(engine: LocalEngine, command: str) -> None:
    """The job's termination does not end the command that requested it."""
    (engine.root / "own.sh").write_text(
        f"#!/bin/bash\ntrap : TERM\n{command} $SLURM_JOB_ID\necho told $? > own.$SLURM_JOB_ID\n"
    )
    for _ in range(5):
        job = engine.run(["sbatch", "--parsable", "--requeue", "-o", "/dev/null", "own.sh"]).stdout.strip()
        ended = engine.run(
            f"until [ \"$(squeue -h -j {job} -t R,CG,CF -o %T 2>&1)\" = '' ]; do sleep 0.1; done; cat own.{job}"
        )
        assert ended.stdout == "told 0\n", ended
        engine.run(["scancel", job])
