"""Jobs whose nodes cannot be reached from here: refusals name the cause and nothing is changed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import sky_controller
from cloud import namespaces_work
from sky_world import World

from slurmsky.commands.common import agent_request
from slurmsky.engines.sky.head import reachability
from slurmsky.model.job import Job
from slurmsky.model.spec import JobSpec
from slurmsky.model.states import JobState

WHY = "the nodes of job 7 cannot be reached from this machine (10.0.0.1:1: no answer): only scancel works"
SLURMS = "Communication connection failure"


def running_job(world: sky_controller.World) -> Job:
    now = time.time()
    job = Job(
        job_id=7, name="a", user="me", uid=os.geteuid(), gid=0, group="me", account="me", partition="debug",
        spec=JobSpec(time_limit_min=10), state=JobState.RUNNING, submit_time=now - 90, start_time=now - 60,
        time_limit_min=10, engine="sky",
    )  # fmt: skip
    world.queue.job_table.touch(job)
    return job


@pytest.mark.parametrize(
    "words, message",
    [
        ("scancel -s USR1 7", f"scancel: error: {WHY}\nscancel: error: Kill job error on job id 7: {SLURMS}\n"),
        ("scontrol suspend 7", f"{WHY}\n{SLURMS} for job 7\n"),
        ("scontrol update jobid=7 timelimit=60", f"{WHY}\n{SLURMS} for job 7\n"),
        ("scontrol update jobid=7 timelimit=+5", f"{WHY}\n{SLURMS} for job 7\n"),
    ],
)
def test_messages_about_unreachable_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, message: str
) -> None:
    async def story(world: sky_controller.World) -> None:
        queue, job = world.queue, running_job(world)
        monkeypatch.setattr(queue.engine, "out_of_reach", lambda job_id: WHY if job_id == 7 else "")
        code = 1001 % 256 if words.startswith("scancel") else 1  # scancel.c exits with slurmctld's error number
        assert await world.run(*words.split()) == (code, "", message)
        assert job.state is JobState.RUNNING and job.time_limit_min == job.spec.time_limit_min == 10

    sky_controller.world(tmp_path, story)


@pytest.mark.parametrize(
    "words, message",
    [
        (
            "srun --jobid=7 true",
            "srun: error: Slurm job 7 has expired\n"
            "srun: Check SLURM_JOB_ID environment variable. Expired or invalid job 7\n",
        ),
        ("sattach 7.0", "sattach: error: Could not get job step info: Job/step already completing or completed\n"),
    ],
)
def test_a_command_waits_for_a_node_until_its_job_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, message: str
) -> None:
    monkeypatch.setattr(agent_request, "_REACH_S", 0.0)

    async def story(world: sky_controller.World) -> None:
        queue, job = world.queue, running_job(world)
        monkeypatch.setattr(queue.engine, "missing_connections", lambda job_id: "node k1 does not answer now")
        requested = asyncio.ensure_future(world.run(*words.split()))
        while not queue.life._watchers.get(7):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert not requested.done()
        queue.life.end(job, JobState.NODE_FAIL, 0, 0, reason="NodeDown")
        name = words.split()[0]
        assert await requested == (1, "", f"{name}: node k1 does not answer now, retrying\n{message}")

    sky_controller.world(tmp_path, story)


@pytest.mark.slow
@pytest.mark.skipif(not namespaces_work(), reason="needs mount namespaces")
@pytest.mark.parametrize("apart", [True, False])
def test_reports_of_the_engine_about_unreachable_nodes(world: World, apart: bool) -> None:
    world.cloud.apart = apart

    async def what(world: World) -> None:
        assert world.engine.out_of_reach(7) == ""
        await world.engine.start(world.launch("#!/bin/sh\nuntil [ -e go ]; do sleep 0.1; done\n"))
        await world.until(lambda: any(event["ev"] == "started" for event in world.reported))
        if apart:
            await world.until(lambda: world.engine.out_of_reach(7))
            assert "the nodes of job 7 cannot be reached from this machine (127.0.1.1:" in world.engine.out_of_reach(7)
        else:
            await world.engine.limit(7, time.time() + 600)
            assert world.engine.out_of_reach(7) == ""

    world.play(what)


ASKS = """#!/bin/bash
timed() { local began=$(date +%s%N) output code; output=$("$@" 2>&1); code=$?
    echo "<$code $(( ($(date +%s%N) - began) / 1000000 )) $*"; echo "$output"; echo ">"; }
srun true
timed squeue -h -o '%i %t %j %R %l' -j $SLURM_JOB_ID
timed squeue
timed scontrol show job $SLURM_JOB_ID
timed sacct -n -P -o jobid,state -j $SLURM_JOB_ID
timed sinfo -h -N -o '%N %t %P'
timed scontrol show node $SLURMD_NODENAME
timed squeue --json -j $SLURM_JOB_ID
timed squeue -j 99
timed scontrol show job 99
timed sprio
squeue
"""


@pytest.mark.slow
@pytest.mark.skipif(not namespaces_work(), reason="needs mount namespaces")
def test_a_node_answers_queries_about_its_own_job_without_a_controller(world: World) -> None:
    """The node answers squeue in the controller's format.

    Other queries are refused as by Slurm without slurmctld.
    """
    world.cloud.apart = True

    async def what(world: World) -> None:
        await world.engine.start(world.launch(ASKS))
        await world.until(world.ended)

    (world.home / "sky").mkdir(parents=True)
    reachability.record_result(world.home / "sky", "debug", False)
    world.play(what)
    assert world.ended()["state"] == "COMPLETED", world.out
    replies = {}
    for head, output in re.findall(r"<(.*)\n((?s:.*?))\n?>\n", world.out.decode()):
        code, took, words = head.split(" ", 2)
        replies[words] = int(code), output
        assert int(took) < 30_000, head  # a second on an idle machine; without an answer of its own it took 100
    node = replies["sinfo -h -N -o %N %t %P"][1].split()[0]
    unable = "Unable to contact slurm controller (connect failure)"
    assert replies["squeue -h -o %i %t %j %R %l -j 7"] == (0, f"7 R job {node} 1:30:00")
    code, output = replies["squeue"]
    assert code == 0 and " debug " in output
    assert "squeue: the controller cannot be reached from this node: only the job of this node is listed" in output
    code, output = replies["scontrol show job 7"]
    assert code == 0 and output.startswith("JobId=7 JobName=job\n") and "JobState=RUNNING Reason=None" in output
    assert f"NodeList={node}" in output and "TimeLimit=01:30:00" in output
    code, output = replies["sacct -n -P -o jobid,state -j 7"]
    assert code == 0 and {"7|RUNNING", "7.batch|RUNNING", "7.0|COMPLETED"} <= set(output.splitlines())
    code, output = replies[f"scontrol show node {node}"]
    assert code == 0 and output.startswith(f"NodeName={node} ")
    code, output = replies["squeue --json -j 7"]
    assert code == 0 and json.loads(output)["jobs"][0]["job_id"] == 7
    for words in ("squeue -j 99", "scontrol show job 99", "sprio"):
        assert replies[words][0] == 1 and unable in replies[words][1], (words, replies[words])


def test_reachability_of_nodes_is_recorded(tmp_path: Path) -> None:
    assert reachability.last_result(tmp_path, "debug") == ""
    reachability.record_result(tmp_path, "debug", True)
    assert (reachability.last_result(tmp_path, "debug"), reachability.last_result(tmp_path, "other")) == ("yes", "")
    reachability.record_result(tmp_path, "debug", False)
    assert reachability.last_result(tmp_path, "debug") == "no"
    (tmp_path / "reached.json").write_text("[")
    assert reachability.last_result(tmp_path, "debug") == ""
