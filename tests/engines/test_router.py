"""The router, which presents several engines as one."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from slurmsky.engines.base import EngineError
from slurmsky.engines.router import Router


class Recorder:
    """An engine that records its requests."""

    def __init__(self, places):
        self.places = places
        self.requested = []

    async def start(self, launch):
        self.requested.append(("start", launch.job_id))

    async def signal(self, job_id, signal, target):
        self.requested.append(("signal", job_id, signal, target))

    def acks(self, node, acks):
        self.requested.append(("acks", node, acks))

    async def recover(self, jobs):
        self.requested.append(("recover", [job.job_id for job in jobs]))

    def agent_address(self, job_id):
        return f"/agent/{job_id}"


def launch(job_id, partition):
    return SimpleNamespace(job_id=job_id, partition=partition)


def test_jobs_go_to_the_engine_of_their_partition_and_stay_there():
    here, cloud = Recorder(True), Recorder(False)
    router = Router({"local": here, "sky": cloud}, {"debug": "local", "gpu": "sky"}.__getitem__)

    async def play():
        await router.start(launch(1, "debug"))
        await router.start(launch(2, "gpu"))
        await router.signal(2, 10, "batch")
        router.acks("n1", [(1, 0, 5), (2, 0, 6)])
        await router.recover([SimpleNamespace(job_id=3, engine="sky"), SimpleNamespace(job_id=4, engine="local")])
        with pytest.raises(EngineError, match="job 9"):
            await router.signal(9, 10, "batch")

    asyncio.run(play())
    assert here.requested == [("start", 1), ("acks", "n1", [(1, 0, 5)]), ("recover", [4])]
    assert cloud.requested == [("start", 2), ("signal", 2, 10, "batch"), ("acks", "n1", [(2, 0, 6)]), ("recover", [3])]
    assert (router.places_in("debug"), router.places_in("gpu")) == (True, False)
    assert (router.agent_address(1), router.agent_address(9)) == ("/agent/1", None)
