"""Nodes for the simulated API server: runs a SkyPilot task on this machine.

Each node is a process in a mount namespace of its own that does not see the user's folders, as a cloud node
does not; its output goes through what SkyPilot's runner does to a log.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sky_server import ManagedJob

from slurmsky.agent.cloud.program_main import unpacked

HIDE = """
mount -t tmpfs tmpfs "$HIDDEN" && cp /etc/hosts "$HOME/hosts" && mount --bind "$HOME/hosts" /etc/hosts ||
    exit 99
[ -z "$APART" ] || "$PYTHON" -c "$LOOPBACK" || exit 98
exec sh -c "$RUN"
"""


# What `ip link set lo up` does, where there is no ip.
LOOPBACK = """
import fcntl, socket, struct
request = struct.pack("16sh14x", b"lo", 1)
fcntl.ioctl(socket.socket(), 0x8914, request)
"""


def namespaces_work() -> bool:
    """True where this account may make mount namespaces."""
    return subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0


def skypilots_log(chunk: bytes, prefix: bytes) -> bytes:
    """Lines in the form of sky/skylet/log_lib.py and executor/slurm.py."""
    text = chunk.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    return b"".join(prefix + line.encode() for line in re.split(r"(?<=\n)", text) if line)


def _compiled_before(program: Path, kept: Path) -> None:
    """Give a node the program's modules from an earlier job. All nodes share those in ``kept``."""
    kept.mkdir(exist_ok=True)
    if not (kept / program.name).exists():
        shutil.copy(program, kept)
    library = program.with_suffix("")
    if not library.is_symlink():
        library.symlink_to(unpacked(str(kept / program.name)))


class Cloud:
    """Runs the tasks of a SkyServer. ``hidden``: the folder that nodes do not see."""

    def __init__(self, folder: Path, hidden: Path) -> None:
        self.folder, self.hidden = folder, hidden
        self.apart = False  # nodes have a network of their own, which this machine does not reach
        self.unseen = False  # SkyPilot does not notice when a job has ended
        self.metadata: dict[int, str] = {}  # rank -> address of the metadata service of a machine
        self.lag: dict[int, float] = {}  # rank -> how late its lines come, in seconds
        self.processes: dict[int, list[asyncio.subprocess.Process]] = {}
        self.closed = False

    async def run(self, job: ManagedJob, run: int = 0) -> None:
        """Report the states from STARTING to a final one."""
        job.become("STARTING", "Launching (nodes allocated)")
        count = int(job.task.get("num_nodes", 1))
        addresses = [f"127.0.{job.job_id}.{rank + 1}" for rank in range(count)]
        job.log += b"Job started. Streaming logs...\n"
        nodes = self.processes[job.job_id] = []
        for rank in range(count):
            home = self.folder / f"cluster{job.job_id}-{run}-{rank}"
            self.bring(job, home)
            environment = self.environment(job, home, rank, addresses)
            if self.closed:
                break
            nodes.append(await asyncio.create_subprocess_exec(
                "unshare", "-rmn" if self.apart else "-rm", "sh", "-c", HIDE, env=environment,
                cwd=home / "sky_workdir", stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, start_new_session=True))  # fmt: skip
        job.become("RUNNING")
        readers = [self._read(job, node, rank) for rank, node in enumerate(nodes)]
        codes = await asyncio.gather(*readers)
        if job.status != "RUNNING" or not codes or self.unseen:
            return  # the test has set its state, or has ended
        bad = max(codes)
        job.log += b"\x1b[0m\x1b[32m\xe2\x9c\x93 Job finished.\x1b[0m\n"
        recovery = job.task.get("resources", {}).get("job_recovery", {})
        if job.cancelled:
            job.become("CANCELLED")
        elif set(codes) & set(recovery.get("recover_on_exit_codes", ())):
            job.become("RECOVERING", f"Job exited with exit code {bad}. Restarting the job")
            await asyncio.sleep(1)  # far less than SkyPilot needs for other nodes
            job.log = b""
            await self.run(job, run + 1)
        elif bad:
            job.become("FAILED", f"Job failed: Job exited with exit code {bad} (user program failure).")
        else:
            job.become("SUCCEEDED")

    def bring(self, job: ManagedJob, home: Path) -> None:
        """Copy the task's mounts into a node's home folder, over the files of an earlier job."""
        home.mkdir(parents=True, exist_ok=True)
        mounts = dict(job.task.get("file_mounts", {}))
        if "workdir" in job.task:
            mounts["~/sky_workdir"] = job.task["workdir"]
        else:
            (home / "sky_workdir").mkdir(exist_ok=True)
        for target, source in mounts.items():
            place = Path(target.replace("~", str(home)))
            place.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(source, dict):  # a bucket
                bucket = self.bucket(source["source"])
                bucket.mkdir(parents=True, exist_ok=True)
                place.symlink_to(bucket)
            elif os.path.isdir(source):
                shutil.copytree(source, place, dirs_exist_ok=True)
            else:
                shutil.copy(source, place)
        for program in [*home.glob(".slurmsky/**/*.pyz"), *home.glob("sky_workdir/*.pyz")]:
            _compiled_before(program, self.folder.parents[1] / "programs")

    def environment(self, job: ManagedJob, home: Path, rank: int, addresses: list[str]) -> dict[str, str]:
        """The environment in which SkyPilot's runner starts a task."""
        return {
            "PATH": os.environ["PATH"], "HOME": str(home), "HIDDEN": str(self.hidden),
            "RUN": job.task["run"], "APART": "1" if self.apart else "", "PYTHON": sys.executable,
            "LOOPBACK": LOOPBACK,
            "SKYPILOT_NODE_RANK": str(rank), "SKYPILOT_NODE_IPS": "\n".join(addresses),
            "SKYPILOT_JOB_RANK": str(job.rank), "SKYPILOT_NUM_JOBS": str(job.num_jobs),
            "SKYPILOT_MANAGED_JOB_ID": str(job.job_id), "SKYPILOT_INTERNAL_JOB_ID": "1",
            "SKYPILOT_TASK_ID": f"sky-managed_{job.job_id}-0", "SKYPILOT_NUM_GPUS_PER_NODE": "0",
            "SKYPILOT_NUM_NODES": str(len(addresses)), "OMP_NUM_THREADS": "1", "SLURM_JOB_ID": "99",
            "SLURMD_NODENAME": "foreign",
            **({"SLURMSKY_METADATA": self.metadata[rank]} if rank in self.metadata else {}),
        }  # fmt: skip

    async def _read(self, job: ManagedJob, node: asyncio.subprocess.Process, rank: int) -> int:
        assert node.stdout is not None
        prefix = b"\x1b[36m(%s, rank=%d, pid=%d)\x1b[0m " % (b"worker1" if rank else b"head", rank, node.pid)
        while chunk := await node.stdout.readline():
            await asyncio.sleep(self.lag.get(rank, 0))
            job.log += skypilots_log(chunk, prefix)
        return await node.wait()

    def bucket(self, url: str) -> Path:
        """The content of a bucket."""
        return self.folder / "buckets" / url.replace("://", "-")

    async def close(self, runs: Sequence[asyncio.Task[None]]) -> None:
        """Kill all processes, including those that are being started, until none is left."""
        self.closed = True
        left = set(runs)
        while left:
            for job_id in self.processes:
                self.stop(job_id, signal.SIGKILL)
            _, left = await asyncio.wait(left, timeout=0.2)
        await asyncio.gather(*runs, return_exceptions=True)

    def stop(self, job_id: int, number: int) -> None:
        """Send a signal to all nodes of a job, as a teardown or a crash does."""
        for node in self.processes.get(job_id, ()):
            if node.returncode is None:
                if number == signal.SIGKILL:
                    crash(node.pid)
                else:
                    _signal(node.pid, number)


def _signal(leader: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it is just gone, and asyncio does not know yet
        os.killpg(leader, number)


def crash(leader: int) -> None:
    """Kill all processes in a node's mount namespace, as after the loss of a machine.

    All are stopped before the first is killed: an agent must not report the death of its jobs.
    """

    def namespace(pid: object) -> str:
        try:
            return os.readlink(f"/proc/{pid}/ns/mnt")
        except OSError:
            return ""  # it has ended, or belongs to another user

    node = namespace(leader)
    if node and node != namespace("self"):
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in [int(name) for name in os.listdir("/proc") if name.isdigit()]:
                if namespace(pid) == node:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
    _signal(leader, signal.SIGKILL)


def task_of(job: ManagedJob) -> dict[str, Any]:
    """The task that was launched."""
    return job.task
