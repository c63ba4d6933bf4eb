"""A second launch by SkyPilot on the same nodes.

The script begins once, and its output arrives once.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from cloud import Cloud, namespaces_work, skypilots_log
from sky_server import ManagedJob
from sky_world import World

from slurmsky.agent.process import process_tree
from slurmsky.model.spec import JobSpec
from slurmsky.site import load

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not namespaces_work(), reason="needs mount namespaces"),
]

#: the files that count the script's starts, and for which it waits, are outside of all nodes
SCRIPT = r"""#!/bin/bash
echo "${SLURM_RESTART_COUNT-0}" >> $SEEN
echo $$ > $SEEN.pid${SLURM_RESTART_COUNT-0}
mkdir out 2>/dev/null || echo AGAIN
echo run; printf '10%%\r'
[ ${SLURM_RESTART_COUNT-0} = 0 ] || exit 0
until [ -e $GO ]; do sleep 0.1; done
srun -l cat data.txt | sort
echo made > made.txt
printf '20%%\r\n\xff\0end'
exit 5
"""
HOLD = """
mount -t tmpfs tmpfs "$HIDDEN" && cp /etc/hosts "$HOME/hosts" && mount --bind "$HOME/hosts" /etc/hosts || exit 99
echo ready; exec sleep 1000
"""


class WarmNodes(Cloud):
    """Nodes that remain after their job's end, so that they can get another job."""

    def __init__(self, folder: Path, hidden: Path) -> None:
        super().__init__(folder, hidden)
        self.holders: list[subprocess.Popen[bytes]] = []
        self.given: list[list[asyncio.subprocess.Process]] = []
        self.codes: dict[int, list[int]] = {}

    async def run(self, job: ManagedJob, run: int = 0) -> None:
        """Run the job from STARTING to the final status of its last launch."""
        job.become("STARTING")
        await self.give(job)
        job.become("RUNNING")
        while len(self.codes) < len(self.given) or not self.codes:
            await asyncio.sleep(0.02)
        bad = max(self.codes[len(self.given)])
        if job.status == "RUNNING":
            job.become("FAILED" if bad else "SUCCEEDED", f"Job exited with exit code {bad}" if bad else "")

    async def give(self, job: ManagedJob) -> None:
        """Launch the same task as the cluster's next job; its log is shown from now on."""
        count = int(job.task.get("num_nodes", 1))
        addresses = [f"127.0.77.{rank + 1}" for rank in range(count)]
        job.log, job.log_number = b"", job.log_number + 1
        number = len(self.given) + 1
        processes: list[asyncio.subprocess.Process] = []
        self.given.append(processes)
        for rank in range(count):
            home = self.folder / f"node{rank}"
            self.bring(job, home)
            environment = self.environment(job, home, rank, addresses) | {"SKYPILOT_INTERNAL_JOB_ID": str(number)}
            if len(self.holders) == rank:
                self.holders.append(self._hold(environment))
            enter = ["nsenter", "-t", str(self.holders[rank].pid), "-U", "-m", "--preserve-credentials"]
            processes.append(await asyncio.create_subprocess_exec(
                *enter, "sh", "-c", 'cd "$HOME/sky_workdir" && exec sh -c "$RUN"', env=environment,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True))  # fmt: skip
        self.processes[job.job_id] = processes
        self._waiting = asyncio.ensure_future(self._wait(job, number))

    def _hold(self, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        holder = subprocess.Popen(
            ["unshare", "-rm", "sh", "-c", HOLD],
            env=environment, stdout=subprocess.PIPE, start_new_session=True)  # fmt: skip
        assert holder.stdout is not None
        with holder.stdout as reported:
            assert reported.readline() == b"ready\n"
        return holder

    async def _wait(self, job: ManagedJob, number: int) -> None:
        async def one(rank: int, process: asyncio.subprocess.Process) -> int:
            assert process.stdout is not None
            prefix = b"\x1b[36m(%s, rank=%d, pid=%d)\x1b[0m " % (b"node", rank, process.pid)
            while chunk := await process.stdout.readline():
                if number == len(self.given):
                    job.log += skypilots_log(chunk, prefix)
            return await process.wait()

        self.codes[number] = await asyncio.gather(*(one(*node) for node in enumerate(self.given[number - 1])))

    def kill_starters(self, number: int, how: int = signal.SIGKILL) -> None:
        """Kill the processes that SkyPilot started for a launch, but not their children."""
        for process in self.given[number - 1]:
            for pid in [process.pid, *_children(process.pid)]:
                try:
                    os.kill(pid, how)
                except ProcessLookupError:
                    continue

    async def close(self, runs) -> None:
        try:
            await super().close(runs)
        finally:
            for holder in self.holders:
                holder.kill()
                holder.wait()


def _children(pid: int) -> list[int]:
    try:
        found = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    ours = [child for child in found if b"slurmsky.agent" not in _words(child)]
    return [*ours, *(below for child in ours for below in _children(child))]


def _words(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


class Twice:
    """A job on warm nodes, and the values that its script recorded."""

    def __init__(self, world: World, nodes: int = 1, **spec: object) -> None:
        self.world = world
        self.nodes = WarmNodes(world.home.parent / "cloud", world.user)
        world.cloud = self.nodes
        self.seen, self.go = world.home.parent / "seen", world.home.parent / "go"
        (world.project / "data.txt").write_text("hi\n")
        self.launch = world.launch(
            SCRIPT, nodes=nodes, spec=JobSpec(job_name="job", nodes_min=nodes, **spec),
            environment={"PATH": "/usr/bin:/bin", "HOME": str(world.user), "SEEN": str(self.seen), "GO": str(self.go)},
        )  # fmt: skip

    @property
    def job(self) -> ManagedJob:
        return self.world.server.jobs[0]

    @property
    def beginnings(self) -> list[str]:
        return self.seen.read_text().split()

    @property
    def first_lives(self) -> bool:
        """Whether the shell of the first start runs and is not a zombie."""
        fields = process_tree.stat(int(Path(f"{self.seen}.pid0").read_text()))
        return fields is not None and fields.state != "Z"

    async def follow(self) -> None:
        """Wait until the first launch runs and the second replays its log."""
        await self.begin()
        await self.nodes.give(self.job)
        await self.world.until(lambda: b"run" in self.job.log)

    async def begin(self) -> None:
        await self.world.engine.start(self.launch)
        await self.world.until(lambda: (self.world.project / "slurm-7.out").exists() and b"run\n" in self.world.out)

    def output(self, nodes: int) -> bytes:
        tasks = b"".join(b"%d: hi\n" % rank for rank in range(nodes))
        return b"run\n10%\r" + tasks + b"20%\r\n\xff\0end"

    def requeues(self) -> int:
        return [event.get("state") for event in self.world.reported if event["ev"] == "state"].count("REQUEUED")

    def check_once(self, nodes: int) -> None:
        """Check: one start, every byte once, the script's own exit code, equal for every launch."""
        assert self.beginnings == ["0"] and self.world.out == self.output(nodes) and self.requeues() == 0
        end = self.world.ended()
        assert (end["state"], end["exit_code"], end["run"]) == ("FAILED", 5, 0)
        assert (self.world.project / "made.txt").read_text() == "made\n"
        assert [codes[0] for _, codes in sorted(self.nodes.codes.items())] == [5] * len(self.nodes.given)

    def check_again(self) -> None:
        """Two starts, the second a restart, and no process left."""
        assert self.beginnings == ["0", "1"] and self.requeues() == 1
        end = self.world.ended()
        assert (end["state"], end["exit_code"], end["run"]) == ("COMPLETED", 0, 1)
        assert self.world.out == b"AGAIN\nrun\n10%\r"
        assert not self.first_lives


def given_up(world: World) -> set[str]:
    return {event["state"] for event in world.reported if event["ev"] == "ended"}


def test_a_second_launch_while_the_first_runs(world: World) -> None:
    twice = Twice(world)

    async def what(world: World) -> None:
        await twice.follow()
        await twice.nodes.give(twice.job)
        await world.until(lambda: b"run" in twice.job.log)
        twice.go.touch()
        await world.until(world.ended)
        await world.until(lambda: len(twice.nodes.codes) == 3)

    world.play(what)
    twice.check_once(nodes=1)


def test_a_second_launch_after_an_unreported_end_of_the_first(world: World) -> None:
    twice = Twice(world, nodes=2)

    async def what(world: World) -> None:
        await twice.begin()
        world.server.fault = lambda path: (503, "text/plain", b"busy")
        world.engine._watches[7].reading.cancel()
        twice.go.touch()
        await world.until(lambda: 1 in twice.nodes.codes)
        twice.job.become("RUNNING")
        await twice.nodes.give(twice.job)
        await world.until(lambda: 2 in twice.nodes.codes)
        world.server.fault = lambda path: None
        await world.until(world.ended)

    world.play(what)
    twice.check_once(nodes=2)


@pytest.mark.parametrize("how, nodes", [(signal.SIGKILL, 1), (signal.SIGKILL, 2), (signal.SIGTERM, 1)])
def test_a_second_launch_after_the_first_was_killed(world: World, how: int, nodes: int) -> None:
    """The first launch ends by a crash, which leaves the script running, or by SkyPilot's cancellation."""
    twice = Twice(world, nodes)

    async def what(world: World) -> None:
        await twice.begin()
        twice.nodes.given.append([])  # there will be another one: the job is not over with the first
        twice.nodes.kill_starters(1, how)
        await world.until(lambda: 1 in twice.nodes.codes)
        twice.nodes.given.pop()
        await twice.nodes.give(twice.job)
        await world.until(world.ended)

    world.play(what)
    twice.check_again()


def test_the_first_is_cancelled_while_the_second_follows_it(world: World) -> None:
    twice = Twice(world, nodes=2)

    async def what(world: World) -> None:
        await twice.follow()
        twice.nodes.kill_starters(1, signal.SIGTERM)
        await world.until(world.ended)

    world.play(what)
    twice.check_again()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_second_launch_of_a_job_with_no_requeue(world: World, how: int) -> None:
    twice = Twice(world, requeue=False)

    async def what(world: World) -> None:
        await twice.follow()
        twice.nodes.kill_starters(1, how)
        await world.until(world.ended)

    world.play(what)
    assert twice.beginnings == ["0"] and given_up(world) == {"NODE_FAIL"} and twice.requeues() == 0
    assert not twice.first_lives


def test_the_second_launch_is_ended(world: World) -> None:
    """SkyPilot cancels only the last job of a pool's worker.

    Both jobs must end.
    """
    twice = Twice(world)

    async def what(world: World) -> None:
        await twice.follow()
        twice.job.become("CANCELLING")
        twice.nodes.kill_starters(2, signal.SIGTERM)
        await world.until(world.ended)

    world.play(what)
    assert twice.beginnings == ["0"] and given_up(world) == {"CANCELLED"}


def test_elements_that_ended_do_not_begin_again(world: World) -> None:
    twice = Twice(world)
    script = f"#!/bin/bash\necho $SLURM_ARRAY_TASK_ID >> {twice.seen}\n"
    script += f"[ $SLURM_ARRAY_TASK_ID = 1 ] || until [ -e {twice.go} ]; do sleep 0.1; done\n"

    async def what(world: World) -> None:
        world.engine.site = load('[[partition]]\nname="debug"\ndefault=true\ninfra="kubernetes/x"', "site.toml")
        spec = JobSpec(job_name="a", array="1-2")
        launches = [
            world.launch(script, job_id=100 + index, spec=spec, array_job_id=100, array_task_id=index,
                         stdout=f"{world.project}/{index}.out")
            for index in (1, 2)
        ]  # fmt: skip
        await asyncio.gather(*(world.engine.start(launch) for launch in launches))
        await world.until(lambda: any(event["ev"] == "ended" for event in world.reported))
        await world.until(lambda: sorted(twice.seen.read_text().split()) == ["1", "2"])  # they run at the same time
        await twice.nodes.give(twice.job)
        twice.nodes.kill_starters(1)
        await world.until(lambda: len(twice.seen.read_text().split()) == 3)
        twice.go.touch()
        await world.until(lambda: [event["ev"] for event in world.reported].count("ended") == 2)

    world.play(what)
    assert sorted(twice.seen.read_text().split()) == ["1", "2", "2"]
    assert {event["job_id"]: event["state"] for event in world.reported if event["ev"] == "ended"} == {
        101: "COMPLETED", 102: "COMPLETED"
    }  # fmt: skip
