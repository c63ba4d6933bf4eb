"""Batch jobs on an agent: end states as the oracle reports them (exit_and_output_rules, "End states")."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest
from polling import process_state, wait_for

from slurmsky.model.spec import JobSpec

from .driver import Cluster

# script, job (state, exit code, signal), batch step (state, exit code, signal), output
ENDS = [
    ("exit 0", ("COMPLETED", 0, 0), ("COMPLETED", 0, 0), ""),
    ("exit 3", ("FAILED", 3, 0), ("FAILED", 3, 0), ""),
    ("exit 256", ("COMPLETED", 0, 0), ("COMPLETED", 0, 0), ""),
    ("kill -KILL $$", ("FAILED", 0, 9), ("CANCELLED", 0, 9), ""),
    ("kill -TERM $$", ("FAILED", 0, 15), ("CANCELLED", 0, 15), ""),
    ("kill -USR1 $$", ("FAILED", 0, 10), ("CANCELLED", 0, 10), ""),
    ("kill -HUP $$", ("FAILED", 0, 1), ("CANCELLED", 0, 1), ""),
    (
        "echo out; echo err >&2; nosuchcommand 2>/dev/null",
        ("FAILED", 127, 0),
        ("FAILED", 127, 0),
        "out\nerr\n",
    ),
]


@pytest.mark.parametrize(("body", "job", "batch", "text"), ENDS, ids=[row[0] for row in ENDS])
def test_end_states(one: Cluster, body: str, job: tuple[str, int, int], batch: tuple[str, int, int], text: str) -> None:
    launch = one.start(one.prepare("#!/bin/bash\n" + body + "\n"))
    event = one.finish(launch)
    assert (event["state"], event["exit_code"], event["exit_signal"]) == job
    step = one.steps(launch)["batch"]
    assert (step["state"], step.get("exit_code", 0), step.get("exit_signal", 0)) == batch
    assert one.output(launch) == text


def test_bad_interpreter(one: Cluster) -> None:
    event, text = one.run("#!/no/such/shell -x\ntrue\n")
    assert (event["state"], event["exit_code"], event["began"]) == ("FAILED", 2, False)
    assert text == "slurmstepd-n1: error: execve(): bad interpreter(/no/such/shell -x): No such file or directory\n"


def test_missing_folders_of_the_output_are_created(one: Cluster, tmp_path: Path) -> None:
    event, _ = one.run("#!/bin/sh\necho here\n", stdout=str(tmp_path / "logs" / "today" / "out"))
    assert event["state"] == "COMPLETED"
    assert (tmp_path / "logs" / "today" / "out").read_text() == "here\n"


def test_folder_of_the_output_cannot_be_created(one: Cluster) -> None:
    event, _ = one.run("#!/bin/sh\ntrue\n", stdout="/proc/no/such/out")
    assert (event["state"], event["exit_code"], event["exit_signal"]) == ("FAILED", 0, 53)
    assert event["comment"] == "its output file cannot be opened: there is no folder /proc/no/such"
    assert event["began"] is False


def test_work_dir_is_missing(one: Cluster) -> None:
    event, text = one.run("#!/bin/sh\npwd\n", work_dir="/no/such/dir")
    assert event["state"] == "COMPLETED"
    fault = "couldn't chdir to `/no/such/dir': No such file or directory: going to /tmp instead"
    line = "slurmstepd-n1: error: " + fault + "\n"
    assert text == line + line + "/tmp\n"  # the step's manager and the script itself


def test_script_name_and_arguments(one: Cluster) -> None:
    _, text = one.run("#!/bin/sh\necho $0 $1 $#\n", argv=("a b", "c"))
    assert re.fullmatch(r".*/jobs/\d+/slurm_script a b 2\n", text)


def test_pid_folder_umask_and_standard_input(one: Cluster) -> None:
    _, text = one.run(
        "#!/bin/sh\n[ $$ = $SLURM_TASK_PID ] && echo same\npwd; umask; wc -c; ls -l /proc/self/fd | wc -l",
        umask=0o027,
    )
    assert text.split() == ["same", str(one.work), "0027", "0", "5"]


def test_append_and_separate_stderr(one: Cluster) -> None:
    out, err = one.work / "app.out", one.work / "app.err"
    out.write_text("before\n")
    one.run(
        "#!/bin/sh\necho out; echo err >&2\n",
        stdout=str(out),
        stderr=str(err),
        spec=JobSpec(open_mode="append"),
    )
    assert (out.read_text(), err.read_text()) == ("before\nout\n", "err\n")
    one.run("#!/bin/sh\necho out\n", stdout=str(out), spec=JobSpec(open_mode="truncate"))
    assert out.read_text() == "out\n"


def test_time_limit(one: Cluster) -> None:
    began = time.time()
    event, text = one.run("#!/bin/sh\nsleep 60\n", time_limit_s=1)
    assert event["state"] == "TIMEOUT"
    assert (event["exit_code"], event["exit_signal"], event["reason"]) == (0, 0, "TimeLimit")
    assert re.fullmatch(
        r"slurmstepd-n1: error: \*\*\* JOB \d+ ON n1 CANCELLED AT "
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d DUE TO TIME LIMIT \*\*\*\n",
        text,
    )
    assert time.time() - began < 4


def test_cancel(one: Cluster) -> None:
    launch = one.start(one.prepare("#!/bin/sh\nsleep 60\n"))
    one.nodes[0].send(
        {"op": "terminate", "job_id": launch.job_id, "state": "CANCELLED", "signal": 15, "kill_wait_s": 30}
    )
    event = one.finish(launch)
    assert (event["state"], event["exit_code"], event["exit_signal"]) == ("CANCELLED", 0, 0)
    step = one.steps(launch)["batch"]
    assert (step["state"], step["exit_signal"]) == ("CANCELLED", 15)
    assert "CANCELLED AT" in one.output(launch) and "DUE TO" not in one.output(launch)


def test_cancel_of_a_script_that_traps(one: Cluster) -> None:
    launch = one.start(one.prepare("#!/bin/bash\ntrap 'exit 9' TERM\necho ready\nsleep 60\n"))
    wait_for(lambda: "ready" in one.output(launch))
    one.nodes[0].send(
        {"op": "terminate", "job_id": launch.job_id, "state": "CANCELLED", "signal": 15, "kill_wait_s": 30}
    )
    assert one.finish(launch)["state"] == "CANCELLED"
    step = one.steps(launch)["batch"]
    assert (step["state"], step["exit_code"]) == ("FAILED", 9)


def test_kill_wait(one: Cluster) -> None:
    launch = one.start(one.prepare("#!/bin/bash\ntrap '' TERM\necho ready\nwhile :; do sleep 0.2; done\n"))
    wait_for(lambda: "ready" in one.output(launch))
    began = time.time()
    one.nodes[0].send(
        {"op": "terminate", "job_id": launch.job_id, "state": "CANCELLED", "signal": 15, "kill_wait_s": 1}
    )
    assert one.finish(launch)["state"] == "CANCELLED"
    assert 0.9 < time.time() - began < 3


@pytest.mark.parametrize(("text", "expected"), [("B:USR1@58", "caught\n"), ("USR1@58", "")])
def test_signal_before_the_end(one: Cluster, text: str, expected: str) -> None:
    script = "#!/bin/bash\ntrap 'echo caught; exit 0' USR1\nfor i in 1 2 3 4 5 6 7 8; do sleep 0.3; done\nexit 0\n"
    event, output = one.run(script, time_limit_s=60, spec=JobSpec(signal=text), start_time=time.time() - 1)
    assert event["state"] == "COMPLETED"
    assert output == expected


def test_signals_and_suspension(one: Cluster) -> None:
    launch = one.start(
        one.prepare("#!/bin/bash\ntrap 'echo usr1' USR1\nfor i in $(seq 50); do sleep 0.05; done; exit 4\n")
    )
    time.sleep(0.3)
    node = one.nodes[0]
    node.send({"op": "signal", "job_id": launch.job_id, "signal": int(signal.SIGUSR1), "target": "batch"})
    wait_for(lambda: "usr1" in one.output(launch))
    pid = node.wait(lambda event: event["ev"] == "started" and event["job_id"] == launch.job_id)["pid"]
    node.send({"op": "suspend", "job_id": launch.job_id})
    wait_for(lambda: process_state(pid) == "T")
    node.send({"op": "resume", "job_id": launch.job_id})
    assert one.finish(launch)["exit_code"] == 4


DAEMONS = {
    "double fork": "(setsid sleep 4711 &)",
    "empty environment": "(setsid env -i /bin/sleep 4711 &)",
    "nohup": "nohup sleep 4711 >/dev/null 2>&1 &",
    "tree": "bash -c 'sleep 4711 & sleep 4711 & wait' &",
}


@pytest.mark.parametrize("command", DAEMONS.values(), ids=DAEMONS)
def test_nothing_survives_the_job(one: Cluster, command: str) -> None:
    event, _ = one.run("#!/bin/bash\n%s\nsleep 0.2\n" % command)
    assert event["state"] == "COMPLETED"
    assert processes_of("4711") == []


def test_open_files_limit_is_the_callers(one: Cluster) -> None:
    _, text = one.run("#!/bin/bash\nulimit -Sn; ulimit -Sc\n", rlimits={"NOFILE": (777, 4096), "CORE": (0, -1)})
    assert text == "777\n0\n"


def processes_of(word: str) -> list[int]:
    """Live processes with this word among their arguments."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                words = Path("/proc/%s/cmdline" % entry).read_bytes().split(b"\0")
                if word.encode() in words and process_state(int(entry)) != "Z":
                    found.append(int(entry))
            except OSError:
                continue
    return found


def test_core_files_have_the_hard_limit_of_the_node_unless_a_limit_is_propagated(one: Cluster) -> None:
    script = "#!/bin/sh\nulimit -c\nulimit -Hc\n"
    _, text = one.run(script, rlimits={})
    soft, hard = text.split()
    assert soft == hard
    _, text = one.run(script, rlimits={"CORE": (0, -1)})
    assert text.split() == ["0", hard]
