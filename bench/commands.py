"""Duration of everyday commands, as multiples of a bare interpreter measured in the same run.

    python bench/commands.py [--rounds 25] [--known 10000] [--check]

With 10 jobs and with thousands of known jobs (ten of them queued), beside the real Slurm's commands and
`sky jobs queue` where these are installed. `--check` fails when one of ours takes more than 2.5 times
the bare interpreter.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from common import Sandbox, real, sandbox, seconds, side_by_side, table

LIMIT = 2.5
BARE = "python3 -I -S -c pass"
QUEUED = 10


def ours(box: Sandbox) -> dict[str, Callable[[], float]]:
    job = box.submit("--hold")
    script = box.folder / "job.sh"
    script.write_text("#!/bin/sh\ntrue\n")

    def submit() -> float:
        # priority and hold do not change the cost of a submit; held jobs leave the machine idle
        return box.seconds("sbatch", "--hold", "--output=/dev/null", str(script))

    def cancel() -> float:
        return box.seconds("scancel", box.submit("--hold"))

    return {
        "squeue": lambda: box.seconds("squeue"),
        "sbatch job.sh": submit,
        "scancel ID": cancel,
        "scontrol show job ID": lambda: box.seconds("scontrol", "show", "job", job),
    }


def theirs(folder: Path) -> dict[str, Callable[[], float]]:
    """The same measures for the real Slurm, if it answers."""
    sbatch = real("sbatch")
    if sbatch is None:
        return {}
    script = folder / "job.sh"
    place = os.path.dirname(sbatch)

    def submitted() -> str:
        line = [sbatch, "--parsable", "--hold", "--output=/dev/null", str(script)]
        return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()

    job = submitted()

    def submit() -> float:
        return seconds([sbatch, "--hold", "--output=/dev/null", "--job-name=slurmsky-bench", str(script)])

    def cancel() -> float:
        return seconds([f"{place}/scancel", submitted()])

    return {
        "real squeue": lambda: seconds([f"{place}/squeue"]),
        "real sbatch": submit,
        "real scancel": cancel,
        "real scontrol show job": lambda: seconds([f"{place}/scontrol", "show", "job", job]),
    }


def show(title: str, medians: dict[str, float]) -> list[str]:
    """Print the table; return the names of our commands that exceed the limit."""
    bare = medians[BARE]
    rows = [("", "ms", "x bare")]
    rows += [(name, f"{value * 1000:.1f}", f"{value / bare:.2f}") for name, value in medians.items()]
    table(title, rows)
    own = [name for name in medians if name != BARE and not name.startswith(("real ", "sky "))]
    return [f"{title}: {name}" for name in own if medians[name] > LIMIT * bare]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--known", type=int, default=10_000)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    # the interpreter itself instead of a shim that searches for it
    bare = {BARE: lambda: seconds([os.path.realpath(sys.executable), "-I", "-S", "-c", "pass"])}
    over: list[str] = []
    with sandbox() as box:
        for _ in range(QUEUED):
            box.submit("--hold")
        medians = side_by_side(bare | ours(box) | theirs(box.folder), options.rounds)
        over += show(f"{QUEUED} jobs, medians of {options.rounds}", medians)
        subprocess.run(["/usr/bin/scancel", "--name=slurmsky-bench,job.sh"], capture_output=True)

        box.ask("scancel", "--state=PENDING")
        # all jobs wait for a job that holds the machine, so that the scheduler has to evaluate them
        box.ask("sbatch", "--exclusive", "--output=/dev/null", "--wrap=sleep 7200")
        for _ in range(options.known - QUEUED):
            box.submit()
        queued = side_by_side(bare | ours(box), options.rounds)
        box.ask("scancel", "--me")
        for _ in range(QUEUED):
            box.submit("--hold")
        medians = side_by_side(bare | ours(box), options.rounds)
        over += show(f"{options.known} known jobs of which {QUEUED} are queued", medians)
        # listing all jobs exceeds the limit by design: one line of 80 characters each
        listing = queued.pop("squeue")
        title = f"{options.known - QUEUED} queued jobs"
        over += show(title, queued)
        table(f"{title}, all of them listed", [("", "ms"), ("squeue", f"{listing * 1000:.1f}")])
    if sky := shutil.which("sky"):
        show("SkyPilot", side_by_side(bare | {"sky jobs queue": lambda: seconds([sky, "jobs", "queue"])}, 3))
    for name in over:
        print(f"over {LIMIT} times the bare interpreter: {name}", file=sys.stderr)
    return 1 if over and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
