"""The SkyPilot engine with the real agent.

The nodes are on this machine, and the API server is simulated.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from cloud import namespaces_work

from slurmsky.engines.base import EngineError
from slurmsky.engines.sky import intervals
from slurmsky.model.job import Job
from slurmsky.model.spec import JobSpec
from slurmsky.protocol import wire

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not namespaces_work(), reason="needs mount namespaces")]


OUTPUT = b"hi\npart done\n10%\r20%\r\n\xff\x00err\n" + b"x" * 30000 + b"\nend"
SCRIPT = r"""#!/bin/bash
cat data.txt
printf part; sleep 0.7; printf ' done\n10%%\r20%%\r\n\xff\x00'
echo err >&2
head -c 30000 /dev/zero | tr '\0' x
printf '\nend'
echo new > made.txt; echo more >> old.txt; mkdir -m 750 sub; echo y > sub/y; chmod 750 sub/y
exit 5
"""


async def check_output(world):
    (world.project / "data.txt").write_text("hi\n")
    (world.project / "old.txt").write_text("old\n")
    await world.engine.start(world.launch(SCRIPT))
    await world.until(world.ended)
    assert world.out == OUTPUT
    end = world.ended()
    assert (end["state"], end["exit_code"], end["exit_signal"]) == ("FAILED", 5, 0)
    assert (world.project / "sub").stat().st_mode & 0o777 == 0o750
    assert (world.project / "made.txt").read_text() == "new\n"
    assert (world.project / "old.txt").read_text() == "old\nmore\n"
    assert (world.project / "sub" / "y").stat().st_mode & 0o777 == 0o750
    kinds = [event["ev"] for event in world.reported if event["ev"] in ("started", "step", "ended", "managed")]
    assert kinds == ["managed", "started", "ended"]
    assert end["step"]["step_id"] == "batch"
    assert len(world.server.jobs) == 1


def test_a_job_returns_its_output_files_and_exit_code(world):
    world.play(check_output)


def test_standard_error_has_a_separate_file(world):
    """A percent sign that the controller left in the file's name is literal."""

    async def what(world):
        script = "#!/bin/bash\necho one; echo two >&2; printf 'x\\ry' >&2; echo three\n"
        await world.engine.start(world.launch(script, stderr=f"{world.project}/100%x.err"))
        await world.until(world.ended)

    world.play(what)
    assert world.out == b"one\nthree\n" and (world.project / "100%x.err").read_bytes() == b"two\nx\ry"


def test_a_log_whose_stream_breaks_repeatedly_is_complete(world, monkeypatch):
    world.server.cut_log_after = [0, 100, 700, 1500, 2600, 20000, 41000]
    # Of a job that ends before the first read, each of these is a read of the stored log.
    monkeypatch.setattr(intervals, "LOG_FETCH_S", (0,) + (0.1,) * len(world.server.cut_log_after))
    world.play(check_output)
    assert not world.server.cut_log_after


def test_a_launch_whose_answer_is_lost_is_not_repeated(world):
    lost = ["/jobs/launch"]

    def lose(path):
        if path in lost:
            lost.remove(path)
            return 0, "", b""
        return None

    world.server.after = lose
    world.play(check_output)


def test_a_launch_waits_for_an_unreachable_server(world):
    left = [1, 2, 3, 4]

    def fault(path):
        return (503, "text/plain", b"restarting") if left and left.pop() else None

    world.server.fault = fault
    world.play(check_output)
    assert not left and any("waiting for SkyPilot" in event.get("comment", "") for event in world.reported)


def test_a_task_that_skypilot_refuses(world):
    world.server.refuse = "no such cloud"

    async def what(world):
        with pytest.raises(EngineError, match="no such cloud"):
            await world.engine.start(world.launch("#!/bin/sh\n"))

    world.play(what)
    assert not world.server.jobs


def test_the_environment_is_the_users_and_not_skypilots(world):
    async def what(world):
        await world.engine.start(world.launch("#!/bin/sh\nenv\necho $0; pwd"))
        await world.until(world.ended)

    world.play(what)
    lines = world.out.decode().splitlines()
    env = dict(line.split("=", 1) for line in lines if "=" in line)
    assert env["FOO"] == "b a r" and env["HOME"] == str(world.user) and env["SLURM_JOB_ID"] == "7"
    assert env["SKYPILOT_NODE_RANK"] == "0" and "OMP_NUM_THREADS" not in env
    assert env["SLURM_SUBMIT_DIR"] == str(world.project) and env["SLURM_JOB_NODELIST"] != "foreign"
    assert lines[-2].endswith("/slurm_script") and lines[-1] == str(world.project)


@pytest.mark.parametrize("reachable", [True, False])
def test_cancel_while_it_runs(world, reachable, monkeypatch):
    """A request is sent to the job's node, else to SkyPilot.

    SkyPilot sends SIGTERM if the node cannot be reached.
    """

    async def what(world):
        await world.engine.start(world.launch("#!/bin/bash\ntrap 'echo trapped; exit 0' TERM\nsleep 60 & wait"))
        await world.until(lambda: any(event["ev"] == "started" for event in world.reported))
        await asyncio.sleep(0.5)
        if not reachable:
            world.engine._watches[7].record.control = "127.0.0.1:1"
        await world.engine.terminate(7, "CANCELLED", 15, 5)
        if not reachable:
            await world.until(lambda: world.server.jobs[0].cancelled)
            world.cloud.stop(1, signal.SIGTERM)
        await world.until(world.ended)

    world.play(what)
    assert world.ended()["state"] == "CANCELLED"
    assert b"trapped" in world.out and b"CANCELLED AT" in world.out


def test_cancel_before_it_has_nodes(world):
    async def what(world):
        world.run_jobs = lambda: None
        await world.engine.start(world.launch("#!/bin/sh\n"))
        await world.until(lambda: any(event["ev"] == "managed" for event in world.reported))
        await world.engine.terminate(7, "CANCELLED", 15, 5)
        assert world.ended()["state"] == "CANCELLED"

    world.play(what)
    assert world.server.jobs[0].cancelled


def test_cancel_while_it_is_packed(world):
    async def what(world):
        world.run_jobs = lambda: None
        starting = asyncio.ensure_future(world.engine.start(world.launch("#!/bin/sh\n")))
        await asyncio.sleep(0)
        await world.engine.terminate(7, "CANCELLED", 15, 5)
        await starting
        await world.until(world.ended)

    world.play(what)
    assert world.ended()["state"] == "CANCELLED"
    assert all(job.cancelled for job in world.server.jobs)


TRAPS = """#!/bin/bash
trap 'echo usr1' USR1
trap 'echo term' TERM
for i in `seq 300`; do sleep 0.1; done
"""


def test_signals_and_time_limit(world):
    async def what(world):
        await world.engine.start(world.launch(TRAPS, time_limit_s=3, kill_wait_s=1))
        await world.until(lambda: any(event["ev"] == "started" for event in world.reported))
        await asyncio.sleep(0.5)
        await world.engine.signal(7, signal.SIGUSR1, "batch")
        await world.until(world.ended)

    world.play(what)
    assert world.ended()["state"] == "TIMEOUT"
    assert b"usr1" in world.out and b"DUE TO TIME LIMIT" in world.out


def test_the_next_controller_continues_a_running_job(world):
    script = "#!/bin/bash\nfor i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.4; done; echo x > made"

    async def what(world):
        await world.engine.start(world.launch(script))
        await world.until(lambda: (world.project / "slurm-7.out").exists() and b"3" in world.out)
        await world.engine.close()
        await asyncio.sleep(0.5)
        world.start_engine()
        spec = JobSpec()
        job = Job(
            job_id=7,
            spec=spec,
            name="job",
            user="me",
            uid=0,
            gid=0,
            group="me",
            account="",
            partition="debug",
        )
        await world.engine.recover([job])
        await world.until(world.ended)

    world.play(what)
    assert world.out == b"1\n2\n3\n4\n5\n6\n7\n8\n" and (world.project / "made").exists()
    assert [event["ev"] for event in world.reported].count("started") == 1
    assert len(world.server.jobs) == 1


def test_lost_nodes_are_a_requeue(world):
    async def what(world):
        await world.engine.start(
            world.launch("#!/bin/bash\necho run ${SLURM_RESTART_COUNT-0}; sleep ${NAP-1}; echo end")
        )
        await world.until(lambda: (world.project / "slurm-7.out").exists() and b"run" in world.out)
        await world.preempt()
        await world.until(world.ended)

    world.play(what)
    assert world.ended()["state"] == "COMPLETED" and world.out == b"run 1\nend\n"
    assert [event["ev"] for event in world.reported].count("started") == 2


def test_a_script_receives_sigterm_before_its_node_is_preempted(world):
    """All processes of a node are signalled.

    A script that fails because its node is taken is CANCELLED, not FAILED.
    """

    async def what(world):
        await world.engine.start(world.launch("#!/bin/bash\necho $$ runs\nexec sleep 1000"))
        await world.until(lambda: (world.project / "slurm-7.out").exists() and b" runs\n" in world.out)
        os.kill(int(world.out.split()[0]), signal.SIGTERM)
        await asyncio.sleep(0.05)
        world.cloud.stop(1, signal.SIGTERM)
        await world.until(world.ended)

    world.play(what)
    assert world.ended()["state"] == "CANCELLED", "as SkyPilot says, and not FAILED"


def test_lost_nodes_end_a_job_with_no_requeue(world):
    async def what(world):
        spec = JobSpec(job_name="job", requeue=False)
        await world.engine.start(world.launch("#!/bin/bash\nsleep 60", spec=spec))
        await world.until(lambda: any(event["ev"] == "started" for event in world.reported))
        world.server.jobs[0].become("RECOVERING", "Cluster preempted or failed, recovering")
        world.cloud.stop(1, signal.SIGKILL)
        await world.until(world.ended)
        await world.until(lambda: world.server.jobs[0].cancelled)

    world.play(what)
    assert world.ended()["state"] == "NODE_FAIL"


SRUN = r"""#!/bin/bash
scontrol show hostnames | wc -l
squeue --me
srun -l sh -c 'cat data.txt; echo $SLURM_PROCID > out.$SLURM_PROCID; squeue $SLURM_PROCID' | sort
"""


async def squeue(reader, writer):
    """A controller that answers every command with its name and arguments."""
    try:
        request = wire.CommandRequest.from_payload((await FrameStream(reader).frame()).payload)
        writer.write(wire.encode(wire.STDOUT, " ".join((request.command, *request.args, "\n")).encode()))
        writer.write(wire.encode(wire.EXIT, b"0"))
        await writer.drain()
    finally:
        writer.close()  # a test that ends cancels this


class FrameStream:
    def __init__(self, reader):
        self.reader, self.frames, self.decoder = reader, [], wire.FrameReader()

    async def frame(self):
        while not self.frames:
            self.frames += self.decoder.feed(await self.reader.read(65536))
        return self.frames.pop(0)


def test_two_nodes_and_srun_and_commands_that_only_the_controller_can_answer(world):
    (world.project / "data.txt").write_text("hi\n")
    world.cloud.lag[1] = 0.7  # the second node's files arrive after the first node's last record

    async def what(world):
        world.home.mkdir(exist_ok=True)
        controller = await asyncio.start_unix_server(squeue, str(world.home / "controller.sock"))
        await world.engine.start(world.launch(SRUN, nodes=2))
        await world.until(world.ended)
        controller.close()

    world.play(what)
    assert world.ended()["state"] == "COMPLETED", world.out
    expected = b"2\nsqueue --me \n0: hi\n0: squeue 0 \n1: hi\n1: squeue 1 \n"
    assert world.out == expected
    assert [(world.project / f"out.{rank}").read_text() for rank in (0, 1)] == ["0\n", "1\n"]


def test_a_server_that_stops_while_a_job_runs(world):
    async def what(world):
        await world.engine.start(world.launch("#!/bin/bash\necho one; sleep 3; echo two\n"))
        await world.until(lambda: (world.project / "slurm-7.out").exists() and b"one" in world.out)
        away = time.monotonic() + 1
        world.server.cut_log_after = [0, 0, 0]
        world.server.fault = lambda path: (503, "text/plain", b"restarting") if time.monotonic() < away else None
        await world.until(world.ended)

    world.play(what)
    assert world.ended()["state"] == "COMPLETED" and world.out == b"one\ntwo\n"
