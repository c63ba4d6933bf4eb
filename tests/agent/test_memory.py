"""Memory limits of jobs and steps, enforced by the kernel on real control groups."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from memory_controller import needs_memory_groups
from polling import wait_for

from slurmsky.agent.process import cgroup_tree
from slurmsky.model.allocation import Launch
from slurmsky.model.spec import JobSpec

from .conftest import KINDS
from .driver import Cluster

pytestmark = needs_memory_groups

#: a program that needs 300 MiB
LARGE = "python3 -c 'x = bytearray(300 << 20); print(len(x))'"
KILLED = "error: Detected 1 oom_kill event in StepId=%d.%s. Some of the step tasks have been OOM Killed.\n"


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> type[Cluster]:
    """Agents of one machine use separate groups; agents of other machines use equal ones."""
    return request.param  # type: ignore[no-any-return]


def held(cluster: Cluster, script: str | None, memory_mib: int = 100, **options: Any) -> Launch:
    """Start a job with a memory limit on each node."""
    launch = cluster.prepare(script, constrain_ram_space=True, **options)
    for share in launch.shares:
        share.memory_mib = memory_mib
    return cluster.start(launch)


def groups() -> set[str]:
    """The control groups of jobs of all agents on this machine."""
    place = cgroup_tree.memory_place()
    assert place is not None
    return {str(path) for path in Path(place.folder).glob(f"{cgroup_tree.PREFIX}*-memory/job_*")}


@pytest.fixture(autouse=True)
def _no_group_is_left() -> Iterator[None]:
    before = groups()
    yield
    wait_for(lambda: groups() <= before, why="groups are removed")


def test_a_script_that_needs_more_memory_ends_out_of_memory(one: Cluster) -> None:
    launch = held(one, f"#!/bin/bash\n{LARGE}\necho code $?\nexit 0\n")
    event = one.finish(launch)
    assert (event["state"], event.get("exit_code", 0), event["exit_signal"]) == ("OUT_OF_MEMORY", 0, 125)
    assert event["reason"] == "OutOfMemory"
    assert one.output(launch).endswith("code 137\nslurmstepd-n1: " + KILLED % (launch.job_id, "batch"))
    batch = one.steps(launch)["batch"]
    assert (batch["state"], batch["exit_signal"]) == ("OUT_OF_MEMORY", 125)


@pytest.mark.parametrize("spec", [JobSpec(), JobSpec(mem_mib=0)], ids=["unlimited", "mem=0"])
def test_a_job_without_a_limit_uses_what_it_needs(one: Cluster, spec: JobSpec) -> None:
    launch = held(one, f"#!/bin/bash\n{LARGE}\n", 100 if spec.mem_mib == 0 else 0, spec=spec)
    assert one.finish(launch)["state"] == "COMPLETED"
    assert one.output(launch) == f"{300 << 20}\n"


def test_a_step_ends_and_the_script_continues(one: Cluster) -> None:
    launch = held(one, f"#!/bin/bash\nsrun -n1 {LARGE}\necho srun $?\nsrun -n1 echo next\n")
    event = one.finish(launch)
    assert (event["state"], event.get("exit_code", 0)) == ("COMPLETED", 0)
    assert one.output(launch) == (
        f"slurmstepd-n1: {KILLED % (launch.job_id, '0')}srun: error: n1: task 0: Out Of Memory\nsrun 1\nnext\n"
    )
    steps = one.steps(launch)
    assert [(steps[name]["state"], steps[name].get("exit_signal", 0)) for name in ("0", "1")] == [
        ("OUT_OF_MEMORY", 125),
        ("COMPLETED", 0),
    ]


def test_a_step_has_a_limit_below_that_of_its_job(one: Cluster) -> None:
    script = f"#!/bin/bash\nsrun -n1 --mem=50 {LARGE}\necho $?\nsrun -n1 --mem=400 {LARGE}\necho $?\n"
    launch = held(one, script, 500)
    assert one.finish(launch)["state"] == "COMPLETED"
    assert one.output(launch).splitlines()[-3:] == ["1", str(300 << 20), "0"]


def test_script_and_steps_share_the_memory_of_the_job(one: Cluster) -> None:
    """Each of the two processes fits, both do not; the kernel kills the larger."""
    hold = "import sys, time; x = bytearray(int(sys.argv[1]) << 20); print('has it', flush=True); time.sleep(99)"
    script = f'#!/bin/bash\npython3 -c "{hold}" 60 > has.{{0}} &\n'
    script += f"until grep -q has has.{{0}}; do sleep 0.02; done\nsrun -n1 {LARGE}\necho $?\nkill %1\n"
    launch = held(one, script.format(one._last_job + 1), 330)
    assert one.finish(launch)["state"] == "COMPLETED"
    assert one.output(launch).splitlines()[-1:] == ["1"]


@pytest.mark.parametrize("option", ["", "--oom-kill-step"])
def test_oom_kill_step_ends_the_tasks_on_all_nodes(two: Cluster, option: str) -> None:
    """Without the option the task on the other node continues."""
    task = f"if [ $SLURM_PROCID = 0 ]; then {LARGE.replace(chr(39), chr(92) + chr(34))}; else sleep 1; echo other; fi"
    if option:
        task = task.replace("sleep 1", "sleep 999")
    launch = held(two, f'#!/bin/bash\nsrun {option} -N2 -n2 bash -c "{task}"\necho $?\n'.replace("$SLURM", "\\$SLURM"),
                  tasks=(1, 1))  # fmt: skip
    assert two.finish(launch)["state"] == "COMPLETED"
    output = two.output(launch)
    assert "srun: error: n1: task 0: Out Of Memory\n" in output and output.endswith("\n1\n")
    assert ("other\n" in output) is not bool(option)
    assert two.steps(launch)["0"]["state"] == "OUT_OF_MEMORY"


def test_descendants_in_own_sessions_have_the_limit_and_end_with_the_job(one: Cluster) -> None:
    """A process without the job's session and environment is still in its group."""
    launch = held(one, "#!/bin/bash\nsetsid env -i $(which python3) -c 'x = bytearray(300 << 20)'\nsleep 99 &\n"
                       "(setsid env -i $(which sleep) 98 &)\n")  # fmt: skip
    assert one.finish(launch)["state"] == "OUT_OF_MEMORY"


def test_a_killed_agents_groups_are_emptied_and_removed_by_the_next(fresh: Cluster) -> None:
    node = fresh.nodes[0]
    ready = fresh.outside(node, fresh.work / "ready")
    held(fresh, f"#!/bin/bash\n(setsid env -i $(which sleep) 4321{os.getpid()} &)\ntouch ready\nsleep 99\n")
    wait_for(ready.exists)
    node.kill()
    node.start()

    def alive() -> bool:
        listed = subprocess.run(["ps", "-eo", "args"], stdout=subprocess.PIPE, text=True, check=True).stdout
        return f"sleep 4321{os.getpid()}" in listed

    wait_for(lambda: not alive(), why="the hidden process ends")
