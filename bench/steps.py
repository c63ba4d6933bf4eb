"""Steps side by side with the real Slurm, in allocations of the same shape (four nodes of eight CPUs, one CPU of each).

    python bench/steps.py [--rounds 7] [--megabytes 100] [--check]

`srun true` on one and on four nodes, 512 tasks on four nodes, and bytes through `srun cat`, beside 512 bare processes.
`--check` fails when `srun true` is slower than the real one, 512 tasks take more than half, or fewer than twice the
bytes per second come through.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from common import BIN, Sandbox, real, sandbox, seconds, side_by_side, table

SITE = """
engine = "local"
[[node]]
names = "n[1-4]"
cpus = 8
memory_mib = 4000
[[partition]]
name = "debug"
nodes = "ALL"
default = true
max_time = "INFINITE"
"""
STEPS = {
    "srun true, 1 node": ("-N1", "-n1", "true"),
    "srun true, 4 nodes": ("-N4", "-n4", "true"),
    "srun -N4 -n512 -O true": ("-N4", "-n512", "-O", "true"),
}
#: maximum duration of ours relative to the real Slurm
LIMITS = {"srun true, 1 node": 1.0, "srun true, 4 nodes": 1.0, "srun -N4 -n512 -O true": 0.5, "cat": 0.5}


class Allocation:
    """Context manager: an allocation of four nodes, in which sruns start steps."""

    def __init__(self, folder: str | Path, env: Mapping[str, str], variables: Mapping[str, str]) -> None:
        self.folder = str(folder)
        self.env = dict(env)
        done = subprocess.run(
            [f"{self.folder}/salloc", "--no-shell", "-N4", "-J", "slurmsky-bench"],
            env=self.env, stderr=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        self.job = next(line.split()[-1] for line in done.stderr.splitlines() if "Granted job allocation" in line)
        self.env.update({"SLURM_JOB_ID": self.job, **variables})

    def step(self, *args: str) -> float:
        """Wall time of one srun."""
        return seconds([f"{self.folder}/srun", *args], self.env)

    def cat(self, source: Path) -> float:
        """Seconds to send a file through `srun cat`."""
        began = time.perf_counter()
        with source.open("rb") as file:
            argv = [f"{self.folder}/srun", "-N1", "-n1", "cat"]
            done = subprocess.run(argv, env=self.env, stdin=file, stdout=subprocess.PIPE, check=True)
        took = time.perf_counter() - began
        if len(done.stdout) != source.stat().st_size:
            raise RuntimeError(f"{len(done.stdout)} bytes of {source} came through")
        return took

    def end(self) -> None:
        """Release the nodes."""
        subprocess.run([f"{self.folder}/scancel", self.job], env=self.env, check=True)


def bare(count: int) -> float:
    """Start that many processes one after the other, without Slurm."""
    began = time.perf_counter()
    for _ in range(count):
        os.waitpid(os.posix_spawn("/bin/true", ["true"], os.environ), 0)
    return time.perf_counter() - began


def sources(folder: Path, megabytes: int) -> dict[str, Path]:
    """Create a file of random bytes and a file of text lines."""
    found = {"binary": folder / "binary", "lines": folder / "lines"}
    found["binary"].write_bytes(os.urandom(1 << 20) * megabytes)
    line = b"a line of text as programs print it, with a number or two: 3.14159 2.71828\n"
    found["lines"].write_bytes(line * (megabytes * (1 << 20) // len(line)))
    return found


def allocations(box: Sandbox) -> dict[str, Allocation]:
    """Our allocation, and the real Slurm's if it answers."""
    found = {"slurmsky": Allocation(BIN, box.env, {"SLURMSKY_AGENT": str(box.home / "nodes" / "n1" / "agent.sock")})}
    theirs = real("srun")
    if theirs is not None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH"))}
        found["real"] = Allocation(os.path.dirname(theirs), clean, {})
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    with sandbox(site=SITE) as box:
        held = allocations(box)
        try:
            measures: dict[str, Callable[[], float]] = {"512 bare processes": lambda: bare(512)}
            for side, allocation in held.items():
                for name, args in STEPS.items():
                    measures[f"{side}: {name}"] = lambda at=allocation, args=args: at.step(*args)  # type: ignore[misc]
            times = side_by_side(measures, options.rounds)
            files = sources(box.folder, options.megabytes)
            flows: dict[str, Callable[[], float]] = {}
            for side, allocation in held.items():
                for name, path in files.items():
                    flows[f"{side}: {name}"] = lambda at=allocation, path=path: at.cat(path)  # type: ignore[misc]
            rates = side_by_side(flows, 3)
        finally:
            for allocation in held.values():
                allocation.end()
    rows = [(name, f"{value * 1000:.0f}") for name, value in times.items()]
    table(f"Steps in an allocation of four nodes, medians of {options.rounds}", [("", "ms"), *rows])
    speeds = [(name, f"{options.megabytes * 1.048576 / value:.0f}") for name, value in rates.items()]
    table(f"{options.megabytes} MiB through srun cat", [("", "MB/s"), *speeds])
    if "real" not in held:
        return 0
    compared = {name: (times[f"slurmsky: {name}"], times[f"real: {name}"], LIMITS[name]) for name in STEPS}
    compared |= {f"cat, {name}": (rates[f"slurmsky: {name}"], rates[f"real: {name}"], LIMITS["cat"]) for name in files}
    over = [name for name, (ours, theirs, limit) in compared.items() if ours > limit * theirs]
    for name in over:
        print(f"over its limit: {name}", file=sys.stderr)
    return 1 if over and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
