"""Shared by the benchmarks: private state folder, interleaved timing, tables."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

# import from this clone, not from an installed package
from slurmsky.controller.store.database import Store  # noqa: E402
from slurmsky.model.allocation import NodeShare  # noqa: E402
from slurmsky.model.job import Job, Step, Usage  # noqa: E402
from slurmsky.model.spec import JobSpec  # noqa: E402
from slurmsky.model.states import JobState  # noqa: E402
from slurmsky.protocol import wire  # noqa: E402

BIN = ROOT / "bin"


def seconds(argv: Sequence[str | Path], env: Mapping[str, str] | None = None, cwd: Path | None = None) -> float:
    """Wall time of a command. Raises CalledProcessError when it fails."""
    started = time.perf_counter()
    done = subprocess.run(
        argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    took = time.perf_counter() - started
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, list(map(str, argv)), stderr=done.stderr)
    return took


def side_by_side(measures: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Median seconds of each measure. The measures alternate, so that load on the machine affects all equally."""
    times: dict[str, list[float]] = {name: [] for name in measures}
    for measure in measures.values():
        measure()  # warm caches; not counted
    for _ in range(rounds):
        for name, measure in measures.items():
            times[name].append(measure())
    return {name: statistics.median(values) for name, values in times.items()}


class Sandbox:
    """Our commands with a private state folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "state"
        foreign = ("SLURM", "SBATCH_", "SRUN_", "SALLOC_", "SQUEUE_")
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        self.env["SLURMSKY_HOME"] = str(self.home)
        self.env["SLURMSKY_ENGINE"] = "local"  # also where SkyPilot is enabled
        self.env["XDG_CONFIG_HOME"] = str(folder / "config")

    def seconds(self, command: str, *args: str) -> float:
        """Wall time of one call through bin/."""
        return seconds([BIN / command, *args], self.env, self.folder)

    def output(self, command: str, *args: str) -> str:
        """Standard output of one call through bin/."""
        return subprocess.run(
            [BIN / command, *args],
            env=self.env,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout

    def ask(self, command: str, *args: str) -> str:
        """Send a request without a client process, for thousands of preparing calls. Raises RuntimeError on failure."""
        request = wire.CommandRequest(command, args, str(self.folder), 0o022, (False,) * 3, None, os.getpid(), self.env)
        reader = wire.FrameReader()
        out: list[bytes] = []
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.home / "controller.sock"))
            sock.sendall(wire.encode(wire.REQUEST, request.to_payload()))
            while data := sock.recv(1 << 18):
                for frame in reader.feed(data):
                    if frame.kind == wire.EXIT:
                        if frame.payload != b"0":
                            raise RuntimeError(f"{command} {args}: {b''.join(out).decode()}")
                        return b"".join(out).decode()
                    if frame.kind in (wire.STDOUT, wire.STDERR):
                        out.append(frame.payload)
        raise RuntimeError(f"{command} {args}: no answer")

    def submit(self, *args: str) -> str:
        """Submit a job and return its id."""
        return self.ask("sbatch", "--parsable", "--output=/dev/null", *args, "--wrap=true").strip()

    def controller_pid(self) -> int:
        mark = b"SLURMSKY_HOME=" + os.fsencode(self.home) + b"\0"
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                is_controller = Path(f"/proc/{entry}/cmdline").read_bytes().endswith(b"\0-m\0slurmsky\0")
                if is_controller and mark in Path(f"/proc/{entry}/environ").read_bytes():
                    return int(entry)
            except OSError:
                continue  # the process has ended, or belongs to another user
        raise RuntimeError("no controller runs")


def fill_over(home: Path, known: int) -> None:
    """Store jobs 1 to `known`, each with a batch step and an srun step, which ended minutes ago."""
    home.mkdir(mode=0o700)
    user, end = pwd.getpwuid(os.geteuid()), time.time() - 900
    group, host = grp.getgrgid(os.getegid()).gr_name, socket.gethostname()
    jobs: list[Job] = []
    steps: list[tuple[Job, Step]] = []
    for number in range(1, known + 1):
        line, start = f"python train.py --seed {number}", end - 30 - number % 60
        submit = end - 700 + 600 * number / known  # ids increase with the submit time
        spec = JobSpec(job_name=f"sweep{number}", ntasks=1, mem_mib=100, time_limit_min=60, requeue=True, wrap=line)
        job = Job(
            number, spec, f"sweep{number}", user.pw_name, os.geteuid(), os.getegid(), group, user.pw_name, "debug",
            state=JobState.COMPLETED, priority=4294901760 - number, submit_time=submit, eligible_time=submit,
            start_time=start, end_time=end, time_limit_min=60, stdout=f"/tmp/{number}.out", work_dir="/tmp",
            submit_dir="/tmp", submit_line=f"sbatch --wrap={line}", alloc_node=host, batch_host=host,
            shares=[NodeShare(host, cpu_ids=(number % 2,), memory_mib=100, tasks=1, cpus_on_node=2)],
        )  # fmt: skip
        jobs.append(job)
        for step_id, name in (("batch", "batch"), ("0", "python")):
            size = 120_000_000 + number
            usage = Usage(
                user_s=20.5 + number % 7, system_s=0.5, tasks=1, ave_cpu_s=20.0, min_cpu_s=20.0, min_cpu_node=host,
                max_rss=size, ave_rss=size, max_rss_node=host, max_vmsize=2 * size, ave_vmsize=2 * size,
                max_vmsize_node=host, disk_read=size, max_disk_read=size, max_disk_read_node=host, disk_write=number,
                max_disk_write=number, max_disk_write_node=host,
            )  # fmt: skip
            steps.append((job, Step(number, step_id, name, JobState.COMPLETED, (host,), cpus=1, memory_mib=100,
                                    start_time=start, end_time=end, usage=usage)))  # fmt: skip
    store = Store(home / "queue.db")
    store.write(jobs, steps, (), {"next_job_id": known + 1})
    store.close()


def fill(home: Path, known: int) -> None:
    """Store held jobs 1 to `known` as sbatch submits them, before the controller runs."""
    home.mkdir(mode=0o700)
    user, now = pwd.getpwuid(os.geteuid()), time.time()
    group = grp.getgrgid(os.getegid()).gr_name
    jobs = []
    for number in range(1, known + 1):
        line, minutes, memory = f"python train.py --seed {number}", 60 + number % 5, 100 * (1 + number % 3)
        spec = JobSpec(job_name=f"sweep{number}", hold=True, output=f"{number}.out", requeue=True, wrap=line,
                       time_limit_min=minutes, mem_mib=memory)  # fmt: skip
        jobs.append(Job(
            number, spec, f"sweep{number}", user.pw_name, os.geteuid(), os.getegid(), group, user.pw_name, "debug",
            reason="JobHeldUser", submit_time=now, eligible_time=now, stdout=f"{home.parent}/{number}.out",
            work_dir=str(home.parent), submit_dir=str(home.parent), time_limit_min=minutes,
            submit_line=f"sbatch --hold --wrap={line}", alloc_node=socket.gethostname(),
        ))  # fmt: skip
    store = Store(home / "queue.db")
    store.write(jobs, (), (), {"next_job_id": known + 1})
    store.close()


@contextmanager
def sandbox(
    known: int = 0, site: str = "", over: bool = False, environment: Mapping[str, str] | None = None
) -> Iterator[Sandbox]:
    """Context manager: a new state folder with held jobs and a running controller, all removed afterwards.

    ``site``: text of a site file. ``over``: the jobs have ended instead of being held. ``environment``: variables of
    every
    command.
    """
    folder = Path(tempfile.mkdtemp(prefix="slurmsky-bench-"))
    box = Sandbox(folder)
    box.env.update(environment or {})
    if site:
        (folder / "site.toml").write_text(site)
        box.env["SLURMSKY_SITE"] = str(folder / "site.toml")
    if known:
        (fill_over if over else fill)(box.home, known)
    try:
        box.output("squeue")
        yield box
    finally:
        subprocess.run([BIN / "scancel", "--user", str(os.getuid())], env=box.env, capture_output=True)
        subprocess.run([BIN / "slurmsky", "stop"], env=box.env, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def real(command: str) -> str | None:
    """Path of the real Slurm's command, if a real Slurm answers."""
    path = shutil.which(command, path="/usr/bin:/usr/local/bin:/opt/slurm/bin")
    if path is None:
        return None
    return path if subprocess.run([f"{os.path.dirname(path)}/sinfo"], capture_output=True).returncode == 0 else None


def table(title: str, rows: Sequence[Sequence[str]]) -> None:
    """Print rows, of which the first is the header."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    print(f"\n{title}")
    for row in rows:
        first, *others = (
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  " + "  ".join([first, *others]).rstrip())
    sys.stdout.flush()
