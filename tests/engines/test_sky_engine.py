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
from slurmsky.site import load

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not namespaces_work(), reason="needs mount namespaces")]
SITE = load('[[partition]]\nname="debug"\ndefault=true\ninfra="kubernetes/x"', "site.toml")


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


def test_a_jobs_output_files_and_exit_code_come_back(world):
    world.play(check_output)


def test_standard_error_apart(world):
    """A percent sign that the controller left in the file's name is literal."""

    async def what(world):
        script = "#!/bin/bash\necho one; echo two >&2; printf 'x\\ry' >&2; echo three\n"
        await world.engine.start(world.launch(script, stderr=f"{world.project}/100%x.err"))
        await world.until(world.ended)

    world.play(what)
    assert world.out == b"one\nthree\n" and (world.project / "100%x.err").read_bytes() == b"two\nx\ry"


def test_a_script_reaches_the_submit_folder_by_the_path_of_another_machine(world):
    async def what(world):
        (world.project / "sub").mkdir()
        (world.project / "sub" / "data.txt").write_text("hi\n")
        script = "#!/bin/bash\ncd ~/repos/project/sub && cat data.txt && echo new > made.txt\n"
        await world.engine.start(world.launch(script))
        await world.until(world.ended)

    world.play(what)
    assert world.out == b"hi\n" and (world.project / "sub" / "made.txt").read_text() == "new\n"


def test_a_script_reads_and_writes_above_the_submit_folder(world):
    """The folder that contains all files is copied, without the files that either folder ignores."""

    async def what(world):
        whole = world.project
        world.project = whole / "jobs"
        world.project.mkdir()
        (whole / "data.txt").write_text("hi\n")
        (whole / ".skyignore").write_text("large\n")
        (whole / "large").touch()
        (world.project / ".skyignore").write_text("own.bin\n")
        (world.project / "own.bin").touch()
        script = "#!/bin/bash\npwd; cat ../data.txt; ls .. .\nmkdir ../made; echo new > ../made/x; echo here > y\n"
        await world.engine.start(world.launch(script))
        await world.until(world.ended)
        world.project = whole

    world.play(what)
    lines = world.out.decode().splitlines() if (world.project / "slurm-7.out").exists() else []
    lines = lines or (world.project / "jobs" / "slurm-7.out").read_text().splitlines()
    assert lines[0] == str(world.project / "jobs") and "hi" in lines and not {"large", "own.bin"} & set(lines)
    assert (world.project / "made" / "x").read_text() == "new\n" and (world.project / "jobs" / "y").exists()


def test_nodes_that_see_the_submit_folder_use_it_in_place(world):
    """No file is copied on nodes with a shared file system."""
    world.cloud.hidden = world.cloud.folder / "hidden"
    world.cloud.hidden.mkdir(parents=True)
    (world.project / "data.txt").write_text("hi\n")

    async def what(world):
        await world.engine.start(
            world.launch("#!/bin/bash\ncat data.txt; echo new > data.txt; until [ -e go ]; do sleep 0.1; done\n")
        )
        await world.until(lambda: (world.project / "data.txt").read_text() == "new\n")
        (world.project / "go").touch()
        await world.until(world.ended)

    world.play(what)
    assert world.ended()["state"] == "COMPLETED" and world.out == b"hi\n"
    assert not any(b'"file"' in line for line in world.server.jobs[0].log.splitlines())


def test_a_log_that_breaks_off_repeatedly(world, monkeypatch):
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


def test_a_server_that_is_away_for_a_while(world):
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


def test_a_file_changed_on_both_sides_is_not_overwritten(world):
    (world.project / "both.txt").write_text("before\n")

    async def what(world):
        await world.engine.start(world.launch("#!/bin/sh\nsleep 1; echo theirs > both.txt"))
        await world.until(lambda: any(event["ev"] == "started" for event in world.reported))
        (world.project / "both.txt").write_text("mine\n")
        await world.until(world.ended)

    world.play(what)
    assert (world.project / "both.txt").read_text() == "mine\n"
    assert (world.project / "both.txt.slurm-7").read_text() == "theirs\n"
    assert b"both.txt was changed here while the job ran" in world.out


def test_a_file_beyond_the_limit_is_named(world):
    async def what(world):
        await world.engine.start(world.launch("#!/bin/sh\nhead -c 40000000 /dev/zero > big; echo small > small"))
        await world.until(world.ended)

    world.play(what)
    assert not (world.project / "big").exists() and (world.project / "small").read_text() == "small\n"
    assert b"big (40000000 bytes) was not brought back" in world.out


def test_a_file_beyond_the_limit_goes_to_the_sites_bucket(world):
    async def what(world):
        world.engine.site = load(
            '[sky]\nbucket="s3://team/slurmsky"\n[[partition]]\nname="debug"\ndefault=true', "site.toml"
        )
        script = "#!/bin/sh\nmkdir out; head -c 40000000 /dev/zero > out/big; echo x > small"
        await world.engine.start(world.launch(script))
        await world.until(world.ended)

    world.play(what)
    job = world.server.jobs[0]
    assert {"source": "s3://team/slurmsky", "mode": "MOUNT"} in job.task["file_mounts"].values()
    message = "out/big (40000000 bytes) was not brought back: more than [sky] return_mib; it is at s3://team/slurmsky"
    assert f"{message}/{job.name}/out/big\n".encode() in world.out
    assert (world.cloud.bucket("s3://team/slurmsky") / job.name / "out" / "big").stat().st_size == 40_000_000
    assert not (world.project / "out" / "big").exists() and (world.project / "small").exists()


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


def test_a_controller_that_died_and_came_back(world):
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


def test_a_script_that_hears_first_that_its_node_is_taken(world):
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


def test_lost_nodes_end_a_job_that_does_not_want_a_requeue(world):
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


ELEMENT = """#!/bin/bash
echo $SLURM_ARRAY_JOB_ID $SLURM_ARRAY_TASK_ID $SLURM_ARRAY_TASK_COUNT
echo $SLURM_ARRAY_TASK_ID > made.$SLURM_ARRAY_TASK_ID
sleep ${NAP-0.2}
exit $((SLURM_ARRAY_TASK_ID % 3))
"""


def together(peak):
    """Scripts that wait for a number of started elements.

    All elements thus run at the same time.
    """
    return ELEMENT.replace("sleep ${NAP-0.2}", f"until [ $(ls made.* | wc -l) -ge {peak} ]; do sleep 0.05; done")


def elements(world, count, script=ELEMENT, throttle=""):
    for index in range(count):
        yield world.launch(
            script,
            job_id=100 + index,
            array_job_id=100,
            array_task_id=index,
            array_count=count,
            array_max=count - 1,
            stdout=f"{world.project}/slurm-100_{index}.out",
            spec=JobSpec(job_name="job", array=f"0-{count - 1}{throttle}"),
        )


async def start_all(world, launches):
    await asyncio.gather(*(world.engine.start(launch) for launch in launches))


def ends(world):
    return {event["job_id"]: event for event in world.reported if event["ev"] == "ended"}


def most_at_once(world):
    """The number of elements that ran at the same time, by their own clocks."""
    moments = [(event["time"], 1) for event in world.reported if event["ev"] == "started"]
    moments += [(event["time"], -1) for event in world.reported if event["ev"] == "ended"]
    running = peak = 0
    for _, change in sorted(moments):
        running += change
        peak = max(peak, running)
    return peak


@pytest.mark.parametrize("throttle, peak", [("", 8), ("%3", 3)])
def test_an_array_is_one_managed_job(world, throttle, peak):
    async def what(world):
        world.engine.site = load('[[partition]]\nname="debug"\ndefault=true\narray_nodes=1', "site.toml")
        await start_all(world, elements(world, 20, together(peak), throttle=throttle))
        await world.until(lambda: len(ends(world)) == 20)

    world.play(what)
    assert len(world.server.jobs) == 1
    assert world.server.jobs[0].task["resources"]["cpus"] == f"{peak}+"
    assert most_at_once(world) == peak
    for index in range(20):
        assert (world.project / f"slurm-100_{index}.out").read_text() == f"100 {index} 20\n"
        assert (world.project / f"made.{index}").read_text() == f"{index}\n"
        assert ends(world)[100 + index]["exit_code"] == index % 3


def test_a_large_array_shares_several_nodes(world):
    async def what(world):
        await start_all(world, elements(world, 40))
        await world.until(lambda: len(ends(world)) == 40)

    world.play(what)
    assert len(world.server.jobs) == 4
    assert {event["exit_code"] for event in ends(world).values()} == {0, 1, 2}


def test_elements_are_cancelled_one_by_one(world):
    async def what(world):
        await start_all(world, elements(world, 3, "#!/bin/bash\nexec sleep 300\n", "%2"))
        await world.until(lambda: sum(event["ev"] == "started" for event in world.reported) == 2)
        await asyncio.sleep(0.3)
        await world.engine.terminate(102, "CANCELLED", 15, 5)  # waits for a slot
        await world.until(lambda: 102 in ends(world))
        await world.engine.terminate(100, "CANCELLED", 15, 5)  # runs
        await world.until(lambda: 100 in ends(world))
        assert 101 not in ends(world)
        await world.engine.terminate(101, "CANCELLED", 15, 5)
        await world.until(lambda: 101 in ends(world))

    world.play(what)
    assert {event["state"] for event in ends(world).values()} == {"CANCELLED"}
    assert not any(event["job_id"] == 102 for event in world.reported if event["ev"] == "started")


def test_only_unfinished_elements_run_again(world):
    script = """#!/bin/bash
echo run ${SLURM_RESTART_COUNT-0}
[ $SLURM_ARRAY_TASK_ID = 1 ] && [ ${SLURM_RESTART_COUNT-0} = 0 ] && sleep 300
exit 0
"""

    async def what(world):
        await start_all(world, elements(world, 3, script))
        await world.until(lambda: len(ends(world)) == 2)
        await world.preempt()
        await world.until(lambda: len(ends(world)) == 3)

    world.play(what)
    runs = [(world.project / f"slurm-100_{index}.out").read_text() for index in range(3)]
    assert runs == ["run 0\n", "run 1\n", "run 0\n"]
    assert {event["state"] for event in ends(world).values()} == {"COMPLETED"}


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


@pytest.mark.parametrize("mode, out", [(None, b"new\n"), ("append", b"of an earlier job\nnew\n")])
def test_an_output_file_that_was_there_before(world, mode, out):
    (world.project / "slurm-7.out").write_text("of an earlier job\n")

    async def what(world):
        await world.engine.start(world.launch("#!/bin/sh\necho new\n", spec=JobSpec(open_mode=mode)))
        await world.until(world.ended)

    world.play(what)
    assert world.out == out
