"""Jobs on kept nodes of the real SkyPilot of tests/rig, beside the local engine.

    python bench/kept_nodes.py [--bare] [--cold-only] [--rounds 5] [--nodes 4] [--cpus 8] [--folder-mib 1024] ...

Powers up NODES with one order (timed, as the first job on cold nodes; with `--bare` beside `sky launch` of the same
shape), then measures with all nodes up: time from submit to the script's first line here, beside the local engine; srun
and salloc on two nodes; an array of `sleep 1` and one of `true`; a second job from an unchanged folder; requests to the
API server while the nodes are idle, counted by a proxy. `--check` fails when a goal of the table is missed. Uses a
private SLURMSKY_HOME, and powers the nodes down at the end.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

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
Row = tuple[str, float, float | None]  # name, seconds (or a count), goal


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

    def array(self, count: int, command: str) -> float:
        """Seconds from submit until the last element has ended."""
        start = time.perf_counter()
        self.output("sbatch", "-Q", "-W", "-o", "/dev/null", "-a", f"1-{count}", "--wrap", command)
        return time.perf_counter() - start

    def release(self) -> None:
        """Power all nodes down, and wait until SkyPilot has released them."""
        names = self.output("sinfo", "-h", "-o", "%N").strip()
        self.output("scontrol", "update", f"NodeName={names}", "State=POWER_DOWN_FORCE")
        while set(self.output("sinfo", "-h", "-o", "%t").split()) != {"idle~"}:
            time.sleep(1)


def measure(kept: Cluster, local: Cluster, gate: Gate, args: argparse.Namespace) -> list[Row]:
    """Measure all rows, with the nodes up."""
    rows: list[Row] = []
    first = side_by_side({"kept": kept.first_line, "local": local.first_line}, args.rounds)
    rows.append(("sbatch to the first line, s", first["kept"], 0.5))
    rows.append(("... of the local engine, s", first["local"], None))
    rows.append(("... times the local engine", first["kept"] / first["local"], 5.0))
    both: dict[str, Callable[[], float]] = {
        "srun": lambda: kept.seconds("srun", "-N2", "hostname"),
        "salloc": lambda: kept.seconds("salloc", "-N2", "srun", "hostname"),
    }
    steps = side_by_side(both, args.rounds)
    rows.append(("srun -N2 hostname, s", steps["srun"], 1.0))
    rows.append(("salloc -N2 srun hostname, s", steps["salloc"], 1.0))
    rows.append((f"array of 100 sleep 1 on {args.nodes} nodes, s", kept.array(100, "sleep 1"), 8.0))
    rows.append(("array of 1000 true, tasks/s", 1000 / kept.array(1000, "true"), -100.0))
    rows.append(("... of the local engine", 1000 / local.array(1000, "true"), None))
    if args.folder_mib:
        with (kept.folder / "large").open("wb") as file:
            for _ in range(args.folder_mib):
                file.write(os.urandom(1 << 20))
        kept.first_line()
        rows.append((f"second job from a folder of {args.folder_mib} MiB, s", kept.first_line(), 1.0))
        (kept.folder / "large").unlink()
    before, start = gate.requests, time.monotonic()
    time.sleep(args.idle_s)
    minutes = (time.monotonic() - start) / 60
    rows.append(("requests a minute while idle", (gate.requests - before) / minutes, 2.0))
    return rows


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


def main() -> int:
    """Print the table; return 1 if --check finds a missed goal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--cpus", type=int, default=8)
    parser.add_argument("--folder-mib", type=int, default=1024)
    parser.add_argument("--idle-s", type=float, default=60)
    parser.add_argument("--bare", action="store_true", help="measure sky launch beside the first job")
    parser.add_argument("--cold-only", action="store_true")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    gate = Gate()
    gate.start()
    root = Path(tempfile.mkdtemp(prefix="kept."))
    site = SITE.format(infra=INFRA, nodes=args.nodes, cpus=args.cpus)
    kept = Cluster(root / "kept", site, SKYPILOT_API_SERVER_ENDPOINT=gate.endpoint)
    kept.env.pop("SLURMSKY_ENGINE")
    local = Cluster(root / "local", LOCAL.format(nodes=args.nodes, cpus=args.cpus))
    try:
        cold = kept.seconds("srun", f"-N{args.nodes}", "true")
        rows: list[Row] = [(f"first job on {args.nodes} cold nodes, s", cold, None)]
        if args.bare:
            kept.release()  # the take-down must not slow the other launch
            bare = bare_launch(args.nodes, args.cpus)
            rows += [("... sky launch of the same shape, s", bare, None), ("... times sky launch", cold / bare, 1.1)]
        if not args.cold_only:
            rows += measure(kept, local, gate, args)
    finally:
        kept.release()
        for cluster in (kept, local):
            subprocess.run([BIN / "slurmsky", "stop"], env=cluster.env, check=False)
    missed = 0
    print(f"load {os.getloadavg()[0]:.1f}")
    for what, value, goal in rows:
        good = goal is None or (value <= goal if goal >= 0 else value >= -goal)
        missed += not good
        text = "" if goal is None else f"{'at most' if goal >= 0 else 'at least'} {abs(goal):g}"
        print(f"{what:45} {value:9.3f}  {text:14} {'' if good else 'MISSED'}")
    return 1 if args.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
