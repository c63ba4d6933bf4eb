"""Resource use of the controller: idle, and with a very large array.

    python bench/controller.py [--idle 10] [--check]

Limits of `--check`: 90 MB and no CPU time idle; `sbatch --array=0-99999` within 0.5 s and
150 MB afterwards; `squeue` of it within 2.5 bare interpreters.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from common import Sandbox, sandbox, seconds, side_by_side, table


def rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1000
    raise RuntimeError(f"process {pid} has no VmRSS")


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def idle_cpu(pid: int, span_s: float) -> float:
    """CPU seconds used during the given number of idle seconds."""
    before = cpu_s(pid)
    time.sleep(span_s)
    return cpu_s(pid) - before


def measure(box: Sandbox, span_s: float) -> list[tuple[str, float, float, str]]:
    """Measure rows of name, value, limit, unit."""
    pid = box.controller_pid()
    box.output("squeue")
    time.sleep(2)  # let the work after a start end
    rows = [
        ("idle memory", rss_mb(pid), 90.0, "MB"),
        # the kernel counts in hundredths of a second, so one of them is noise
        (f"CPU time in {span_s:.0f} s idle", idle_cpu(pid, span_s), 0.01, "s"),
    ]
    array = ["--hold", "--array=0-99999", "--output=/dev/null", "--wrap=true"]
    rows.append(("sbatch --array=0-99999", box.seconds("sbatch", *array), 0.5, "s"))
    bare = [os.path.realpath(sys.executable), "-I", "-S", "-c", "pass"]
    medians = side_by_side({"bare": lambda: seconds(bare), "squeue": lambda: box.seconds("squeue")}, 25)
    rows.append(("squeue of it, bare interpreters", medians["squeue"] / medians["bare"], 2.5, "x"))
    rows.append(("memory with it", rss_mb(pid), 150.0, "MB"))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idle", type=float, default=10)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    with sandbox() as box:
        rows = measure(box, options.idle)
    table(
        "the controller",
        [("", "is", "limit", ""), *((n, f"{v:.2f}", f"{limit:g}", unit) for n, v, limit, unit in rows)],
    )
    over = [name for name, value, limit, _ in rows if value > limit]
    return 1 if over and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
