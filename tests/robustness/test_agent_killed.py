"""kill -9 of an agent: no process or file of a job remains."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from polling import PATIENCE_S, wait_for

from slurmsky.agent.process.cgroup_tree import own_group

from .conftest import Engine, pids_with

Run = Callable[..., Any]


def submit(run: Run, *words: str) -> str:
    """sbatch's job id."""
    code, out, err = run("sbatch", "--parsable", *words)
    assert code == 0, err
    return str(out.strip())


def field(run: Run, job: str, name: str) -> str:
    """One field of `scontrol show job`."""
    out = run("scontrol", "show", "job", "-o", job)[1]
    return next((word.partition("=")[2] for word in out.split() if word.startswith(name + "=")), "")


def state(run: Run, job: str) -> str:
    return field(run, job, "JobState")


@pytest.fixture
def sleeper(tmp_path: Path) -> str:
    """A number of seconds that identifies the sleep processes of this test."""
    return f"4{os.getpid()}{abs(hash(str(tmp_path))) % 1000:03d}"


def kill_agent(engine: Engine, node: str) -> None:
    (pid,) = engine.agents(node)
    os.kill(pid, signal.SIGKILL)


TREE = "(setsid nohup sleep {0} >/dev/null 2>&1 &); srun -n1 sleep {0} & env -i sleep {0} & sleep {0}"


def test_requeued_after_its_agent_died(engine: Engine, run: Run, sleeper: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    body = f"echo run $SLURM_RESTART_COUNT >> {mark}; [ $SLURM_RESTART_COUNT ] && exit 0; " + TREE.format(sleeper)
    job = submit(run, "-wn1", "--wrap", body)
    wait_for(lambda: len(pids_with("sleep", sleeper)) >= 4)
    before = pids_with("sleep", sleeper)
    kill_agent(engine, "n1")
    wait_for(lambda: not set(before) & set(pids_with("sleep", sleeper)), why="processes of the dead agent's job")
    wait_for(lambda: state(run, job) == "COMPLETED", why=f"the second run: {run('scontrol', 'show', 'job', job)[1]}")
    assert mark.read_text() == "run\nrun 1\n"
    assert field(run, job, "Restarts") == "1"
    rows = run("sacct", "-D", "-X", "-n", "-P", "-o", "State", "-j", job)[1].split()
    assert rows == ["NODE_FAIL", "COMPLETED"]
    assert engine.faults() == []


def test_not_requeued_when_the_job_forbids_it(engine: Engine, run: Run, sleeper: str) -> None:
    job = submit(run, "--no-requeue", "-wn1", "--wrap", TREE.format(sleeper))
    wait_for(lambda: len(pids_with("sleep", sleeper)) >= 4)
    kill_agent(engine, "n1")
    wait_for(lambda: state(run, job) == "NODE_FAIL")
    assert pids_with("sleep", sleeper) == []
    assert run("squeue", "-h")[1] == ""


def test_steps_on_other_nodes_end_with_the_head(engine: Engine, run: Run, sleeper: str) -> None:
    job = submit(run, "--no-requeue", "-N2", "--wrap", f"srun sleep {sleeper}")
    wait_for(lambda: len(pids_with("sleep", sleeper)) >= 2)
    kill_agent(engine, "n1")
    wait_for(lambda: state(run, job) == "NODE_FAIL")
    wait_for(lambda: pids_with("sleep", sleeper) == [])


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (["srun"], b"srun: error: Node failure on n1\n"),
        (["salloc", "-Q", "srun"], b"srun: error: lost connection to the node's agent\n"),
    ],
    ids=["srun", "salloc"],
)
def test_srun_reports_that_its_node_has_failed(
    engine: Engine, run: Run, sleeper: str, line: list[str], error: bytes
) -> None:
    words = [*line, "sh", "-c", f"echo begun; exec sleep {sleeper}"]
    process = run.start(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"begun\n"
    kill_agent(engine, "n1")
    _, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (1, error)
    wait_for(lambda: pids_with("sleep", sleeper) == [])


def test_the_command_of_salloc_and_its_terminal_outlive_the_agent(engine: Engine, run: Run) -> None:
    """They are no processes of the node, although the command's environment names the job and the agent."""
    words = ["salloc", "-wn1", "sh", "-c", "echo begun; read line; echo after; exit 3"]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    process = run.start(*words, **pipes, start_new_session=True)
    assert process.stderr.readline().startswith(b"salloc: Granted job allocation ")
    assert process.stdout.readline() == b"begun\n"
    kill_agent(engine, "n1")
    assert process.stderr.readline().endswith(b" has been revoked.\n")
    out, err = process.communicate(b"\n", timeout=PATIENCE_S)
    assert (process.returncode, out, err) == (3, b"after\n", b"")


def test_a_job_ends_with_any_of_its_nodes(engine: Engine, run: Run, sleeper: str) -> None:
    job = submit(run, "--no-requeue", "-N2", "--wrap", f"sleep {sleeper}")
    wait_for(lambda: pids_with("sleep", sleeper))
    kill_agent(engine, "n2")
    wait_for(lambda: state(run, job) == "NODE_FAIL")
    wait_for(lambda: pids_with("sleep", sleeper) == [])


@pytest.mark.parametrize("requeue", ["--no-requeue", "--requeue"])
def test_a_node_lost_while_the_controller_is_dead_ends_its_jobs(
    engine: Engine, run: Run, sleeper: str, tmp_path: Path, requeue: str
) -> None:
    mark = tmp_path / "mark"
    body = f"echo run >> {mark}; [ $SLURM_RESTART_COUNT ] || sleep {sleeper}"
    job = submit(run, requeue, "-N2", "--wrap", body)
    wait_for(mark.exists)
    engine.kill_controller()
    kill_agent(engine, "n2")
    wait_for(lambda: pids_with("sleep", sleeper) == [], why="the script on the other node")
    wanted = "NODE_FAIL" if requeue == "--no-requeue" else "COMPLETED"
    wait_for(lambda: state(run, job) == wanted, why=f"{wanted}, not {state(run, job)}")
    assert mark.read_text().count("run") == (1 if requeue == "--no-requeue" else 2)
    assert engine.faults() == []


def test_agent_and_controller_killed_together(engine: Engine, run: Run, sleeper: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    body = f"echo run >> {mark}; [ $SLURM_RESTART_COUNT ] || sleep {sleeper}"
    jobs = [submit(run, "--wrap", body) for _ in range(3)]
    wait_for(lambda: mark.exists() and mark.read_text() == "run\n" * 3)
    for pid in [*engine.agents(), engine.controller()]:
        os.kill(pid, signal.SIGKILL)
    run("squeue")
    wait_for(lambda: all(state(run, job) == "COMPLETED" for job in jobs))
    assert mark.read_text() == "run\n" * 6
    assert pids_with("sleep", sleeper) == []


def test_cancelled_while_its_agent_is_starting(engine: Engine, run: Run, sleeper: str) -> None:
    job = submit(run, "--wrap", f"sleep {sleeper}")
    run("scancel", job)  # the node's agent takes a while to come
    wait_for(lambda: state(run, job) == "CANCELLED" and not run("squeue", "-h")[1])
    assert pids_with("sleep", sleeper) == []


def test_cancelled_while_the_controller_is_dead(engine: Engine, run: Run, sleeper: str) -> None:
    job = submit(run, "--wrap", f"sleep {sleeper}")
    wait_for(lambda: pids_with("sleep", sleeper))
    run("scancel", job)
    engine.kill_controller()
    wait_for(lambda: state(run, job) == "CANCELLED" and not run("squeue", "-h")[1])
    assert pids_with("sleep", sleeper) == []


def test_requeue_requested_for_and_the_controller_dies(engine: Engine, run: Run, sleeper: str) -> None:
    job = submit(run, "--wrap", f"trap 'sleep 0.5; exit' TERM; sleep {sleeper} & wait")
    wait_for(lambda: pids_with("sleep", sleeper))
    assert run("scontrol", "requeuehold", job)[0] == 0
    engine.kill_controller()
    wait_for(
        lambda: state(run, job) in ("PENDING", "REQUEUE_HOLD") and field(run, job, "Restarts") == "1",
        12,
        str(run("scontrol", "show", "job", job)),
    )
    assert field(run, job, "Priority") == "0"
    wait_for(lambda: pids_with("sleep", sleeper) == [])


def test_not_even_a_hidden_process_survives_its_agent(engine: Engine, run: Run, sleeper: str) -> None:
    """A process with its own session, no environment and no parent. Only its cgroup identifies its job."""
    if own_group() is None:
        pytest.skip("no cgroup v2 that this user may write")
    job = submit(run, "-wn1", "--no-requeue", "--wrap", f"(env -i setsid sleep {sleeper} &); sleep {sleeper}")
    wait_for(lambda: len(pids_with("sleep", sleeper)) == 2)
    kill_agent(engine, "n1")
    wait_for(lambda: state(run, job) == "NODE_FAIL", why=state(run, job))
    wait_for(lambda: pids_with("sleep", sleeper) == [], why="hidden processes of the dead agent's job")


@pytest.mark.parametrize(
    "end, wanted",
    [("sleep 0.2", "COMPLETED"), ("limit", "TIMEOUT"), ("cancel", "CANCELLED")],
    ids=["normal", "timeout", "cancel"],
)
def test_a_daemonised_grandchild_dies_with_its_job(
    engine: Engine, run: Run, sleeper: str, end: str, wanted: str
) -> None:
    hidden = f"(setsid nohup sleep {sleeper} >/dev/null 2>&1 &); (env -i setsid sleep {sleeper} &); sleep 0.3; "
    job = submit(run, "--wrap", hidden + (end if wanted == "COMPLETED" else f"sleep {sleeper}"))
    if wanted != "COMPLETED":
        wait_for(lambda: len(pids_with("sleep", sleeper)) == 3)
    if end == "cancel":
        run("scancel", job)
    elif end == "limit":  # to the second, where a new TimeLimit would be a minute at least
        assert run("scontrol", "update", f"JobId={job}", "EndTime=now+2")[0] == 0
    wait_for(lambda: state(run, job) == wanted and not run("squeue", "-h")[1], 75, f"{wanted}, not {state(run, job)}")
    assert pids_with("sleep", sleeper) == []


def test_a_node_whose_agent_cannot_start_is_down_until_one_starts(
    engine: Engine, run: Run, home: Path, tmp_path: Path
) -> None:
    lock = home / "nodes" / "n1" / "agent.lock"
    lock.mkdir(parents=True)
    job = submit(run, "--no-requeue", "-wn1", "--wrap", f"touch {tmp_path}/ran")
    child = submit(run, "-wn2", "-d", f"afterok:{job}", "--wrap", f"touch {tmp_path}/child")
    wait_for(lambda: "down*" in run("sinfo", "-hn", "n1", "-o%t")[1])
    assert "agent.lock: Is a directory" in run("sinfo", "-hR", "-o%E %u %n")[1]
    assert (state(run, job), state(run, child)) == ("PENDING", "PENDING")
    assert field(run, submit(run, "-wn2", "--wait", "--wrap", "true"), "JobState") == "COMPLETED"
    lock.rmdir()
    wait_for(lambda: state(run, child) == "COMPLETED")
    assert run("sinfo", "-hn", "n1", "-o%t")[1] in ("idle\n", "mix\n")
    assert run("sinfo", "-hR")[1] == ""
    assert (tmp_path / "ran").exists() and engine.faults() == []


def test_a_job_survives_an_agent_killed_while_it_starts(engine: Engine, run: Run, tmp_path: Path) -> None:
    jobs = []
    for _ in range(3):
        jobs.append(submit(run, "-wn1", "--no-requeue", "--wrap", f"echo ran >> {tmp_path}/ran"))
        for pid in wait_for(lambda: engine.agents("n1")):  # type: ignore[attr-defined]
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
    wait_for(lambda: not run("squeue", "-h")[1])
    assert {state(run, job) for job in jobs} <= {"COMPLETED", "NODE_FAIL"}
    assert {state(run, submit(run, "--wait", "-wn1", "--wrap", "true"))} == {"COMPLETED"}
    assert engine.faults() == []


@pytest.mark.parametrize("down", [False, True], ids=["agent killed", "State=DOWN"])
def test_a_job_with_no_kill_continues_without_a_failed_node(
    engine: Engine, run: Run, sleeper: str, tmp_path: Path, down: bool
) -> None:
    """A step ends with its failed node on all nodes, a step with --no-kill only there.

    Source: the output of Slurm 25.11 for this script.
    """
    go, out = tmp_path / "go", tmp_path / "out"
    step = f"sh -c 'test $SLURM_PROCID = 0 || exec sleep $LENGTH; until test -e {go}; do sleep 0.05; done; echo ended'"
    steps = (f"-n1 -N1 {step}", f"-n2 -N2 --overlap -k {step}", "-n2 -N2 --overlap sleep $LENGTH")
    body = f"export LENGTH={sleeper}; " + "".join(f"srun {words} & " for words in steps) + "wait"
    job = submit(run, "-N2", "-n2", "-k", "--overcommit", "-o", str(out), "--wrap", body)
    wait_for(lambda: len(pids_with("sleep", sleeper)) >= 3)
    if down:
        assert run("scontrol", "update", "NodeName=n2", "State=DOWN", "Reason=test")[0] == 0
    else:
        kill_agent(engine, "n2")
    wait_for(lambda: field(run, job, "NodeList") == "n1")
    wait_for(lambda: pids_with("sleep", sleeper) == [])
    assert (state(run, job), field(run, job, "NumNodes"), field(run, job, "NumTasks")) == ("RUNNING", "1", "2")
    go.touch()
    wait_for(lambda: state(run, job) == "COMPLETED")
    text = out.read_text()
    assert (text.count("ended\n"), text.count("srun: error: Node failure on n2\n")) == (2, 2)
    assert engine.faults() == []
    if down:
        run("scontrol", "update", "NodeName=n2", "State=RESUME")
