"""Jobs on warm nodes of the real SkyPilot of tests/rig, beside the local engine.

    nice -n -10 python bench/warm_nodes.py [--pairs 3] [--cold-only] [--rounds 5] [--nodes 4] [--cpus 8] ...

Powers up NODES with one order (timed, as the first job on cold nodes; with `--pairs` in turn with `sky launch` of the
same shape), then measures with all nodes up: time from submit to the script's first line here, beside the local engine;
srun and salloc on two nodes; an array of `sleep 1` and one of `true`; a second job from an unchanged folder; requests
to the API server while the nodes are idle, counted by a proxy (`--idle-nodes 8`: of eight smaller ones). Each row has
the load of the machine and the CPU seconds of our controller and agents (and of commands and jobs that they started)
meanwhile. `--check` fails when a goal of the table is missed. Uses a private SLURMSKY_HOME in a folder that the nodes
do not share (`--folder`), and powers the nodes down at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
from common import BIN, Sandbox, side_by_side
from skypilot import INFRA, SKY, Gate

SITE = """[[partition]]
name = "kept"
default = true
infra = ["{infra}"]
nodes = "k[1-{nodes}]"
shape = {{ cpus = {cpus}, memory = 3 }}
suspend_time = "INFINITE"
resume_timeout = "30:00"
[[partition]]
name = "small"
infra = ["{infra}"]
nodes = "s[1-{idle_nodes}]"
shape = {{ cpus = {half}, memory = 1 }}
suspend_time = "INFINITE"
resume_timeout = "30:00"
"""
LOCAL = """[[node]]
names = "k[1-{nodes}]"
cpus = {cpus}
memory_mib = 3072
[[partition]]
name = "kept"
default = true
"""
FIRST = "#!/bin/bash\ndate +%s.%N\n"
PRIVATE = Path(os.environ.get("RIG_PRIVATE") or "/srv/slurmsky")


class Table:
    """Prints rows as they are measured, and counts missed goals."""

    def __init__(self, homes: Sequence[Path]) -> None:
        self.missed = 0
        self._homes = homes
        self._cpu_s = cpu_seconds(homes)

    def row(self, what: str, value: float, goal: float | None = None) -> None:
        """Print a row. ``goal``: the maximum, or the minimum if negative."""
        good = goal is None or (value <= goal if goal >= 0 else value >= -goal)
        self.missed += not good
        text = "" if goal is None else f"{'at most' if goal >= 0 else 'at least'} {abs(goal):g}"
        earlier, self._cpu_s = self._cpu_s, cpu_seconds(self._homes)
        cpu_s = max(0.0, self._cpu_s - earlier)  # agents that were powered down meanwhile are no longer counted
        context = f"load {os.getloadavg()[0]:5.1f}  CPU {cpu_s:6.1f} s  {'' if good else 'MISSED'}".rstrip()
        print(f"{what:45} {value:9.3f}  {text:14} {context}", flush=True)


def cpu_seconds(homes: Sequence[Path]) -> float:
    """CPU seconds so far of the controllers with these state folders, of their agents, and of what these ran."""
    total, mine = 0.0, [str(home) for home in homes]
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            warm = "slurmsky.agent" in words and "--warm" in words
            if warm or (words[-1:] == ["slurmsky"] and process.environ().get("SLURMSKY_HOME") in mine):
                total += sum(process.cpu_times()[:4])
    return total


class Cluster(Sandbox):
    """Our commands in a private folder with a site file."""

    def __init__(self, folder: Path, site: str, **more: str) -> None:
        folder.mkdir()
        super().__init__(folder)
        (folder / "site.toml").write_text(site)
        (folder / "first.sh").write_text(FIRST)
        self.env["PATH"] = f"{BIN}:{self.env['PATH']}"
        self.env |= {"SLURMSKY_SITE": str(folder / "site.toml"), "SLURMSKY_PYTHON": sys.executable, **more}

    def first_line(self) -> float:
        """Seconds from submit until the script's first line can be read here."""
        out = self.folder / "first.out"
        out.unlink(missing_ok=True)
        start = time.time()
        self.output("sbatch", "-Q", "-o", str(out), "first.sh")
        while not (out.exists() and out.read_text().endswith("\n")):
            time.sleep(0.002)
        return time.time() - start

    def array(self, count: int, command: str, output: str = "/dev/null") -> float:
        """Seconds from submit until the last element has ended."""
        start = time.perf_counter()
        self.output("sbatch", "-Q", "-W", "-o", output, "-a", f"1-{count}", "--wrap", command)
        return time.perf_counter() - start

    def shares_folder(self) -> bool:
        """True if a node has this folder itself, not a copy."""
        return int(self.output("srun", "stat", "-c", "%i", ".")) == self.folder.stat().st_ino

    def release(self) -> None:
        """Power all nodes down, and wait until SkyPilot has released them."""
        names = ",".join(self.output("sinfo", "-h", "-o", "%N").split())
        self.output("scontrol", "update", f"NodeName={names}", "State=POWER_DOWN_FORCE")
        while not all(state.endswith("~") for state in self.output("sinfo", "-h", "-o", "%t").split()):
            time.sleep(1)


def measure(kept: Cluster, local: Cluster, table: Table, args: argparse.Namespace) -> None:
    """Measure all rows, with the nodes up."""
    table.row("nodes that share the submit folder", args.nodes * kept.shares_folder())
    first = side_by_side({"kept": kept.first_line, "local": local.first_line}, args.rounds)
    table.row("sbatch to the first line, s", first["kept"], 0.5)
    table.row("... of the local engine, s", first["local"])
    table.row("... times the local engine", first["kept"] / first["local"], 5.0)
    both: dict[str, Callable[[], float]] = {
        "srun": lambda: kept.seconds("srun", "-N2", "hostname"),
        "salloc": lambda: kept.seconds("salloc", "-N2", "srun", "hostname"),
    }
    steps = side_by_side(both, args.rounds)
    table.row("srun -N2 hostname, s", steps["srun"], 1.0)
    table.row("salloc -N2 srun hostname, s", steps["salloc"], 1.0)
    table.row(f"array of 100 sleep 1 on {args.nodes} nodes, s", kept.array(100, "sleep 1"), 8.0)
    table.row("array of 1000 true, tasks/s", 1000 / kept.array(1000, "true"), -100.0)
    table.row("... of the local engine", 1000 / local.array(1000, "true"))
    table.row("... with output files in the submit folder", 1000 / kept.array(1000, "echo 1", "%a.out"), -100.0)
    if args.folder_mib:
        with (kept.folder / "large").open("wb") as file:
            for _ in range(args.folder_mib):
                file.write(os.urandom(1 << 20))
        table.row(f"first job from a folder of {args.folder_mib} MiB, s", kept.first_line())
        table.row("second job from that folder, s", kept.first_line(), 1.0)
        (kept.folder / "large").unlink()


def idle_requests(kept: Cluster, gate: Gate, table: Table, args: argparse.Namespace) -> None:
    """Requests to the API server while nodes are up and idle."""
    count = args.idle_nodes or args.nodes
    for first in range(1, args.idle_nodes + 1, args.nodes):  # a launch has at most as many nodes as there are machines
        last = min(first + args.nodes - 1, args.idle_nodes)
        kept.output("srun", "-p", "small", "-w", f"s[{first}-{last}]", "true")
    before, start = gate.requests, time.monotonic()
    time.sleep(args.idle_s)
    minutes = (time.monotonic() - start) / 60
    table.row(f"requests a minute while {count} nodes idle", (gate.requests - before) / minutes, 2.0)


def bare_launch(nodes: int, cpus: int) -> float:
    """Seconds of `sky launch` of a cluster of the same shape, until its job has ended."""
    name = f"bare-{os.getpid()}"
    shape = ["--infra", INFRA, "--cpus", str(cpus), "--memory", "3", "--num-nodes", str(nodes)]
    env = {**os.environ, "PATH": f"{Path(SKY).parent}:{os.environ['PATH']}"}
    start = time.perf_counter()
    try:
        subprocess.run([SKY, "launch", "-y", "-c", name, *shape, "true"], check=True, capture_output=True, env=env)
        return time.perf_counter() - start
    finally:
        subprocess.run([SKY, "down", "-y", name], check=False, capture_output=True, env=env)


def cold_starts(kept: Cluster, table: Table, args: argparse.Namespace) -> None:
    """Time the first job on nodes that are off, in turn with `sky launch`; the nodes are up afterwards."""
    cold, bare = [], []
    for pair in range(args.pairs + 1):  # the nodes of the last one stay up
        cold.append(kept.seconds("srun", f"-N{args.nodes}", "true"))
        table.row(f"first job on {args.nodes} cold nodes, s", cold[-1])
        if pair < args.pairs:
            kept.release()  # the take-down must not slow the other launch
            bare.append(bare_launch(args.nodes, args.cpus))
            table.row("... sky launch of the same shape, s", bare[-1])
    if bare:
        table.row("... times sky launch, medians", statistics.median(cold) / statistics.median(bare), 1.1)


def main() -> int:
    """Print the table; return 1 if --check finds a missed goal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--cpus", type=int, default=8)
    parser.add_argument("--folder-mib", type=int, default=1024)
    parser.add_argument("--idle-s", type=float, default=60)
    parser.add_argument("--pairs", type=int, default=0, help="time so many cold starts in turn with sky launch")
    parser.add_argument("--cold-only", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--idle-nodes", type=int, default=0, help="count requests with this number of smaller nodes")
    parser.add_argument("--folder", type=Path, default=PRIVATE if PRIVATE.is_dir() else None)
    args = parser.parse_args()
    gate = Gate()
    gate.start()
    root = Path(tempfile.mkdtemp(prefix="kept.", dir=args.folder))
    site = SITE.format(
        infra=INFRA, nodes=args.nodes, cpus=args.cpus, idle_nodes=args.idle_nodes or 1, half=args.cpus // 2
    )
    kept = Cluster(root / "kept", site, SKYPILOT_API_SERVER_ENDPOINT=gate.endpoint)
    kept.env.pop("SLURMSKY_ENGINE")
    local = Cluster(root / "local", LOCAL.format(nodes=args.nodes, cpus=args.cpus))
    table = Table([kept.home, local.home])
    try:
        cold_starts(kept, table, args)
        if not args.cold_only:
            measure(kept, local, table, args)
            if args.idle_nodes:
                kept.release()
            idle_requests(kept, gate, table, args)
    finally:
        kept.release()
        for cluster in (kept, local):
            subprocess.run([BIN / "slurmsky", "stop"], env=cluster.env, check=False)
        shutil.rmtree(root, ignore_errors=True)
    return 1 if args.check and table.missed else 0


if __name__ == "__main__":
    sys.exit(main())
