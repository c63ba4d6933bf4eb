"""Duration of each query with thousands of jobs in the store, relative to a bare interpreter.

    python bench/queries.py [--rounds 7] [--known 10000] [--check] [--real]

A query may take three times as long as a bare interpreter, plus 20 ms for each thousand printed rows; `squeue --json`
of ten thousand jobs must take less than a second. The jobs are held; the accounting queries then run again over as many
ended jobs with two steps each. `--check` fails when a query exceeds its limit. `--real` submits as many held jobs to
the real Slurm of this machine, if it answers, and times its commands beside ours.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common import Sandbox, real, sandbox, seconds, side_by_side, table

TIMES_BARE = 3.0
PER_ROW_S = 20e-6
JSON_S = 1.0
BARE = "python3 -I -S -c pass"


@dataclass(frozen=True)
class Query:
    """A command line, in which `{job}` is a job id. `--json` queries print records and have another time limit."""

    line: str
    limit_s: float | None = None


QUERIES = (
    Query("squeue"),
    Query("squeue -h -o %i -j {job}"),
    Query("squeue -l --sort=-i"),
    Query("squeue -r -O jobarrayid,name,state,reason,timeleft,tres-alloc"),
    Query("squeue --start"),
    Query("squeue -t all -u root"),
    Query("squeue -t R"),
    Query("squeue -n nosuch"),
    Query("squeue -u nobody"),
    Query("squeue -p nosuch"),
    Query("squeue --json", JSON_S),
    Query("squeue --json -j {job}"),
    Query("sinfo"),
    Query("sinfo -N -l"),
    Query("sinfo --json"),
    Query("sacct -X -n -P"),
    Query("sacct -X -l"),
    Query("sacct -j {job}"),
    Query("sacct -X --json", JSON_S),
    Query("scontrol show job {job}"),
    Query("scontrol -o show job"),
    Query("scontrol --json show job", JSON_S),
    Query("scontrol show node"),
    Query("scontrol show partition"),
    Query("sshare"),
    Query("sdiag"),
    Query("sreport cluster utilization"),
    Query("sreport job sizesbyaccount"),
    Query("sreport user topusage"),
)
#: queries over ended jobs
PAST = (
    Query("sacct -X"),
    Query("sacct -X -n -P -o jobid,jobname,state,elapsed,totalcpu"),
    Query("sacct -X -l"),
    Query("sacct"),
    Query("sacct -l"),
    Query("sacct -l -P"),
    Query("sacct -X -P -o ALL"),
    Query("sacct -o jobid,avecpu,tresusageintot%80"),
    Query("sacct -s R -S now-1hour -E now"),
    Query("sacct -s F -S now-1hour -E now"),
    Query("sacct -N nosuch"),
    Query("sacct -T -X -S now-1hour"),
    Query("sacct --json", JSON_S),
    Query("sacct -j {job}"),
    Query("sreport user topusage start=today end=now"),
    Query("sreport cluster utilization start=today end=now"),
    Query("sreport job sizesbyaccount start=today end=now"),
    Query("seff {job}"),
)


def limit(query: Query, rows: int, bare: float) -> float:
    """Maximum duration of the query in seconds."""
    return query.limit_s if query.limit_s is not None else TIMES_BARE * bare + PER_ROW_S * rows


#: converts our command line and a job id to those of the real Slurm
Theirs = tuple[Callable[[str], list[str]], str]


def theirs(known: int) -> Theirs | None:
    """Command lines for the real Slurm with that many held jobs, and the id of one job."""
    squeue = real("squeue")
    if squeue is None:
        return None
    place = os.path.dirname(squeue)
    with tempfile.TemporaryDirectory() as folder:
        line = [f"{place}/sbatch", "--parsable", "--hold", "-o/dev/null", "-Jslurmsky-bench", "--wrap=true"]
        for _ in range(known):
            job = subprocess.run(line, capture_output=True, text=True, check=True, cwd=folder).stdout.strip()
    return (lambda text: [f"{place}/{text.split()[0]}", *text.split()[1:]]), job


def measure(
    title: str, box: Sandbox, queries: Sequence[Query], options: argparse.Namespace, other: Theirs | None = None
) -> list[str]:
    """Run all queries and print their durations; return the queries beyond their limit."""
    bare = [os.path.realpath(sys.executable), "-I", "-S", "-c", "pass"]
    rows, over = [("", "rows", "ms", "limit", "real ms")], []
    for query in queries:
        words = query.line.format(job=options.known).split()
        printed = box.output(words[0], *words[1:]).count("\n")
        measures: dict[str, Callable[[], float]] = {
            BARE: lambda: seconds(bare),
            "ours": lambda words=words: box.seconds(*words),  # type: ignore[misc]
        }
        if other is not None and "json" not in query.line:
            command = other[0](query.line.format(job=other[1]))
            if Path(command[0]).exists():
                measures["real"] = lambda command=command: seconds(command)  # type: ignore[misc]
        medians = side_by_side(measures, options.rounds)
        most = limit(query, printed, medians[BARE])
        theirs_ms = f"{medians['real'] * 1000:.1f}" if "real" in medians else ""
        rows.append((query.line, str(printed), f"{medians['ours'] * 1000:.1f}", f"{most * 1000:.1f}", theirs_ms))
        if medians["ours"] > most:
            over.append(query.line)
    table(f"{title}, medians of {options.rounds}", rows)
    return over


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--known", type=int, default=10_000)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--real", action="store_true")
    options = parser.parse_args()
    over = []
    with sandbox(options.known) as box:
        other = theirs(options.known) if options.real else None
        try:
            over += measure(f"{options.known} held jobs", box, QUERIES, options, other)
        finally:
            if other is not None:
                subprocess.run([*other[0]("scancel"), "--name=slurmsky-bench"], capture_output=True)
    with sandbox(options.known, over=True) as box:
        over += measure(f"{options.known} jobs that are over", box, PAST, options)
    for name in over:
        print(f"over its limit: {name}", file=sys.stderr)
    return 1 if over and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
