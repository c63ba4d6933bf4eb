"""State of a cloud job and reason of its end.

squeue, scontrol show job and sbatch's messages show them.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from controller_in_process import Peer
from polling import PATIENCE_S
from sky_controller import World
from sky_server import SkyServer

from slurmsky import paths
from slurmsky.commands import find
from slurmsky.controller.command_context import CommandContext
from slurmsky.engines.sky import intervals
from slurmsky.engines.sky.api import api_server
from slurmsky.engines.sky.job_log.inbox import FIRST_ID
from slurmsky.protocol import wire
from slurmsky.protocol.messages import JobNode, Started

SITE = 'engine = "sky"\n[[partition]]\nname = "debug"\ndefault = true\ninfra = "kubernetes/x"\n'


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "PACE_S", 0.05)
    monkeypatch.setattr(intervals, "POLL_S", 0.1)
    monkeypatch.setattr(intervals, "RETRY_S", (0.05, 0.1))
    monkeypatch.setattr(intervals, "LOG_FETCH_S", (0,))
    monkeypatch.setattr(intervals, "LOG_END_S", 0.5)


def play(tmp_path: Path, story: Callable[[World], Awaitable[None]], server: SkyServer | None = None) -> None:
    async def go() -> None:
        async with server or SkyServer() as running, World(tmp_path / "home", running, SITE) as world:
            world.queue.schedule_soon()
            await story(world)

    asyncio.run(asyncio.wait_for(go(), PATIENCE_S))


async def shown(world: World, *words: str) -> str:
    """scontrol show job 1, once it has all these words."""
    while True:
        text = await world.out("scontrol", "show", "job", "1")
        if all(word in text for word in words):
            return text
        await asyncio.sleep(0.05)


BUSY = (503, "text/plain", b"restarting")
PAGE = (200, "text/html", b"<html>Sign in")
GONE = (0, "", b"")


@pytest.mark.parametrize(
    ("fault", "words", "reason"),
    [
        (BUSY, "is busy: restarting", "SkyPilot server is busy"),
        (PAGE, "requires a login (run: sky api login", "SkyPilot login needed"),
        (GONE, "no answer from", "SkyPilot server cannot be reached"),
    ],
)
def test_a_job_waits_for_a_busy_server(tmp_path: Path, fault: tuple[int, str, bytes], words: str, reason: str) -> None:
    """The job waits with a reason until the server accepts it."""
    server = SkyServer()

    async def story(world: World) -> None:
        server.fault = lambda path: fault
        code, out, err = await world.run("sbatch", "--wrap", "true")
        assert (code, out) == (0, "Submitted batch job 1\n")
        assert err.startswith("sbatch: warning: the job waits: SkyPilot: ") and words in err and err.count("\n") == 1
        why = f"ReqNodeNotAvail, {reason}"
        await shown(world, "JobState=PENDING", f"Reason={why.replace(' ', '_')}", words)
        assert await world.out("squeue", "-h", "-o", "%t %R") == f"PD ({why})\n"
        assert not server.jobs
        code, out, _ = await world.run("slurmsky", "status")
        assert "problem: " in out and words in out
        assert await world.out("slurmsky", "stop") == "controller stopped\n"
        server.fault = lambda path: None
        await shown(world, "SystemComment=SkyPilot managed job 1 (wrap-s1-")
        assert await world.out("slurmsky", "stop") == "controller stopped; 1 pending job at SkyPilot continues\n"
        _, out, _ = await world.run("slurmsky", "status")
        assert "version 0.14.1, API version 62" in out and "enabled infras: kubernetes" in out
        assert (await world.run("sbatch", "--wrap", "true"))[2] == ""

    play(tmp_path, story, server)
    assert len(server.jobs) >= 1


@pytest.mark.parametrize("command", ["salloc", "srun"])
def test_an_allocation_prints_what_it_waits_for(tmp_path: Path, command: str) -> None:
    server = SkyServer()

    async def story(world: World) -> None:
        server.fault = lambda path: BUSY
        peer = Peer()
        request = wire.CommandRequest(command, ("true",), str(world.work), 0o022, (False,) * 3, None, os.getpid(), {})
        main = find(command)
        assert main is not None
        ctx = CommandContext(request, world.queue, peer)
        running = asyncio.ensure_future(main(ctx))  # type: ignore[arg-type]
        waits = f"{command}: waiting for SkyPilot: the SkyPilot API server is busy: restarting\n"
        while waits not in peer.received[wire.STDERR]:
            assert not running.done(), (running, peer.received)
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)
        assert peer.received[wire.STDERR].count(waits) == 1
        ctx.feed(None)
        await asyncio.wait([running])

    play(tmp_path, story, server)


@pytest.mark.parametrize("works", [True, False])
def test_a_missing_local_server_is_started_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: bool) -> None:
    sky = tmp_path / "bin" / "sky"
    sky.parent.mkdir()
    sky.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/started\n' + ("" if works else "echo no disk >&2; exit 1\n"))
    sky.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sky.parent}:{os.environ['PATH']}")

    async def go() -> None:
        server = SkyServer()
        with socket.socket() as bound:  # no server listens there yet
            bound.bind(("127.0.0.1", 0))
            server.port = bound.getsockname()[1]
            monkeypatch.setattr(api_server, "DEFAULT_ENDPOINT", server.endpoint)
            async with World(tmp_path / "home", server, SITE) as world:
                assert (await world.run("sbatch", "--wrap", "true"))[1] == "Submitted batch job 1\n"
                waits = "SystemComment=waiting for SkyPilot: cannot connect to 127.0.0.1"
                if works:
                    await shown(world, waits, "; it is being started (sky api start)")
                    while not (tmp_path / "started").exists():
                        await asyncio.sleep(0.05)
                    await server.listen(bound)
                    await shown(world, "SystemComment=SkyPilot managed job 1 (wrap-s1-")
                else:
                    await shown(world, waits, "; sky api start failed: no disk")
                    await asyncio.sleep(0.5)
            assert (tmp_path / "started").read_text() == "api start\n"
            if works:
                await server.__aexit__()

    asyncio.run(asyncio.wait_for(go(), PATIENCE_S))


@pytest.mark.parametrize(
    ("fault", "reason", "words"),
    [
        (
            (500, "application/json", b'{"detail": {"type": "NoCloudAccessError", "message": "No infra is enabled"}}'),
            "BadConstraints",
            "No infra is enabled",
        ),
        (
            (500, "application/json", b'{"detail": {"type": "ResourcesUnavailableError", "message": "No such GPU"}}'),
            "BadConstraints",
            "No such GPU",
        ),
    ],
)
def test_a_job_that_skypilot_never_accepts_ends(
    tmp_path: Path, fault: tuple[int, str, bytes], reason: str, words: str
) -> None:
    server = SkyServer()
    server.fault = lambda path: fault if path == "/jobs/launch" else None

    async def story(world: World) -> None:
        await world.out("sbatch", "--wrap", "true")
        await shown(world, f"JobState=FAILED Reason={reason}", words)

    play(tmp_path, story, server)


def test_the_progress_of_a_launch_is_not_shown_once_the_job_runs(tmp_path: Path) -> None:
    server = SkyServer()

    async def story(world: World) -> None:
        await world.out("sbatch", "--wrap", "true")
        await shown(world, "SkyPilot managed job 1")
        server.jobs[0].become("STARTING", "Launching")
        await shown(world, "SystemComment=Launching")
        world.queue.events.apply_event(Started(job_id=1, run=0, nodes=(JobNode("c1"),), seq=1))
        await shown(world, "JobState=RUNNING", "SystemComment=SkyPilot managed job 1")

    play(tmp_path, story, server)


@pytest.mark.parametrize(
    ("status", "details", "state", "reason"),
    [
        ("STARTING", "No A100 in any zone, trying again in 60 s", "PENDING", "Resources"),
        ("FAILED_CONTROLLER", "the controller crashed", "NODE_FAIL", "SystemFailure"),
        ("FAILED_PRECHECKS", "no cloud offers that", "FAILED", "BadConstraints"),
        ("RECOVERING", "preempted", "PENDING", "NodeDown"),
    ],
)
def test_skypilots_message_is_shown(tmp_path: Path, status: str, details: str, state: str, reason: str) -> None:
    server = SkyServer()

    async def story(world: World) -> None:
        await world.out("sbatch", "--no-requeue" if state == "NODE_FAIL" else "--requeue", "--wrap", "true")
        await shown(world, "SkyPilot managed job 1")
        server.jobs[0].become("STARTING", "Launching")
        await shown(world, "Launching")
        server.jobs[0].become(status, details)
        await shown(world, f"JobState={state} Reason={reason}", "Restarts=1" if status == "RECOVERING" else details)

    play(tmp_path, story, server)


def test_a_request_beyond_every_node_is_refused_immediately(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        code, out, err = await world.run("sbatch", "--gpus-per-node=a100:99", "--wrap", "true")
        assert (code, out) == (1, "") and "Requested node configuration is not available" in err

    play(tmp_path, story)


def test_a_request_through_the_log_becomes_the_job_of_the_reserved_id(tmp_path: Path) -> None:
    """A repeated request has no effect.

    The job has the script that the node read and the id that the node assigned.
    """

    async def story(world: World) -> None:
        env = {paths.SCRIPT: "#!/bin/sh\n#SBATCH -J later -H\necho \udcff\n", paths.GIVEN_ID: str(FIRST_ID), "A": "b"}
        request = wire.CommandRequest("sbatch", ("there.sh", "1"), str(world.work), 0o22, (False,) * 3, None, 0, env)
        for turn in (request, request, replace(request, env={**env, paths.GIVEN_ID: str(FIRST_ID + 1)})):
            peer = Peer()
            main = find("sbatch")
            assert main is not None and await main(CommandContext(turn, world.queue, peer)) == 0, peer.received
        assert await world.out("squeue", "-h", "-o", "%i %j %o") == "".join(
            f"{FIRST_ID + number} later {world.work}/there.sh\n" for number in (1, 0)
        )
        spool = world.queue.paths.job(FIRST_ID)
        assert (spool / "script").read_bytes() == b"#!/bin/sh\n#SBATCH -J later -H\necho \xff\n"
        texts = b"".join(path.read_bytes() for path in spool.iterdir() if path.is_file() and path.name != "script")
        assert b"SLURMSKY_SCRIPT" not in texts and b"SLURMSKY_GIVEN_ID" not in texts
        assert await world.out("sbatch", "-H", "--parsable", "--wrap", "true") == "1\n"

    play(tmp_path, story)
