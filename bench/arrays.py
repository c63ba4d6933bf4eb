"""Tasks per second of a job array of `true`: slurmsky, HyperQueue, the real Slurm, a bare loop.

    python bench/arrays.py [--tasks 1000] [--rounds 3] [--check]

HyperQueue is its PyPI package, installed on first use into ~/.cache/slurmsky-bench. `--check` fails
when ours is slower than HyperQueue, or less than ten times as fast as the real Slurm.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from common import Sandbox, real, sandbox, side_by_side, table

HQ_VENV = Path.home() / ".cache" / "slurmsky-bench" / "hyperqueue"
POLL_S = 0.02


def ours(box: Sandbox, tasks: int) -> float:
    """Seconds from submit until `sbatch --wait` returns. It waits for a message, as the client of HyperQueue does."""
    started = time.perf_counter()
    job = box.submit("--wait", f"--array=1-{tasks}")
    took = time.perf_counter() - started
    states = box.ask("sacct", "--noheader", "--parsable2", "--allocations", "--format=state", "--jobs", job)
    done = states.split().count("COMPLETED")
    if done != tasks:
        raise RuntimeError(f"{done} of {tasks} elements completed: {set(states.split())}")
    return took


def slurm(sbatch: str, tasks: int) -> float:
    squeue = f"{os.path.dirname(sbatch)}/squeue"
    started = time.perf_counter()
    line = [sbatch, "--parsable", "--output=/dev/null", f"--array=1-{tasks}", "--wrap=true"]
    job = subprocess.run(line, capture_output=True, text=True, check=True, cwd="/tmp").stdout.strip()
    while subprocess.run([squeue, "--noheader", "--job", job], capture_output=True, text=True).stdout:
        time.sleep(POLL_S)
    return time.perf_counter() - started


def bare_loop(tasks: int) -> float:
    """A shell that runs `bash -c true` repeatedly."""
    started = time.perf_counter()
    loop = f"i=0; while [ $i -lt {tasks} ]; do bash -c true; i=$((i+1)); done"
    subprocess.run(["sh", "-c", loop], check=True)
    return time.perf_counter() - started


@contextmanager
def hyperqueue() -> Iterator[Callable[[int], float] | None]:
    """Context manager: a HyperQueue server with one worker; None when its package cannot be installed."""
    python = HQ_VENV / "bin" / "python"
    if not (HQ_VENV / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", str(HQ_VENV)], check=True)
        if subprocess.run([python, "-m", "pip", "install", "--quiet", "hyperqueue"]).returncode:
            print("HyperQueue cannot be installed here", file=sys.stderr)
            yield None
            return
        (HQ_VENV / "complete").touch()
    driver = Path(__file__).with_name("hyperqueue_driver.py")
    with subprocess.Popen(
        [python, driver], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        orders, answers = process.stdin, process.stdout

        def run(tasks: int) -> float:
            orders.write(f"{tasks}\n")
            orders.flush()
            while line := answers.readline():
                try:
                    return float(line)
                except ValueError:
                    continue  # a line of its progress bar
            raise RuntimeError("HyperQueue has died")

        yield run
        orders.close()


def hq_version() -> str:
    code = "from importlib.metadata import version; print(version('hyperqueue'))"
    return subprocess.run([HQ_VENV / "bin" / "python", "-c", code], capture_output=True, text=True).stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    tasks = options.tasks
    with sandbox() as box, hyperqueue() as hq:
        measures: dict[str, Callable[[], float]] = {"slurmsky": lambda: ours(box, tasks)}
        if hq is not None:
            submit = hq
            measures[f"HyperQueue {hq_version()}"] = lambda: submit(tasks)
        measures["loop of bash -c true"] = lambda: bare_loop(tasks)
        rates = {name: tasks / took for name, took in side_by_side(measures, options.rounds).items()}
    sbatch = real("sbatch")
    if sbatch:
        rates["real Slurm"] = tasks / slurm(sbatch, tasks)  # one round, because it takes half a minute
    own = rates["slurmsky"]
    rows = [("", "tasks/s", "ours is")]
    rows += [(name, f"{rate:.0f}", f"{own / rate:.2f} x") for name, rate in rates.items()]
    table(f"an array of {tasks} true, medians of {options.rounds} (real Slurm once)", rows)
    need = {name: 10.0 if name == "real Slurm" else 1.0 for name in rates if name.startswith(("real", "Hyper"))}
    short = [name for name, factor in need.items() if own < factor * rates[name]]
    for name in short:
        print(f"less than {need[name]:.0f} times {name}", file=sys.stderr)
    return 1 if short and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
