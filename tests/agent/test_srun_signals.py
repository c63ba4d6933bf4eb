"""Signals, cancellations and terminals of srun. Expected text was recorded from the real srun (22.05)."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from polling import PATIENCE_S, wait_for

from slurmsky.model.spec import JobSpec

from .allocations import Allocation, run
from .conftest import KINDS
from .driver import Cluster
from .test_batch import processes_of


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> type[Cluster]:
    """All tests also run on nodes that share nothing."""
    return request.param  # type: ignore[no-any-return]


def test_interrupt_once_and_twice(four: Allocation) -> None:
    cluster, launch = four
    with subprocess.Popen(
        [*cluster.srun, "-n2", "bash", "-c", "echo up; exec sleep 30"],
        env=cluster.client_environment(launch),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdout is not None and client.stderr is not None
        assert [client.stdout.readline() for _ in range(2)] == ["up\n"] * 2
        client.send_signal(signal.SIGINT)
        lines = [client.stderr.readline().rstrip() for _ in range(2)]
        client.send_signal(signal.SIGINT)
        lines += client.stderr.read().splitlines()
    assert lines[0] == "srun: interrupt (one more within 1 sec to abort)"
    assert re.fullmatch(r"srun: StepId=\d+\.\d+ tasks 0-1: running", lines[1])
    assert re.fullmatch(r"srun: sending Ctrl-C to StepId=\d+\.\d+", lines[2])
    assert lines[3] == "srun: forcing job termination"
    assert client.returncode == 130


SENT = "srun: sending Ctrl-C to StepId=J.S"


@pytest.mark.parametrize(
    ("option", "messages", "code"),
    [
        ("--disable-status", [SENT, "srun: error: n1: task 0: Exited with exit code 3"], 3),
        ("--quit-on-interrupt", [SENT, "srun: forcing job termination"], 137),
    ],
)
def test_one_interrupt_is_enough(four: Allocation, option: str, messages: list[str], code: int) -> None:
    """Source: the lines that Slurm 25.11 prints."""
    cluster, launch = four
    body = "trap 'echo int; exit 3' INT; echo up; while :; do sleep 0.1; done"
    words = [*cluster.srun, "-n1", option, "bash", "-c", body]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, env=cluster.client_environment(launch), text=True, **pipes) as client:
        assert client.stdout is not None and client.stdout.readline() == "up\n"
        client.send_signal(signal.SIGINT)
        _, error = client.communicate(timeout=PATIENCE_S)
    lines = re.sub(r"StepId=\d+\.\d+", "StepId=J.S", error).splitlines()
    assert (lines[: len(messages)], client.returncode) == (messages, code)


@pytest.mark.parametrize(
    ("number", "messages", "code"),
    [(signal.SIGUSR1, [], 7), (signal.SIGQUIT, ["srun: Quit", "srun: forcing job termination"], 137)],
    ids=["passed on", "ends the step"],
)
def test_signals_to_srun(four: Allocation, number: signal.Signals, messages: list[str], code: int) -> None:
    cluster, launch = four
    traps = "trap 'echo got' CONT; trap 'echo got; exit 7' USR1; echo go; while :; do sleep 0.1; done"
    with subprocess.Popen(
        [*cluster.srun, "-n1", "bash", "-c", traps],
        env=cluster.client_environment(launch),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdout is not None and client.stderr is not None
        assert client.stdout.readline() == "go\n"
        client.send_signal(signal.SIGCONT)
        assert client.stderr.readline() == "srun: got SIGCONT\n"
        client.send_signal(number)
        out, error = client.communicate(timeout=PATIENCE_S)
    assert out == ("" if messages else "got\n")  # SIGCONT is not passed on
    assert error.splitlines()[: len(messages)] == messages
    assert client.returncode == code


def test_a_step_leaves_no_process(spread: Allocation) -> None:
    assert run(spread, "bash", "-c", "(setsid sleep 4716 &) ; sleep 4716 & exit 0")[2] == 0
    assert processes_of("4716") == []


def test_cancelled_job(two: Cluster) -> None:
    body = "#!/bin/bash\nsrun -n2 -N2 sh -c 'echo up; exec sleep 30'; echo rc=$?\n"
    launch = two.start(two.prepare(body, tasks=(1, 1), spec=JobSpec(ntasks=2)))
    wait_for(lambda: two.output(launch).count("up\n") == 2)
    two.nodes[0].send(
        {"op": "terminate", "job_id": launch.job_id, "state": "CANCELLED", "signal": 15, "kill_wait_s": 30}
    )
    assert two.finish(launch)["state"] == "CANCELLED"
    assert two.steps(launch)["0"]["exit_signal"] == 15
    text = two.output(launch)
    assert "*** STEP %d.0 ON n1 CANCELLED AT" % launch.job_id in text and "ON n2" not in text
    assert "srun: Job step aborted: Waiting up to 4 seconds for job step to finish.\n" in text
    assert "srun: error: n2: task 1: Terminated\n" in text and "rc=" not in text


def test_killed_step(two: Cluster) -> None:
    """scancel JOB.STEP."""
    launch = two.start(two.prepare("#!/bin/bash\nsrun sleep 30; echo rc=$?\n", tasks=(1, 1), spec=JobSpec(ntasks=2)))
    two.nodes[0].wait(
        lambda event: event["ev"] == "step" and event["step"]["step_id"] == "0" and event["job_id"] == launch.job_id
    )
    two.nodes[0].send({"op": "signal", "job_id": launch.job_id, "signal": 9, "target": "0"})
    assert two.finish(launch)["state"] == "COMPLETED"
    lines = two.output(launch).splitlines()
    assert lines[0] == "srun: Job step aborted: Waiting up to 4 seconds for job step to finish."
    assert sorted(lines[2:4]) == ["srun: error: n1: task 0: Killed", "srun: error: n2: task 1: Killed"]
    assert lines[4:] == ["rc=137"]
    step = two.steps(launch)["0"]
    assert (step["state"], step["exit_signal"]) == ("CANCELLED", 9)


@pytest.mark.parametrize("where", [(), ("-r1",)], ids=["here", "other node"])
def test_a_cancel_message_is_an_error_of_the_first_task(
    spread: Allocation, tmp_path: Path, where: tuple[str, ...]
) -> None:
    """Source: the oracle: slurmstepd's stderr is that of its first task, with its label and in its file."""
    node = "n2" if where else "n1"
    line = "0: slurmstepd-%s: error: *** STEP J.S ON %s CANCELLED AT TIME DUE to SIGNAL Killed ***\n" % (node, node)
    command = ("-N1", *where, "-n2", "-O", "-l", "-W1", "bash", "-c", "[ $SLURM_PROCID = 1 ] || exec sleep 30")
    assert line in run(spread, *command)[1]
    assert line not in run(spread, "-e", str(tmp_path / "e.%t"), *command)[1]
    written = (tmp_path / "e.0").read_text()
    assert "0: slurmstepd-%s: error: *** STEP " % node in written and not (tmp_path / "e.1").read_text()


def test_signal_to_one_step(two: Cluster) -> None:
    trap = "trap 'exit 3' USR2; echo up; while :; do sleep 0.1; done"
    script = '#!/bin/bash\nsrun -N1 -n1 --exact bash -c "%s"; echo rc=$?\n' % trap
    launch = two.start(two.prepare(script, tasks=(1, 1), spec=JobSpec(ntasks=2)))
    wait_for(lambda: "up\n" in two.output(launch))
    two.nodes[0].send({"op": "signal", "job_id": launch.job_id, "signal": int(signal.SIGUSR2), "target": "0"})
    event = two.finish(launch)
    assert (event["state"], event["derived_exit_code"]) == ("COMPLETED", 3)
    assert two.output(launch).endswith("rc=3\n")


def test_terminal(four: Allocation) -> None:
    """--pty gives task 0 a terminal of the caller's size; Ctrl-C and Ctrl-D reach it."""
    import pty

    cluster, launch = four
    pid, master = pty.fork()
    if pid == 0:
        os.execvpe(
            cluster.srun[0],
            [
                *cluster.srun,
                "--pty",
                "-n1",
                "bash",
                "--norc",
                "-c",
                "stty size; tty; read x; echo got-$x; sleep 30; echo not-here",
            ],
            {**cluster.client_environment(launch), "TERM": "dumb"},
        )
    import fcntl
    import struct
    import termios

    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("4H", 33, 101, 0, 0))
    text = b""
    while b"/dev/pts/" not in text:
        text += os.read(master, 1000)
    os.write(master, b"word\r")
    while b"got-word" not in text:
        text += os.read(master, 1000)
    os.write(master, b"\x03")
    while True:
        try:
            data = os.read(master, 1000)
        except OSError:
            break
        if not data:
            break
        text += data
    _, status = os.waitpid(pid, 0)
    os.close(master)
    assert b"not-here" not in text
    assert os.WEXITSTATUS(status) == 130


def test_only_the_first_task_has_the_terminal(four: Allocation) -> None:
    """The other tasks read nothing, and their output is discarded. Source: a real srun --pty -n3."""
    import pty

    cluster, launch = four
    pid, master = pty.fork()
    if pid == 0:
        script = "echo ready $SLURM_PROCID; read x; echo task $SLURM_PROCID $x; echo err $SLURM_PROCID >&2"
        os.execvpe(cluster.srun[0], [*cluster.srun, "--pty", "-n3", "bash", "--norc", "-c", script],
                   {**cluster.client_environment(launch), "TERM": "dumb"})  # fmt: skip
    text = b""
    while b"ready 0" not in text:
        text += os.read(master, 1000)
    os.write(master, b"word\r")
    while True:
        try:
            data = os.read(master, 1000)
        except OSError:
            break
        if not data:
            break
        text += data
    _, status = os.waitpid(pid, 0)
    os.close(master)
    assert os.WEXITSTATUS(status) == 0
    assert b"task 0 word" in text and b"err 0" in text
    assert not any(b"%s %d" % (word, rank) in text for word in (b"ready", b"task", b"err") for rank in (1, 2))
