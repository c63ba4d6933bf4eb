"""Many steps, large steps, and steps that ignore signals.

SLURMSKY_TEST_FULL=1 runs the sizes of a real site.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from .driver import BIN, Cluster
from .test_batch import processes_of

FULL = bool(os.environ.get("SLURMSKY_TEST_FULL"))
STEPS, AT_ONCE = (1000, 100) if FULL else (60, 20)
TASKS, NODES = (512, 8) if FULL else (64, 4)
FLOOD_MB = 1000 if FULL else 100
TIMEOUT = 300.0 if FULL else 60.0


def test_steps_one_after_another(one: Cluster) -> None:
    script = "#!/bin/bash\nfor i in $(seq %d); do srun true || exit 1; done\n" % STEPS
    launch = one.start(one.prepare(script))
    assert one.finish(launch, TIMEOUT)["state"] == "COMPLETED"
    steps = one.steps(launch)
    assert set(steps) == {"batch", *map(str, range(STEPS))}
    assert {step["state"] for step in steps.values()} == {"COMPLETED"}


def test_simultaneous_steps_wait_for_each_other(one: Cluster) -> None:
    script = "#!/bin/bash\nfor i in $(seq %d); do srun -n1 --exact bash -c 'echo done' & done; wait\n" % AT_ONCE
    launch = one.start(one.prepare(script, tasks=(4,)))
    assert one.finish(launch, TIMEOUT)["state"] == "COMPLETED"
    assert one.output(launch).splitlines().count("done") == AT_ONCE
    assert len(one.steps(launch)) == AT_ONCE + 1


def test_many_tasks_on_many_nodes() -> None:
    each = TASKS // NODES
    with Cluster(NODES, cpus=each) as cluster:
        launch = cluster.start(
            cluster.prepare("#!/bin/bash\nsrun -n%d bash -c 'echo $SLURM_PROCID'\n" % TASKS, tasks=(each,) * NODES)
        )
        assert cluster.finish(launch, TIMEOUT)["state"] == "COMPLETED"
        assert sorted(map(int, cluster.output(launch).split())) == list(range(TASKS))
        for node in cluster.nodes:
            assert node.process is not None and node.process.poll() is None


def _peak_mb(pid: int) -> int:
    text = Path("/proc/%d/status" % pid).read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmHWM"))) // 1024


def test_a_flood_of_output_does_not_fill_the_memory(fresh: Cluster) -> None:
    launch = fresh.start(fresh.prepare(None, tasks=(1,)))
    with subprocess.Popen(
        [str(BIN / "srun"), "-n1", "head", "-c", str(FLOOD_MB * 1_000_000), "/dev/zero"],
        env=fresh.client_environment(launch),
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    ) as srun:
        assert srun.stdout is not None
        time.sleep(0.5)  # no reader: the tasks have to wait
        count = sum(map(len, iter(lambda: srun.stdout.read(1 << 20), b"")))  # type: ignore[union-attr]
    assert (count, srun.returncode) == (FLOOD_MB * 1_000_000, 0)
    agent = fresh.head(launch).process
    assert agent is not None and _peak_mb(agent.pid) < 80


def test_a_task_that_ignores_sigterm_is_killed_after_kill_wait(one: Cluster) -> None:
    script = "#!/bin/bash\ntrap '' TERM\nsrun bash -c 'trap \"\" TERM; echo up; while :; do sleep 30.0417; done'\n"
    launch = one.start(one.prepare(script, kill_wait_s=1))
    deadline = time.monotonic() + 60
    while "up" not in one.output(launch) and time.monotonic() < deadline:
        time.sleep(0.05)
    began = time.monotonic()
    one.head(launch).send(
        {"op": "terminate", "job_id": launch.job_id, "state": "CANCELLED", "signal": 15, "kill_wait_s": 1}
    )
    assert one.finish(launch)["state"] == "CANCELLED"
    assert time.monotonic() - began < 25  # not the 30 s that are usual
    assert not processes_of("30.0417")


def test_tasks_of_a_killed_srun_die(one: Cluster) -> None:
    launch = one.start(one.prepare(None, tasks=(2,)))
    srun = subprocess.Popen(
        [str(BIN / "srun"), "-n2", "bash", "-c", "trap '' TERM HUP; echo up; sleep 300 & sleep 301.0417"],
        env=one.client_environment(launch),
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    assert srun.stdout is not None
    assert [srun.stdout.readline() for _ in range(2)] == ["up\n", "up\n"]
    srun.send_signal(signal.SIGKILL)
    srun.wait()
    srun.stdout.close()
    deadline = time.monotonic() + 10
    while processes_of("301.0417") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not processes_of("301.0417")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full stands for a full disk")
def test_a_full_disk_under_the_output(one: Cluster) -> None:
    launch = one.start(one.prepare(None))
    done = one.command(launch, ["srun", "-n1", "-o", "/dev/full", "bash", "-c", "echo lost; exit 3"])
    assert done.returncode == 3  # the task's own end counts
    assert "srun: error: Could not write output: No space left on device\n" in done.stderr


def test_half_closed_stdin(one: Cluster) -> None:
    launch = one.start(one.prepare(None))
    done = one.command(
        launch, ["srun", "-n1", "bash", "-c", "read line; exec 0<&-; sleep 0.2; echo $line"], input="x\n" * 300_000
    )
    assert (done.stdout, done.returncode) == ("x\n", 0)
