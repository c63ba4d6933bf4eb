"""Jobs whose nodes cannot be reached from here: what cannot be done is said, and nothing is pretended."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import sky_controller
from cloud import namespaces_work
from sky_world import World

from slurmsky.model.job import Job
from slurmsky.model.spec import JobSpec
from slurmsky.model.states import JobState

WHY = "the nodes of job 7 cannot be reached from this machine (10.0.0.1:1: no answer): only scancel works"
SLURMS = "Communication connection failure"


@pytest.mark.parametrize(
    "words, said",
    [
        ("scancel -s USR1 7", f"scancel: error: {WHY}\nscancel: error: Kill job error on job id 7: {SLURMS}\n"),
        ("scontrol suspend 7", f"{WHY}\n{SLURMS} for job 7\n"),
        ("scontrol update jobid=7 timelimit=60", f"{WHY}\n{SLURMS} for job 7\n"),
        ("scontrol update jobid=7 timelimit=+5", f"{WHY}\n{SLURMS} for job 7\n"),
    ],
)
def test_what_the_user_hears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, said: str) -> None:
    async def story(world: sky_controller.World) -> None:
        queue, now = world.queue, time.time()
        job = Job(
            job_id=7, name="a", user="me", uid=os.geteuid(), gid=0, group="me", account="me", partition="debug",
            spec=JobSpec(time_limit_min=10), state=JobState.RUNNING, submit_time=now - 90, start_time=now - 60,
            time_limit_min=10, engine="sky",
        )  # fmt: skip
        queue.book.touch(job)
        monkeypatch.setattr(queue.engine, "out_of_reach", lambda job_id: WHY if job_id == 7 else "")
        assert await world.run(*words.split()) == (1, "", said)
        assert job.state is JobState.RUNNING and job.time_limit_min == job.spec.time_limit_min == 10

    sky_controller.world(tmp_path, story)


@pytest.mark.slow
@pytest.mark.skipif(not namespaces_work(), reason="needs mount namespaces")
@pytest.mark.parametrize("apart", [True, False])
def test_what_the_engine_knows(world: World, apart: bool) -> None:
    world.cloud.apart = apart

    async def what(world: World) -> None:
        assert world.engine.out_of_reach(7) == ""
        await world.engine.start(world.launch("#!/bin/sh\nuntil [ -e go ]; do sleep 0.1; done\n"))
        await world.until(lambda: any(event["ev"] == "started" for event in world.told))
        if apart:
            await world.until(lambda: world.engine.out_of_reach(7))
            assert "the nodes of job 7 cannot be reached from this machine (127.0.1.1:" in world.engine.out_of_reach(7)
        else:
            await world.engine.limit(7, time.time() + 600)
            assert world.engine.out_of_reach(7) == ""

    world.play(what)
