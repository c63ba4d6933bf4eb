"""Agents of another version of the program.

They finish their jobs, get no further ones, and are replaced.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from polling import PATIENCE_S

from slurmsky.agent.job.version import VERSION
from slurmsky.engines.base import NodeUnavailable
from slurmsky.engines.local import local_engine
from slurmsky.engines.local.local_engine import LocalEngine
from slurmsky.protocol import wire

LAUNCH = SimpleNamespace(job_id=7, restart_count=0, shares=[SimpleNamespace(name="n1")], het=[], array_job_id=0)
LAUNCH.to_dict = lambda: {"job_id": 7}


class OldAgent:
    """An agent of an earlier release. ``busy``: it has a job, and exits when the job has ended."""

    def __init__(self, path: Path, version: str | None, busy: bool) -> None:
        self.path, self.busy = path, asyncio.Event()
        if not busy:
            self.busy.set()
        self.hello = {"ev": "node", "node": "n1"} | ({"version": version} if version else {})
        self.got: list[dict[str, object]] = []
        self.writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> OldAgent:
        self.path.parent.mkdir(parents=True)
        self.server = await asyncio.start_unix_server(self.serve, str(self.path))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for writer in self.writers:
            writer.close()
        await asyncio.sleep(0)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        frames = wire.FrameReader()
        while data := await reader.read(65536):
            for frame in frames.feed(data):
                message = json.loads(frame.payload)
                self.got.append(message)
                if message["op"] == "hello":
                    for event in (self.hello, {"ev": "jobs", "node": "n1", "jobs": []}):
                        writer.write(wire.encode(wire.JSON, json.dumps(event).encode()))
                if message["op"] == "launch":
                    refusal = {"ev": "refused", "job_id": 7, "comment": "no such field"}
                    writer.write(wire.encode(wire.JSON, json.dumps(refusal).encode()))
                if message["op"] == "exit":
                    await self.busy.wait()
                    self.path.unlink()
                    self.server.close()
                    writer.close()
                    return


def play(home: Path, scene: Callable[[LocalEngine, list[dict]], object]) -> None:
    async def run() -> None:
        reported: list[dict] = []
        home.mkdir()
        engine = LocalEngine(home, lambda event: reported.append(event.encode()), None, {"PATH": "/usr/bin:/bin"})
        try:
            await scene(engine, reported)
        finally:
            await engine.close()
            await until(lambda: all(process.poll() is not None for process in engine._processes))

    asyncio.run(run())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


def kinds(reported: list[dict]) -> list[str]:
    return [event["ev"] for event in reported if event["ev"].startswith("node_")]


@pytest.mark.parametrize("version", [None, "1.00000000"])
def test_an_idle_agent_of_another_version_is_replaced(tmp_path: Path, version: str | None) -> None:
    async def scene(engine: LocalEngine, reported: list[dict]) -> None:
        async with OldAgent(engine._socket("n1"), version, busy=False):
            link = await engine.link("n1")
            assert not link.outdated and kinds(reported) == []

    play(tmp_path / "state", scene)


def test_a_busy_agent_of_another_version_drains_its_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_engine, "LEAVES_WITHIN_S", 0.2)

    async def scene(engine: LocalEngine, reported: list[dict]) -> None:
        async with OldAgent(engine._socket("n1"), "1.00000000", busy=True) as agent:
            with pytest.raises(NodeUnavailable, match="another version"):
                await engine.start(LAUNCH)
            assert kinds(reported) == ["node_drain"]
            with pytest.raises(NodeUnavailable):
                await engine.start(LAUNCH)
            assert kinds(reported) == ["node_drain"]
            assert "launch" not in [message["op"] for message in agent.got]
            agent.busy.set()
            await until(lambda: kinds(reported) == ["node_drain", "node_up"])
            assert not (await engine.link("n1")).outdated

    play(tmp_path / "state", scene)


def test_a_launch_that_is_refused_ends_the_job(tmp_path: Path) -> None:
    async def scene(engine: LocalEngine, reported: list[dict]) -> None:
        async with OldAgent(engine._socket("n1"), VERSION, busy=False):
            await engine.start(LAUNCH)
            await until(lambda: any(event["ev"] == "ended" for event in reported))
            end = reported[-1]
            assert (end["state"], end["reason"], end["comment"]) == ("FAILED", "JobLaunchFailure", "no such field")
            assert not engine._placed

    play(tmp_path / "state", scene)
