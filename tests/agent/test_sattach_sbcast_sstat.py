"""sattach, sbcast and sstat of a running step.

Text and codes were recorded from the real ones (22.05).
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from polling import PATIENCE_S

from slurmsky.model.allocation import Launch

from .allocations import allocation
from .driver import BIN, Cluster

Job = tuple[Cluster, Launch]


@pytest.fixture(scope="module")
def job(one: Cluster) -> Iterator[Job]:
    """salloc -N1 -n2 with a step 0 that prints rising numbers in two tasks."""
    for cluster, launch in allocation(one, (2,)):
        count = "n=0; while :; do echo line $SLURM_PROCID $((n++)); sleep 0.1; done"
        step = subprocess.Popen(
            [str(BIN / "srun"), "-n2", "bash", "-c", count],
            env=cluster.client_environment(launch),
            cwd=cluster.work,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        (cluster.work / "file").write_text("content\n")
        deadline = time.monotonic() + 20
        while "0" not in cluster.steps(launch) and time.monotonic() < deadline:
            cluster.head(launch).pump(0.1)
        yield cluster, launch
        step.kill()
        step.wait()


def run(job: Job, *argv: str) -> tuple[str, str, int]:
    """J in words represents the job's number, @ the job's folder; so does the output."""
    cluster, launch = job
    words = [word.replace("@", str(cluster.work)).replace("J.", "%d." % launch.job_id) for word in argv]
    words = [str(launch.job_id) if word == "J" else word for word in words]
    done = cluster.command(launch, words, stdin=subprocess.DEVNULL)
    out, error = (
        text.replace(str(cluster.work), "@")
        .replace("%d.0" % launch.job_id, "J.0")
        .replace("StepId=%d." % launch.job_id, "StepId=J.")
        for text in (done.stdout, done.stderr)
    )
    return out, error, done.returncode


LAYOUT = "Job step layout:\n\t2 tasks, 1 nodes (n1)\n\n\tNode 0 (n1), 2 task(s): 0 1 \n"
NO_STEP = "sattach: error: Could not get job step info: Invalid job id specified\n"
SATTACH_USAGE = "Usage: sattach [options] <jobid.stepid>\n"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("sattach --layout J.0", (LAYOUT, "", 0)),
        ("sattach J.7", ("", NO_STEP, 1)),
        ("sattach 999999.0", ("", NO_STEP, 1)),
        ("sattach", (SATTACH_USAGE, "sattach: error: too many parameters\n", 1)),
        ("sattach J", (SATTACH_USAGE, "sattach: error: Failed to parse stepid from command line options\n", 1)),
        ("sbcast /nosuch @/t1", ("", "sbcast: error: Can't open `/nosuch`: No such file or directory\n", 255)),
        ("sbcast /tmp @/t1", ("", "sbcast: error: Can't mmap file `/tmp`, No such device.\n", 255)),
        ("sbcast -f file @/t1", ("", "", 0)),
        ("sbcast file @/file", ("", "sbcast: error: REQUEST_FILE_BCAST(n1): File exists\n", 17)),
        (
            "sbcast -j 999999 file @/t1",
            ("", "sbcast: error: Slurm job 999999 lookup error: Invalid job id specified\n", 255),
        ),
        (
            "sbcast file /nosuchdir/t1",
            ("", "sbcast: error: REQUEST_FILE_BCAST(n1): No such file or directory\n", 2),
        ),
        ("sbcast file", ("", 'Need two file names, have 1 names\nTry "sbcast --help" for more information\n', 1)),
        ("sbcast --send-libs=yes -f /bin/true @/t3", ("", "", 0)),
        ("sstat -n -P -o JobID,NTasks,Nodelist J.0", ("J.0|2|n1\n", "", 0)),
        ("sstat -n -P -o JobID J", ("J.0\n", "", 0)),
        (
            "sstat -P -o JobID,NTasks 999999",
            ("JobID|NTasks\n", "sstat: error: couldn't get steps for JobId=999999\n", 0),
        ),
        ("sstat -n J.7", ("", "sstat: error: StepId=J.7 not found running.\n", 0)),
    ],
)
def test_recorded_answers(job: Job, line: str, expected: tuple[str, str, int]) -> None:
    assert run(job, *line.split()) == expected


def test_sbcast_copies_content_mode_and_times(job: Job) -> None:
    source, copy = job[0].work / "tool", job[0].work / "tool.copy"
    source.write_bytes(os.urandom(1 << 20))
    source.chmod(0o750)
    os.utime(source, (1e9, 1e9))
    assert run(job, "sbcast", "-p", "tool", "@/tool.copy") == ("", "", 0)
    assert copy.read_bytes() == source.read_bytes()
    assert (copy.stat().st_mode & 0o777, copy.stat().st_mtime) == (0o750, 1e9)


def test_sattach_shows_what_the_tasks_write(job: Job, tmp_path: Path) -> None:
    cluster, launch = job
    with subprocess.Popen(
        [str(BIN / "sattach"), "-l", "--output-filter=1", "%d.0" % launch.job_id],
        env=cluster.client_environment(launch),
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    ) as attached:
        assert attached.stdout is not None
        lines = [attached.stdout.readline().split() for _ in range(3)]
        attached.kill()
    first = int(lines[0][-1])
    assert lines == [["1:", "line", "1", str(first + index)] for index in range(3)]


def test_sattach_ends_with_the_highest_exit_code(job: Job, tmp_path: Path) -> None:
    """A task that a signal ends counts as 0. Source: the oracle; sattach.c _exit_handler."""
    cluster, launch = job
    go = tmp_path / "go"
    wait = f"echo ready; until [ -e {go} ]; do sleep 0.05; done"
    script = f"{wait}; [ $SLURM_PROCID = 0 ] && kill -9 $$; exit $((SLURM_PROCID + 2))"
    environment = cluster.client_environment(launch)
    step = subprocess.Popen(
        [str(BIN / "srun"), "--overlap", "-n3", "-O", "bash", "-c", script],
        env=environment,
        cwd=cluster.work,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    number = ""
    while not number:
        number = next((key for key, one in cluster.steps(launch).items() if key != "0" and not one.get("end_time")), "")
        cluster.head(launch).pump(0.1)
    with subprocess.Popen(
        [str(BIN / "sattach"), f"{launch.job_id}.{number}"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    ) as attached:
        assert attached.stdout is not None
        assert [attached.stdout.readline() for _ in range(3)] == ["ready\n"] * 3
        go.touch()
        _, error = attached.communicate(timeout=PATIENCE_S)
    step.wait()
    assert sorted(error.splitlines()) == [
        f"sattach: error: task {rank} exited with exit code {rank + 2}" for rank in (1, 2)
    ]
    assert attached.returncode == 4


def test_sstat_prints_the_use_of_resources(job: Job) -> None:
    out, _, code = run(job, "sstat", "-n", "-P", "-o", "MaxRSS,MaxRSSTask,MinCPUNode", "J.0")
    rss, task, node = out.strip().split("|")
    assert code == 0 and node == "n1" and task in ("0", "1")
    assert int(rss.rstrip("K")) > 500
