"""srun inside an allocation. Expected text was recorded from the real srun (22.05) with allocations of the "
"same shape."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from pathlib import Path

import pytest
from polling import PATIENCE_S

from slurmsky.model.allocation import HetComponent, NodeShare
from slurmsky.model.spec import DeclaredOption, JobSpec

from .allocations import Allocation, run
from .conftest import KINDS
from .driver import Cluster


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> type[Cluster]:
    """All tests also run on nodes that share nothing."""
    return request.param  # type: ignore[no-any-return]


BASH = ("bash", "-c")
# arguments, stdout (lines sorted), stderr, exit code; salloc -N1 -n4
ONE_NODE = [
    (("-l", "printf", "abc"), "0: abc\n1: abc\n2: abc\n3: abc\n", "", 0),
    (("-n2", "printf", "abc"), "abcabc", "", 0),
    (
        ("-n5", "true"),
        "",
        "srun: error: Unable to create step for job J: More processors requested than permitted\n",
        1,
    ),
    (("-n5", "-O", "echo", "x"), "x\n" * 5, "", 0),
    (
        (*BASH, "exit $SLURM_PROCID"),
        "",
        "srun: error: n1: task 1: Exited with exit code 1\nsrun: error: n1: task 2: Exited with exit code 2\n"
        "srun: error: n1: task 3: Exited with exit code 3\n",
        3,
    ),
    (("-n2", *BASH, "exit 3"), "", "srun: error: n1: tasks 0-1: Exited with exit code 3\n", 3),
    (
        ("-n2", *BASH, "kill -9 $$"),
        "",
        "srun: error: n1: tasks 0-1: Killed\nsrun: Force Terminated StepId=J.S\n",
        137,
    ),
    (
        ("-n2", *BASH, "if [ $SLURM_PROCID = 1 ]; then kill -9 $$; fi; exit 5"),
        "",
        "srun: error: n1: task 0: Exited with exit code 5\nsrun: error: n1: task 1: Killed\n"
        "srun: Force Terminated StepId=J.S\n",
        137,
    ),
    (
        ("-n2", "-K", *BASH, "if [ $SLURM_PROCID = 1 ]; then sleep 10; fi; exit 5"),
        "",
        "srun: error: n1: task 0: Exited with exit code 5\nsrun: Terminating "
        "StepId=J.S\n"
        "slurmstepd-n1: error: *** STEP J.S ON n1 CANCELLED AT TIME DUE TO TASK FAILURE ***\n"
        "srun: error: n1: task 1: "
        "Terminated\n"
        "srun: Force Terminated StepId=J.S\n",
        143,
    ),
    (
        ("-n2", "-W1", *BASH, "if [ $SLURM_PROCID = 1 ]; then sleep 10; fi; exit 0"),
        "",
        "srun: First task exited 1s ago\nsrun: StepId=J.S task 1: running\nsrun: StepId=J.S task 0: exited\n"
        "srun: Terminating StepId=J.S\n"
        "slurmstepd-n1: error: *** STEP J.S ON n1 CANCELLED AT TIME DUE to SIGNAL Killed ***\n"
        "srun: Job step aborted: Waiting up to 4 seconds for job step to finish.\nsrun: error: n1: task 1: "
        "Killed\n",
        137,
    ),
    (("-n2", "-o", "0", "echo", "hi"), "hi\n", "", 0),
    (
        ("-n1", "-o", "/proc/nonexist/foo", "echo", "hi"),
        "",
        "srun: error: Could not open stdout file: No such file or directory\n",
        1,
    ),
    (
        ("-n1", "nosuch"),
        "",
        "slurmstepd-n1: error: execve(): nosuch: No such file or directory\n"
        "srun: error: n1: task 0: Exited with exit code 2\n",
        2,
    ),
    (
        ("-n1", "/etc"),
        "",
        "slurmstepd-n1: error: execve(): /etc: Permission denied\nsrun: error: n1: task 0: Exited with exit code 13\n",
        13,
    ),
    (
        ("-n1", "-D", "/proc/nonexist", "pwd"),
        "/tmp\n",
        "slurmstepd-n1: error: couldn't chdir to `/proc/nonexist': No such file or directory: going to /tmp instead\n"
        * 2,
        0,
    ),
    (("-n2", "--multi-prog", "nosuch"), "", "srun: error: Could not open multi_prog config file nosuch\n", 1),
    (
        ("--jobid=99999", "true"),
        "",
        "srun: error: Unable to confirm allocation for job 99999: Invalid job id specified\n"
        "srun: Check SLURM_JOB_ID environment variable. Expired or invalid job 99999\n",
        1,
    ),
    (("-N3", "true"), "", "srun: error: Only allocated 1 nodes asked for 3\n", 1),
    (
        ("-n1", "-c", "99", "true"),
        "",
        "srun: error: Unable to create step for job J: More processors requested than permitted\n",
        1,
    ),
    (
        ("-n1", "--gres=gpu:1", "true"),
        "",
        "srun: error: Unable to create step for job J: Invalid generic resource (gres) specification\n",
        1,
    ),
    (("-n2", *BASH, "echo $SLURM_PROCID $SLURM_CPUS_ON_NODE"), "0 4\n1 4\n", "", 0),
    (("-n2", "--exact", *BASH, "echo $SLURM_PROCID $SLURM_CPUS_ON_NODE"), "0 2\n1 2\n", "", 0),
    (("-n1", "-c2", *BASH, "echo $SLURM_CPUS_ON_NODE $SLURM_CPUS_PER_TASK"), "2 2\n", "", 0),
    (
        ("-n1", "--export=A=1", *BASH, "echo $A $HOME."),
        "",
        "slurmstepd-n1: error: execve(): bash: No such file or "
        "directory\nsrun: error: n1: task 0: Exited with exit code 2\n",
        2,
    ),
    (("-n1", "--export=ALL,A=1", *BASH, "echo $A"), "1\n", "", 0),
    (("-n1", "-J", "abc", *BASH, "echo $SLURM_JOB_NAME"), "abc\n", "", 0),
    (("-n1", *BASH, "ulimit -Sn; echo err >&2; exit 0"), None, "err\n", 0),
]


@pytest.mark.parametrize(("argv", "stdout", "stderr", "code"), ONE_NODE, ids=[" ".join(row[0]) for row in ONE_NODE])
def test_one_node(four: Allocation, argv: tuple[str, ...], stdout: str | None, stderr: str, code: int) -> None:
    out, error, status = run(four, *argv)
    assert (error, status) == (stderr, code)
    if stdout is not None:
        assert sorted(out.splitlines()) == sorted(stdout.splitlines())


PLACES = [
    (
        ("-l", *BASH, "echo $SLURMD_NODENAME $SLURM_NODEID $SLURM_LOCALID $SLURM_GTIDS $SLURM_CPUS_ON_NODE"),
        ["0: n1 0 0 0,1,2 3", "1: n1 0 1 0,1,2 3", "2: n1 0 2 0,1,2 3", "3: n2 1 0 3 1"],
    ),
    (
        ("-n2", "-l", *BASH, "echo $SLURMD_NODENAME $SLURM_GTIDS $SLURM_DISTRIBUTION"),
        ["0: n1 0 cyclic", "1: n2 1 cyclic"],
    ),
    (
        (
            "-n1",
            "-N1",
            *BASH,
            "echo $SLURM_NNODES $SLURM_JOB_NUM_NODES $SLURM_NODELIST $SLURM_STEP_NODELIST $SLURM_NTASKS",
        ),
        ["1 2 n[1-2] n1 1"],
    ),
    (("-r1", "-N1", "-n1", *BASH, "echo $SLURMD_NODENAME"), ["n2"]),
    (("-w", "n2", "-N1", "-n1", *BASH, "echo $SLURMD_NODENAME"), ["n2"]),
    (("-x", "n1", "-N1", "-n1", *BASH, "echo $SLURMD_NODENAME"), ["n2"]),
    (("-m", "cyclic", "-n4", "-l", *BASH, "echo $SLURMD_NODENAME"), ["0: n1", "1: n2", "2: n1", "3: n1"]),
    (
        ("-m", "plane=2", "-O", "-n4", "-l", *BASH, "echo $SLURMD_NODENAME"),
        ["0: n1", "1: n1", "2: n2", "3: n1"],
    ),
    ((*BASH, "echo $SLURM_STEP_TASKS_PER_NODE $SLURM_TASKS_PER_NODE"), ["3,1 3,1"] * 4),
    # One task a node: each line is printed whole, however slowly it is written.
    (("-N2", "-n2", *BASH, "printf a$SLURM_PROCID; sleep 0.2; echo b$SLURM_PROCID"), ["a0b0", "a1b1"]),
]


@pytest.mark.parametrize(("argv", "lines"), PLACES, ids=[" ".join(row[0]) for row in PLACES])
def test_two_nodes(spread: Allocation, argv: tuple[str, ...], lines: list[str]) -> None:
    out, error, status = run(spread, *argv)
    assert sorted(out.splitlines()) == sorted(lines)
    assert (error, status) == ("", 0)


def test_stdin_to_all_to_one_and_to_none(spread: Allocation) -> None:
    assert sorted(run(spread, "-l", "cat", stdin="a\nb")[0].splitlines()) == [
        "%d: %s" % (rank, letter) for rank in range(4) for letter in "ab"
    ]
    assert run(spread, "-i", "3", "-l", "cat", stdin="a\n")[0] == "3: a\n"
    assert run(spread, "-i", "none", "cat", stdin="a\n")[0] == ""


def test_input_and_output_files(spread: Allocation, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("text\n")
    run(spread, "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out.%t.%N.%n.%4j"), "cat")
    job = "%04d" % spread[1].job_id
    assert {path.name: path.read_text() for path in tmp_path.glob("out.*")} == {
        "out.%s.%s" % (name, job): "text\n" for name in ("0.n1.0", "1.n1.0", "2.n1.0", "3.n2.1")
    }
    run(spread, "-o", str(tmp_path / "all"), "-e", str(tmp_path / "err"), "bash", "-c", "echo o; echo e >&2")
    assert (tmp_path / "all").read_text() == "o\n" * 4
    assert (tmp_path / "err").read_text() == "e\n" * 4


@pytest.mark.parametrize("program", ["true", "exec <&-; sleep 0.3", "head -c 1000000 | wc -c", "sleep 0.1"])
def test_an_endless_input_file_ends_with_the_tasks(spread: Allocation, program: str) -> None:
    out, err, code = run(spread, "-i", "/dev/zero", "bash", "-c", program)
    assert (out.split(), err, code) == (["1000000"] * 4 if "head" in program else [], "", 0)


def test_multi_prog(spread: Allocation, tmp_path: Path) -> None:
    (tmp_path / "mp").write_text("# a comment\n0 echo zero %t %o\n1-2 echo more %t %o\n* bash -c 'echo rest'\n")
    assert sorted(run(spread, "--multi-prog", str(tmp_path / "mp"))[0].splitlines()) == [
        "more 1 0",
        "more 2 1",
        "rest",
        "zero 0 0",
    ]
    cluster, launch = spread
    # The step has the name of the file. Source: the oracle
    cluster.head(launch).wait(lambda event: "step" in event and event["step"]["name"] == "mp")
    (tmp_path / "args").write_text("0 echo zero\n* echo rest %t\n")
    assert sorted(run(spread, "--multi-prog", str(tmp_path / "args"), "one", "%t three")[0].splitlines()) == [
        "rest 1 one %t three",
        "rest 2 one %t three",
        "rest 3 one %t three",
        "zero one %t three",
    ]
    (tmp_path / "bad").write_text("0 echo zero\n")
    assert run(spread, "--multi-prog", str(tmp_path / "bad"))[1] == (
        "srun: error: Configuration file %s invalid, no record for task id 1\n" % (tmp_path / "bad")
    )


def test_steps_wait_for_each_other(four: Allocation) -> None:
    cluster, launch = four
    env = cluster.client_environment(launch)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": env}
    with subprocess.Popen([*cluster.srun, "-n1", "bash", "-c", "echo up; cat"], text=True, **pipes) as first:
        assert first.stdin is not None and first.stdout is not None
        assert first.stdout.readline() == "up\n"
        with subprocess.Popen([*cluster.srun, "-n1", "echo", "second"], text=True, **pipes) as second:
            assert second.stderr is not None and second.stdout is not None
            assert second.stderr.readline() == (
                "srun: Job %d step creation temporarily disabled, retrying (Requested nodes are busy)\n" % launch.job_id
            )
            first.stdin.close()
            assert (second.stdout.read(), second.wait(), first.wait()) == ("second\n", 0, 0)
            assert second.stderr.read() == "srun: Step created for job %d\n" % launch.job_id


def test_immediate_overlap_and_exact_beside_a_running_step(four: Allocation) -> None:
    cluster, launch = four
    env = cluster.client_environment(launch)
    long = [*cluster.srun, "--exact", "-n3", "bash", "-c", "echo up; exec sleep 30"]
    with subprocess.Popen(long, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as first:
        assert first.stdout is not None
        assert [first.stdout.readline() for _ in range(3)] == ["up\n"] * 3
        assert run(four, "-I", "-n1", "true")[1] == (
            "srun: error: Unable to create step for job J: Requested nodes are busy\n"
        )
        assert run(four, "--exact", "-n1", "true") == ("", "", 0)
        assert run(four, "--overlap", "-n4", "true") == ("", "", 0)
        assert run(four, "--external-launcher", "-n4", "true") == ("", "", 0)  # it shares the CPUs of other steps
        assert first.poll() is None
        first.terminate()


def test_output_is_complete_and_memory_bounded(four: Allocation, tmp_path: Path) -> None:
    cluster, launch = four
    size = 200_000_000
    client = subprocess.Popen(
        [*cluster.srun, "-n1", "head", "-c", str(size), "/dev/zero"],
        env=cluster.client_environment(launch),
        stdout=subprocess.PIPE,
    )
    assert client.stdout is not None
    time.sleep(1)  # no reader: client, agent and tasks must become idle
    pages = int(Path("/proc/%d/statm" % cluster.nodes[0].agent_pid).read_text().split()[1])
    resident = pages * os.sysconf("SC_PAGE_SIZE")
    assert resident < 80_000_000
    total = 0
    while True:
        data = client.stdout.read(1 << 20)
        if not data:
            break
        total += len(data)
    client.stdout.close()
    assert (total, client.wait()) == (size, 0)


def test_many_simultaneous_steps(spread: Allocation) -> None:
    cluster, launch = spread
    env = cluster.client_environment(launch)
    clients = [
        subprocess.Popen(
            [*cluster.srun, "--overlap", "-N1", "-n1", "echo", str(index)],
            env=env,
            stdout=subprocess.PIPE,
            text=True,
        )
        for index in range(30)
    ]
    assert sorted(int(client.communicate(timeout=PATIENCE_S)[0]) for client in clients) == list(range(30))


def test_components_of_a_het_job(two: Cluster) -> None:
    body = "echo $SLURM_PROCID/$SLURM_NTASKS $SLURMD_NODENAME $SLURM_GTIDS $SLURM_JOB_NODELIST $SLURM_STEP_ID"
    script = "#!/bin/bash\n" + "".join(
        "srun %s bash -c '%s' | sort\n" % (group, body) for group in ("", "--het-group=1", "--het-group=0,1")
    )
    script += "srun bash -c '%s' : -n2 bash -c 'echo second $SLURM_PROCID' | sort\n" % body
    launch = two.prepare(script, tasks=(1,), spec=JobSpec(ntasks=1))
    other = NodeShare(name="n2", address=two.address_of(two.nodes[1]), cpu_ids=(0, 1), tasks=2)
    shared = {"account": "root", "partition": "debug", "qos": "normal"}
    launch.het = [
        HetComponent(job_id=launch.job_id, name="a", spec=launch.spec, shares=launch.shares, **shared),
        HetComponent(job_id=launch.job_id + 1, name="b", spec=JobSpec(ntasks=2), shares=[other], **shared),
    ]
    two.start(launch)
    assert two.finish(launch)["state"] == "COMPLETED"
    assert two.output(launch).splitlines() == [
        "0/1 n1 0 n1 0",
        "0/2 n2 0,1 n2 1",
        "1/2 n2 0,1 n2 1",
        "0/3 n1 0 n[1-2] 2",
        "1/3 n2 1,2 n[1-2] 2",
        "2/3 n2 1,2 n[1-2] 2",
        "0/3 n1 0 n[1-2] 3",
        "second 1",
        "second 2",
    ]


def test_files_are_of_the_node_that_opens_them(spread: Allocation) -> None:
    """Nodes open files with patterns in their own folder; srun opens a file that all tasks share."""
    cluster, _ = spread
    run(spread, "-o", "part.%t", "bash", "-c", "echo $SLURM_PROCID")
    run(spread, "-o", "whole", "bash", "-c", "echo $SLURM_PROCID")
    node_of = dict(zip(range(4), [cluster.nodes[0]] * 3 + [cluster.nodes[1]], strict=True))
    for rank, node in node_of.items():
        assert cluster.outside(node, cluster.work / f"part.{rank}").read_text() == f"{rank}\n"
    whole = cluster.outside(cluster.nodes[0], cluster.work / "whole")
    assert sorted(whole.read_text().split()) == ["0", "1", "2", "3"]
    apart = cluster.outside(cluster.nodes[1], cluster.work) != cluster.outside(cluster.nodes[0], cluster.work)
    assert cluster.outside(cluster.nodes[1], cluster.work / "whole").exists() is not apart


def test_an_option_of_the_site_is_read_on_every_node(two: Cluster) -> None:
    """A task of another node than the first runs srun: only the first node's agent has the job's launch."""
    declared = (DeclaredOption("image", "required", "environment", environment="IMAGE"),)
    inner = "srun --overlap -N1 -n1 --image=b sh -c 'echo $SLURMD_NODENAME $IMAGE'"
    # A job of the second node, submitted before the site declared the option.
    other = two.start(two.prepare(None, first_node=1))
    launch = two.start(
        two.prepare(
            f"#!/bin/bash\nsrun --overlap -N1 -n1 -w n2 bash -c {shlex.quote(inner)}\n",
            tasks=(1, 1),
            spec=JobSpec(ntasks=2, site_options=(("image", "a"),)),
            declared_options=declared,
        )
    )
    two.finish(launch)
    two.head(other).send({"op": "terminate", "job_id": other.job_id, "state": "COMPLETED", "signal": 15})
    two.finish(other)
    assert two.output(launch) == "n1 b\n"
