"""The death of a controller, an agent or an srun, and what survives it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time

import pytest
from polling import wait_for

from slurmsky.agent.job.version import VERSION
from slurmsky.protocol import wire

from .conftest import KINDS
from .driver import Cluster
from .test_batch import processes_of


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> type[Cluster]:
    """Tests also run on nodes that share nothing, where the whole node dies with its agent."""
    return request.param  # type: ignore[no-any-return]


def test_job_outlives_the_controller(fresh: Cluster) -> None:
    node = fresh.nodes[0]
    launch = fresh.start(fresh.prepare("#!/bin/bash\nsleep 0.5\necho done\nexit 5\n"))
    node.disconnect()
    time.sleep(1.0)
    before = list(node.events)
    node.connect()
    event = fresh.finish(launch)
    assert (event["exit_code"], fresh.output(launch)) == (5, "done\n")
    numbers = [event["seq"] for event in node.events if event.get("job_id") == launch.job_id]
    assert sorted(set(numbers)) == list(range(1, max(numbers) + 1))
    assert not any(event["ev"] == "ended" for event in before)


def test_events_are_repeated_until_acknowledged(fresh: Cluster) -> None:
    node = fresh.nodes[0]
    node.acknowledge = False
    launch = fresh.start(fresh.prepare("#!/bin/bash\ntrue\n"))
    first = fresh.finish(launch)
    node.disconnect()
    node.events.clear()
    node.connect()
    assert fresh.finish(launch) == first
    assert [event["seq"] for event in node.events if "seq" in event] == [1, 2]
    node.send({"op": "acks", "acks": [[launch.job_id, launch.restart_count, 2]]})
    wait_for(lambda: fresh.outside(node, fresh.home / "nodes" / node.name / "journal").stat().st_size == 0)
    node.disconnect()
    node.events.clear()
    node.connect()
    node.pump(0.3)
    assert not [event for event in node.events if "seq" in event]


def test_a_second_launch_of_a_running_job_changes_nothing(fresh: Cluster) -> None:
    launch = fresh.start(fresh.prepare("#!/bin/bash\necho once\nsleep 0.5\n"))
    fresh.nodes[0].send({"op": "launch", "launch": launch.to_dict()})
    fresh.finish(launch)
    assert fresh.output(launch) == "once\n"


def test_an_agent_exits_after_its_folder_was_removed(fresh: Cluster) -> None:
    """A batch script runs to its end; an allocation without one ends, because no client remains to end it."""
    node = fresh.nodes[0]
    if fresh.outside(node, fresh.home) != fresh.home:
        pytest.skip("the folder is a mount there, which does not go")
    output = fresh.home.parent / f"{fresh.home.name}.out"
    fresh.start(fresh.prepare(None))
    fresh.start(fresh.prepare(f"#!/bin/bash\n> {output}\nsleep 6\necho whole > {output}\n"))
    wait_for(output.exists)  # the shell reads the script from that folder
    node.disconnect()
    shutil.rmtree(fresh.home)
    try:
        wait_for(lambda: node.process.poll() is not None)
        assert output.read_text() == "whole\n"
    finally:
        output.unlink(missing_ok=True)


def test_an_agent_that_must_leave_reads_earlier_connections(fresh: Cluster) -> None:
    """The head agent of a new job connects before the order to exit, and its hello is read later."""
    node = fresh.nodes[0]
    os.kill(node.agent_pid, signal.SIGSTOP)
    with socket.socket(socket.AF_UNIX) as head:
        head.connect(str(node.socket_path))
        head.sendall(wire.encode(wire.JSON, b'{"op": "hello", "role": "holder"}'))
        node.send({"op": "exit"})
        os.kill(node.agent_pid, signal.SIGCONT)
        node.disconnect()
        with pytest.raises(subprocess.TimeoutExpired):
            node.process.wait(1)
    wait_for(lambda: node.process.poll() is not None)


def test_killed_agent(fresh: Cluster) -> None:
    """The next agent of the node kills the processes and reports the job's end."""
    node = fresh.nodes[0]
    launch = fresh.start(fresh.prepare("#!/bin/bash\n(setsid sleep 4712 &)\nsrun -N1 -n1 sleep 4712 &\nsleep 4712\n"))
    wait_for(lambda: len(processes_of("4712")) >= 4)
    node.kill()
    node.events.clear()
    node.start()
    event = fresh.finish(launch)
    assert event["state"] == "NODE_FAIL"
    assert processes_of("4712") == []


def test_steps_on_other_nodes_end_with_a_killed_head_agent(fresh: Cluster) -> None:
    earlier = set(processes_of("4713"))  # of another run of this test that was killed
    fresh.start(fresh.prepare("#!/bin/bash\nsrun sleep 4713\n", tasks=(1, 1), spec=_two_tasks()))
    wait_for(lambda: any(_node(pid) == "n2" for pid in processes_of("4713")))
    fresh.nodes[0].kill()
    wait_for(lambda: not any(_node(pid) == "n2" for pid in processes_of("4713")))
    fresh.nodes[0].start()
    wait_for(lambda: set(processes_of("4713")) <= earlier)


def test_killed_agent_of_another_node(fresh: Cluster) -> None:
    body = "srun bash -c '[ $SLURM_NODEID = 0 ] || exec sleep 4714'; echo rc=$?\n"
    launch = fresh.start(fresh.prepare("#!/bin/bash\n" + body, tasks=(1, 1), spec=_two_tasks()))
    wait_for(lambda: any(_node(pid) == "n2" for pid in processes_of("4714")))
    fresh.nodes[1].kill()
    fresh.finish(launch)
    assert "srun: error: Node failure on n2" in fresh.output(launch)
    assert "rc=137" in fresh.output(launch)
    fresh.nodes[1].start()
    wait_for(lambda: not processes_of("4714"))


def test_killed_srun(fresh: Cluster) -> None:
    launch = fresh.start(fresh.prepare(None, tasks=(1, 1)))
    client = subprocess.Popen([*fresh.srun, "sleep", "4715"], env=fresh.client_environment(launch))
    wait_for(lambda: len(processes_of("4715")) >= 3)
    client.kill()
    client.wait()
    wait_for(lambda: not processes_of("4715"))
    fresh.nodes[0].send({"op": "terminate", "job_id": launch.job_id, "state": "COMPLETED", "signal": 15})
    assert fresh.finish(launch)["state"] == "COMPLETED"


def _two_tasks() -> object:
    from slurmsky.model.spec import JobSpec

    return JobSpec(ntasks=2)


def _node(pid: int) -> str:
    try:
        with open("/proc/%d/environ" % pid, "rb") as file:
            env = dict(item.partition(b"=")[::2] for item in file.read().split(b"\0"))
    except OSError:
        return ""
    return env.get(b"SLURMD_NODENAME", b"").decode()


def test_an_unreadable_launch_is_refused(fresh: Cluster) -> None:
    """Other messages of the same batch are still applied."""
    node = fresh.nodes[0]
    for launch in ({"job_id": 700, "a field of later": 1}, {"job_id": 701}, {}):
        node.send({"op": "launch", "launch": launch})
    node.send({"op": "launch", "like": 99, "launch": {"job_id": 702}})
    node.send({"op": "acks", "acks": "none"})
    for job_id in (700, 701, 0, 702):
        assert node.wait(lambda event, job_id=job_id: event["ev"] == "refused" and event["job_id"] == job_id)["comment"]
    launch = fresh.start(fresh.prepare("#!/bin/sh\nexit 3\n"))
    assert fresh.finish(launch)["exit_code"] == 3


def test_an_agent_refuses_launches_of_another_version(fresh: Cluster) -> None:
    node = fresh.nodes[0]
    node.send({"op": "launch", "launch": {}})  # the connection's own version is unknown: it is taken as ours
    hello = node.wait(lambda event: event["ev"] == "node")
    assert hello["version"] == VERSION
    node.version = "1.00000000"
    node.connect()
    launch = fresh.prepare("#!/bin/sh\nexit 3\n")
    node.send({"op": "launch", "launch": launch.to_dict()})
    refused = node.wait(lambda event: event["ev"] == "refused" and event["job_id"] == launch.job_id)
    assert "1.00000000" in refused["comment"]
