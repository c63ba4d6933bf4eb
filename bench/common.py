"""What the benchmarks share: a state folder of their own, timing side by side, tables."""

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

# the clone's, whatever else is installed
from slurmsky.controller.store import Store  # noqa: E402
from slurmsky.model.job import Job  # noqa: E402
from slurmsky.model.spec import JobSpec  # noqa: E402
from slurmsky.node import wire  # noqa: E402

BIN = ROOT / "bin"


def seconds(
    argv: Sequence[str | Path], env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> float:
    """How long a command takes from start to end. Raises CalledProcessError when it fails."""
    started = time.perf_counter()
    done = subprocess.run(
        argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    took = time.perf_counter() - started
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, list(map(str, argv)), stderr=done.stderr)
    return took


def side_by_side(measures: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The median of each, in seconds; all take turns, so that a busy moment hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in measures}
    for measure in measures.values():
        measure()  # warm caches, not counted
    for _ in range(rounds):
        for name, measure in measures.items():
            times[name].append(measure())
    return {name: statistics.median(values) for name, values in times.items()}


class Sandbox:
    """Our commands with a state folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "state"
        foreign = ("SLURM", "SBATCH_", "SRUN_", "SALLOC_", "SQUEUE_")
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        self.env["SLURMSKY_HOME"] = str(self.home)
        self.env["SLURMSKY_ENGINE"] = "local"  # also where SkyPilot is enabled
        self.env["XDG_CONFIG_HOME"] = str(folder / "config")

    def seconds(self, command: str, *args: str) -> float:
        """How long one call through bin/ takes."""
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
        """The same without a process: for thousands of preparing calls. Raises RuntimeError when it fails."""
        request = wire.Request(
            command, args, str(self.folder), 0o022, (False,) * 3, None, os.getpid(), self.env
        )
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
                    out.append(frame.payload)
        raise RuntimeError(f"{command} {args}: no answer")

    def submit(self, *args: str) -> str:
        """A job id."""
        return self.ask("sbatch", "--parsable", "--output=/dev/null", *args, "--wrap=true").strip()

    def controller_pid(self) -> int:
        mark = b"SLURMSKY_HOME=" + os.fsencode(self.home) + b"\0"
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                is_controller = Path(f"/proc/{entry}/cmdline").read_bytes().endswith(b"\0-m\0slurmsky\0")
                if is_controller and mark in Path(f"/proc/{entry}/environ").read_bytes():
                    return int(entry)
            except OSError:
                continue  # gone, or another user's
        raise RuntimeError("no controller runs")


def fill(home: Path, known: int) -> None:
    """Held jobs 1 to `known`, as sbatch leaves them in the store; the controller is not running yet."""
    home.mkdir(mode=0o700)
    user, now = pwd.getpwuid(os.geteuid()), time.time()
    group = grp.getgrgid(os.getegid()).gr_name
    spec = JobSpec(job_name="wrap", hold=True, output="/dev/null", requeue=True, wrap="true")
    jobs = (
        Job(
            number, spec, "wrap", user.pw_name, os.geteuid(), os.getegid(), group, user.pw_name, "debug",
            reason="JobHeldUser", submit_time=now, eligible_time=now, stdout="/dev/null", work_dir=str(home.parent),
            submit_dir=str(home.parent), submit_line="sbatch --hold --output=/dev/null --wrap=true",
            alloc_node=socket.gethostname(),
        )
        for number in range(1, known + 1)
    )  # fmt: skip
    store = Store(home / "queue.db")
    store.write(jobs, (), (), {"next_job_id": known + 1})
    store.close()


@contextmanager
def sandbox(known: int = 0, site: str = "") -> Iterator[Sandbox]:
    """A fresh state folder, with so many held jobs, and a running controller; all of it is gone afterwards.

    ``site``: the text of a site file.
    """
    folder = Path(tempfile.mkdtemp(prefix="slurmsky-bench-"))
    box = Sandbox(folder)
    if site:
        (folder / "site.toml").write_text(site)
        box.env["SLURMSKY_SITE"] = str(folder / "site.toml")
    if known:
        fill(box.home, known)
    try:
        box.output("squeue")
        yield box
    finally:
        subprocess.run([BIN / "scancel", "--user", str(os.getuid())], env=box.env, capture_output=True)
        subprocess.run([BIN / "slurmsky", "stop"], env=box.env, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def real(command: str) -> str | None:
    """The real Slurm's command, where one answers."""
    path = shutil.which(command, path="/usr/bin:/usr/local/bin:/opt/slurm/bin")
    if path is None:
        return None
    return (
        path
        if subprocess.run([f"{os.path.dirname(path)}/sinfo"], capture_output=True).returncode == 0
        else None
    )


def table(title: str, rows: Sequence[Sequence[str]]) -> None:
    """Print rows, the first one being the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    print(f"\n{title}")
    for row in rows:
        first, *others = (
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  " + "  ".join([first, *others]).rstrip())
    sys.stdout.flush()
