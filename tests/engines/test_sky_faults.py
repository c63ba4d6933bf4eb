"""Faults of SkyPilot, its nodes and the network.

No job is lost or run twice, and users see the reason.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from cloud import namespaces_work
from sky_server import ManagedJob
from sky_world import World

from slurmsky.engines.base import EngineError
from slurmsky.engines.sky import intervals
from slurmsky.engines.sky.api.api_access import Access
from slurmsky.model.job import Job
from slurmsky.model.spec import JobSpec

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not namespaces_work(), reason="needs mount namespaces")]

GO = {"PATH": "/usr/bin:/bin", "HOME": "/root"}
THE_JOB = Job(job_id=7, spec=JobSpec(), name="job", user="me", uid=0, gid=0, group="me", account="", partition="debug")
TWICE = """#!/bin/bash
echo run ${SLURM_RESTART_COUNT-0}
[ ${SLURM_RESTART_COUNT-0} != 0 ] || sleep 300
"""


def states(world: World) -> list[str]:
    return [event["state"] for event in world.reported if event["ev"] == "state"]


def comments(world: World) -> str:
    return "; ".join(str(event.get("comment", "")) for event in world.reported)


async def begun(world: World, script: str, word: bytes = b"run", **more: object) -> None:
    await world.engine.start(world.launch(script, **more))
    await world.until(lambda: (world.project / "slurm-7.out").exists() and word in world.out)


def test_lost_nodes_under_a_remote_server(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A remote server's shipment cannot be changed: the next run is launched with a new shipment."""
    monkeypatch.setattr(Access, "local", False)

    async def what(world: World) -> None:
        await begun(world, TWICE)
        world.server.jobs[0].become("RECOVERING", "Cluster preempted or failed, recovering")
        world.cloud.stop(1, signal.SIGKILL)
        await world.until(world.ended)

    world.play(what)
    first, second = world.server.jobs
    assert first.cancelled and second.name == first.name + "_1"
    assert world.ended()["state"] == "COMPLETED" and world.ended()["run"] == 1
    assert world.out == b"run 1\n" and "REQUEUED" in states(world)


def test_a_recovery_between_two_polls(world: World) -> None:
    """While the machine was suspended, nodes were lost and replaced; the log's new session shows this."""

    async def what(world: World) -> None:
        await begun(world, "#!/bin/bash\necho run; [ -e $GO ] || sleep 300\n", environment=GO | {"GO": str(go)})
        await world.engine.close()
        job = world.server.jobs[0]
        job.become("RECOVERING")
        world.cloud.stop(1, signal.SIGKILL)
        await asyncio.gather(*world.tasks_of_jobs)
        job.log = b""
        go.touch()
        world.tasks_of_jobs.append(asyncio.ensure_future(world.cloud.run(job, run=1)))
        world.start_engine()
        await world.engine.recover([THE_JOB])
        await world.until(world.ended)

    go = world.home / "go"
    world.play(what)
    assert states(world).count("REQUEUED") == 1
    assert world.ended()["state"] == "COMPLETED" and world.ended()["run"] == 1 and world.out == b"run\n"


def test_login_expired_for_a_while(world: World) -> None:
    """The server answers with an HTML page and status 200, at submit and later."""
    page = (200, "text/html", b"<html>Sign in with SSO")
    away = [True]

    def fault(path: str) -> tuple[int, str, bytes] | None:
        return page if away[0] else None

    world.server.fault = fault

    async def what(world: World) -> None:
        await world.engine.start(world.launch("#!/bin/bash\necho run; sleep 2; echo end\n"))
        await world.until(lambda: "sky api login" in comments(world))
        assert world.reported[-1]["state"] == "PENDING"
        away[0] = False
        await world.until(lambda: (world.project / "slurm-7.out").exists() and b"run" in world.out)
        away[0] = True
        await asyncio.sleep(1)
        away[0] = False
        await world.until(world.ended)

    world.play(what)
    assert world.ended()["state"] == "COMPLETED" and world.out == b"run\nend\n" and len(world.server.jobs) == 1


def test_a_server_of_another_version(world: World) -> None:
    """The server may be upgraded later: the job waits, with the reason."""
    old = [True]
    body = b'{"error": "version_mismatch", "message": "your client is too old"}'

    def fault(path: str) -> tuple[int, str, bytes] | None:
        return (400, "application/json", body) if old[0] and path == "/jobs/launch" else None

    world.server.fault = fault

    async def what(world: World) -> None:
        await world.engine.start(world.launch("#!/bin/sh\n"))
        await world.until(lambda: "too old" in comments(world))
        assert world.reported[-1]["state"] == "PENDING"
        old[0] = False
        await world.until(world.ended)

    world.play(what)
    assert world.ended()["state"] == "COMPLETED" and len(world.server.jobs) == 1


@pytest.mark.parametrize(
    "status, failure, state, reason",
    [
        ("FAILED_PRECHECKS", "No cloud can do that", "FAILED", "BadConstraints"),
        ("FAILED_NO_RESOURCE", "tried everything", "BOOT_FAIL", "Resources"),
        ("FAILED_CONTROLLER", "the controller crashed", "NODE_FAIL", "SystemFailure"),
        ("FAILED_SETUP", "pip failed", "BOOT_FAIL", "JobLaunchFailure"),
        ("CANCELLED", "", "CANCELLED", "None"),
    ],
)
def test_a_job_that_skypilot_stops_recovering(world: World, status: str, failure: str, state: str, reason: str) -> None:
    async def what(world: World) -> None:
        world.run_jobs = lambda: None  # type: ignore[method-assign]
        await world.engine.start(world.launch("#!/bin/sh\n"))
        await world.until(lambda: world.server.jobs)
        world.server.jobs[0].become("STARTING")
        world.server.jobs[0].become(status, failure)
        await world.until(world.ended)

    world.play(what)
    end = world.ended()
    assert (end["state"], end["reason"]) == (state, reason) and failure in end["comment"]
    assert end["exit_code"] == (state == "FAILED")
    output = world.project / "slurm-7.out"
    assert not failure or output.read_text() == f"slurmsky: job 7 did not begin: {failure}\n"


def test_the_error_file_has_skypilots_refusal(world: World) -> None:
    world.server.refuse = "Invalid resources: disk_tier"

    async def what(world: World) -> None:
        with pytest.raises(EngineError, match="disk_tier"):
            await world.engine.start(world.launch("#!/bin/sh\n", stderr=f"{world.project}/err"))

    world.play(what)
    assert "Invalid resources: disk_tier" in (world.project / "err").read_text()


def test_infra_that_is_full_keeps_the_job_waiting(world: World) -> None:
    async def what(world: World) -> None:
        world.run_jobs = lambda: None  # type: ignore[method-assign]
        await world.engine.start(world.launch("#!/bin/sh\n"))
        await world.until(lambda: world.server.jobs)
        world.server.jobs[0].become("STARTING", "No H100 in any zone; trying again in 60 s")
        await world.until(lambda: "No H100" in comments(world))

    world.play(what)
    assert not world.ended() and set(states(world)) == {"PENDING"}
    assert {event["reason"] for event in world.reported if event["ev"] == "state"} <= {"Resources", "Priority", "None"}
    assert world.reported[-1]["reason"] == "Resources"


def test_a_success_that_skypilot_calls_a_failure_afterwards(world: World) -> None:
    """SkyPilot's cleanup failed: the first terminal status counts."""

    async def what(world: World) -> None:
        await world.engine.start(world.launch("#!/bin/sh\necho run\n"))
        await world.until(world.ended)
        world.server.jobs[0].become("FAILED_CONTROLLER", "resources may have leaked")
        await asyncio.sleep(0.5)

    world.play(what)
    assert [event["state"] for event in world.reported if event["ev"] == "ended"] == ["COMPLETED"]


@pytest.mark.parametrize("when", ["new", "launching", "launched", "ended"])
def test_a_controller_started_later_continues_a_job(world: World, when: str) -> None:
    """After a kill there are one managed job, start and end.

    The output is complete.
    """

    async def what(world: World) -> None:
        if when == "new":
            world.server.fault = lambda path: (503, "text/plain", b"busy") if path == "/jobs/launch" else None
        if when == "launching":
            world.server.after = lambda path: (0, "", b"") if path == "/jobs/launch" else None
        await world.engine.start(world.launch("#!/bin/bash\necho run; sleep 1; echo end; exit 3\n"))
        if when == "launching":
            await world.until(lambda: world.server.jobs)
        elif when == "launched":
            await world.until(lambda: any(event["ev"] == "started" for event in world.reported))
        elif when == "ended":
            await world.until(world.ended)
        await world.engine.close()
        world.server.fault = world.server.after = lambda path: None
        before = len(world.reported)
        if when != "ended":
            # Without a controller SkyPilot continues alone.
            deadline = asyncio.get_running_loop().time() + (100 if world.server.jobs else 0)
            while asyncio.get_running_loop().time() < deadline and world.server.jobs[0].status != "FAILED":
                world.run_jobs()
                await asyncio.sleep(0.05)
        world.start_engine()
        await world.engine.recover([THE_JOB])
        await world.until(lambda: any(event["ev"] == "ended" for event in world.reported[before:]))

    world.play(what)
    assert len(world.server.jobs) == 1 and world.out == b"run\nend\n"
    ends = {(event["state"], event["exit_code"]) for event in world.reported if event["ev"] == "ended"}
    assert ends == {("FAILED", 3)}


def relaunch(world: World, job: ManagedJob, run: int) -> None:
    """Restart a managed job on new nodes, as SkyPilot's recovery."""
    job.log = b""
    world.tasks_of_jobs.append(asyncio.ensure_future(world.cloud.run(job, run=run)))


@pytest.mark.parametrize("local", [True, False], ids=["", "remote server"])
@pytest.mark.parametrize("seen", ["RECOVERING", "STARTING", "RUNNING"])
def test_a_job_that_ended_does_not_run_again(
    world: World, monkeypatch: pytest.MonkeyPatch, local: bool, seen: str
) -> None:
    """SkyPilot lost contact after the job's end.

    ``seen``: status of its recovery at that time.
    """
    monkeypatch.setattr(Access, "local", local)
    ran = world.home.parent / "ran"

    async def what(world: World) -> None:
        world.cloud.unseen = True  # SkyPilot does not notice that the job has ended
        await begun(world, "#!/bin/bash\necho run; echo x >> $RAN\n", environment=GO | {"RAN": str(ran)})
        await world.until(world.ended)
        await asyncio.gather(*world.tasks_of_jobs)
        job = world.server.jobs[0]
        assert not job.cancelled and world.engine.holds_nodes()
        job.become("RECOVERING", "Cluster preempted or failed, recovering")
        if seen != "RECOVERING":
            job.become(seen)
        if local:
            relaunch(world, job, 1)
        await world.until(lambda: job.cancelled)
        await asyncio.gather(*world.tasks_of_jobs)
        job.become("CANCELLED")
        await world.until(lambda: not world.engine.holds_nodes())

    world.play(what)
    assert ran.read_text() == "x\n" and world.out == b"run\n"
    assert [event["state"] for event in world.reported if event["ev"] == "ended"] == ["COMPLETED"]
    assert "REQUEUED" not in states(world)


def test_another_controller_watches_a_job_that_ended(world: World) -> None:
    async def what(world: World) -> None:
        world.cloud.unseen = True
        await begun(world, "#!/bin/bash\necho run\n")
        await world.until(world.ended)
        await world.until(world.engine.holds_nodes)
        await world.engine.close()
        world.start_engine()
        await world.engine.recover([])
        job = world.server.jobs[0]
        assert world.engine.holds_nodes()
        job.become("RECOVERING")
        await world.until(lambda: job.cancelled)
        job.become("CANCELLED")
        await world.until(lambda: not world.engine.holds_nodes())
        await world.engine.close()
        world.start_engine()
        await world.engine.recover([])
        assert not world.engine.holds_nodes()

    world.play(what)


def test_an_end_is_repeated_to_a_controller_that_did_not_commit_it(world: World) -> None:
    """SkyPilot restarts the job meanwhile: its log no longer has the first run."""

    async def what(world: World) -> None:
        world.cloud.unseen = True
        await begun(world, "#!/bin/bash\necho run; exit 3\n")
        await world.until(world.ended)
        await world.engine.close()
        job = world.server.jobs[0]
        job.become("RECOVERING")
        job.log = b""
        world.reported.clear()
        world.start_engine()
        await world.engine.recover([THE_JOB])
        await world.until(lambda: world.ended() and job.cancelled)

    world.play(what)
    assert (world.ended()["state"], world.ended()["exit_code"]) == ("FAILED", 3) and not states(world)


def test_nodes_that_are_not_yet_down_are_watched(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "GONE_POLL_S", 0.1)

    async def what(world: World) -> None:
        await begun(world, "#!/bin/bash\necho run\n")
        job = world.server.jobs[0]
        job.record["schedule_state"] = "ALIVE"
        await world.until(lambda: job.status == "SUCCEEDED")
        requested = world.server.requests.count("/jobs/queue/v2")
        await world.until(lambda: world.server.requests.count("/jobs/queue/v2") > requested + 3)
        assert world.engine.holds_nodes()
        job.record["schedule_state"] = "DONE"
        await world.until(lambda: not world.engine.holds_nodes())

    world.play(what)


def test_a_task_that_ends_with_the_engine_leaves_no_socket(world: World) -> None:
    """The last lines of a log may name a node while the engine closes."""

    async def read_of_a_node(world: World) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            world.engine._open_session(world.engine._watches[7])

    async def what(world: World) -> None:
        await begun(world, "#!/bin/bash\necho run; sleep 300\n")
        world.engine._spawn(read_of_a_node(world))
        await asyncio.sleep(0)
        sockets = world.engine._sessions
        await world.engine.close()
        assert not sockets._sessions

    world.play(what)
