"""Running jobs that release nodes, and nodes whose features change."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Iterator

import pytest
from local_engine import LocalEngine
from polling import PATIENCE_S

SHRINK = r"""
scontrol update jobid=$SLURM_JOB_ID NumNodes=2
srun -l true 2>&1 | head -1
. ./slurm_job_${SLURM_JOB_ID}_resize.sh
cat slurm_job_${SLURM_JOB_ID}_resize.csh
echo $SLURM_NNODES $SLURM_JOB_NODELIST ${SLURM_NTASKS-unset}
srun printenv SLURMD_NODENAME | sort
scontrol update jobid=$SLURM_JOB_ID NumNodes=3
scontrol update jobid=$SLURM_JOB_ID NodeList=n2 && echo taken
squeue -h -j $SLURM_JOB_ID -O numnodes:3,nodelist:10,numcpus:3
scontrol show job $SLURM_JOB_ID | grep -c '^   Resize'
"""


def test_a_job_releases_nodes_and_its_script_reads_the_new_size(engine: LocalEngine) -> None:
    done = engine.run(["salloc", "-Q", "-N3", "-n6", "bash", "-c", SHRINK])
    job = done.stdout.split("slurm_job_")[1].split("_")[0]
    assert done.stdout.splitlines() == [
        "To reset Slurm environment variables, execute",
        f"  For bash or sh shells:  . ./slurm_job_{job}_resize.sh",
        f"  For csh shells:         source ./slurm_job_{job}_resize.csh",
        "srun: error: SLURM_JOB_NUM_NODES environment variable conflicts with allocated node count (3 != 2).",
        'setenv SLURM_NODELIST "n[1-2]"',
        'setenv SLURM_JOB_NODELIST "n[1-2]"',
        "setenv SLURM_NNODES 2",
        "setenv SLURM_JOB_NUM_NODES 2",
        'setenv SLURM_JOB_CPUS_PER_NODE "4,1"',
        "unsetenv SLURM_NPROCS",
        "unsetenv SLURM_NTASKS",
        "unsetenv SLURM_TASKS_PER_NODE",
        "2 n[1-2] unset",
        "n1",
        "n2",
        "2  n[1-2]    5  ",
        "1",
    ]
    assert done.stderr.splitlines() == [
        f"Requested operation not supported on this system for job {job}",
        f"Invalid node name specified for job {job}",
    ]


def test_tasks_on_a_released_node_are_killed(engine: LocalEngine) -> None:
    script = (
        "srun sh -c 'trap \"\" TERM; echo up; until [ -e gone ]; do sleep .1; done; sleep $SLURM_PROCID'00' ' > out & "
        "until [ $(grep -c up out) = 2 ]; do sleep .1; done; "
        "scontrol update jobid=$SLURM_JOB_ID NumNodes=1 > /dev/null; touch gone; wait; echo over"
    )
    done = engine.run(["salloc", "-Q", "-N2", "bash", "-c", script])
    assert done.stdout == "over\n" and "srun: error: n2: task 1: Killed" in done.stderr


@pytest.fixture(scope="module")
def features(engine: LocalEngine) -> Iterator[None]:
    for names, text in (("n[1,3-4]", "a"), ("n2", "b"), ("n3", "a,c,d"), ("n4", "a,c,e")):
        assert engine.run(f"scontrol update nodename={names} features={text}").returncode == 0
    yield
    assert engine.run("scontrol update nodename=ALL features= activefeatures=").returncode == 0


@pytest.mark.parametrize(
    ("request_", "nodes"),
    [
        ("-N2 -C c*2", "n[3-4]"),
        ("-N3 -C c*2", "n[2-4]"),
        ("-N2 -C b*1", "n[2-3]"),
        ("-N3 -C c*3", "Requested node configuration is not available"),
        ("-N3 -C [(a&c)*2&b*1]", "n[2-4]"),
        ("-N3 -C [b|a]", "n[1,3-4]"),
        ("-N4 -C [a|b]", "Requested node configuration is not available"),
        ("-N2 --prefer=b|c", "n[2-3]"),
        ("-N4 --prefer=c", "n[1-4]"),
        ("-N1 -C c&nosuch", "Invalid feature specification"),
        ("-N1 --prefer=nosuch", "Invalid preferred feature specification"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("features")
def test_features_choose_nodes(engine: LocalEngine, request_: str, nodes: str) -> None:
    done = engine.run(["salloc", "-Q", *request_.split(), "printenv", "SLURM_JOB_NODELIST"])
    assert nodes in (done.stdout.strip(), done.stderr.strip().rpartition(": ")[2])


@pytest.mark.usefixtures("features")
def test_the_script_runs_on_a_node_with_the_features_of_batch(engine: LocalEngine) -> None:
    line = "sbatch -W --parsable -o host.out -N3 -C 'a' --batch=e --wrap='echo $SLURMD_NODENAME'; cat host.out"
    assert engine.run(line).stdout.splitlines()[1:] == ["n4"]


def test_updates_of_features_last_until_scontrol_reconfigure(engine: LocalEngine) -> None:
    shown = "scontrol show node n1 | grep -o 'Features=.*'"
    subset = "slurm_update error: Active features not subset of available features\n"
    assert engine.run(f"scontrol update nodename=n1 features=x,y activefeatures=y; {shown}").stdout == (
        "Features=x,y\nFeatures=y\n"
    )
    assert engine.run("scontrol update nodename=n1 activefeatures=z").stderr == subset
    assert engine.run("scontrol update nodename=n1 features=x").stderr == subset
    assert engine.run("sinfo -h -n n1 -O features,features_act").stdout.split() == ["x,y", "y"]
    # a command that reaches a controller which is leaving is answered by the next one
    again = f"scontrol reconfigure; {shown}"
    done = engine.run(f"slurmsky stop > /dev/null; {shown}; {again}; {again}")
    assert (done.stdout, done.stderr) == ("Features=x,y\nFeatures=y\n" + "Features=(null)\n" * 4, "")


def test_extra_and_instance_of_nodes(engine: LocalEngine) -> None:
    def shown(name: str) -> str:
        return engine.run(f"scontrol show node {name} | grep -E 'Extra|Instance' || true").stdout

    assert engine.run("scontrol update nodename=n[1-2] extra=e1 instanceid=i[7-8] instancetype=big").returncode == 0
    assert shown("n2") == "   Extra=e1\n   InstanceId=i8 InstanceType=big \n"
    refused = engine.run("scontrol update nodename=n[1-2] instanceid=i[1-3]")
    assert refused.stderr == "slurm_update error: Invalid node name specified\n"
    engine.run("scontrol update nodename=n[1-2] extra= instanceid= instancetype=")
    assert shown("n2") == ""


def test_a_terminal_that_is_closed_ends_the_step_by_a_signal(engine: LocalEngine) -> None:
    line = ["srun", "-J", "hangup", "-u", "sh", "-c", "echo up; sleep 60"]
    master, slave = pty.openpty()
    leader = "import os, sys; os.setsid(); import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY); " + (
        "os.execvp(sys.argv[1], sys.argv[1:])"
    )
    with subprocess.Popen(["python3", "-c", leader, *line], env=dict(engine.env), cwd=engine.root,
                          stdin=slave, stdout=slave, stderr=slave) as srun:  # fmt: skip
        os.close(slave)
        shown = b""
        while b"up" not in shown:
            shown += os.read(master, 1000)
        os.close(master)
        assert srun.wait(PATIENCE_S) == 128 + 9
    ended = engine.run("sacct -n -X -P -o state,exitcode --name=hangup").stdout
    assert ended == "FAILED|0:9\n"
