"""Duration of `slurmsky explain` for a folder of 200 scripts, run as a user runs it.

    python bench/explain.py [--rounds 3] [--scripts 200] [--check]

The scripts are those of examples/sbatch, each copy with other numbers. `--check` fails above five seconds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from common import ROOT, sandbox

LIMIT_S = 5.0


def write(folder: Path, count: int) -> int:
    """Write that many scripts and return their size in bytes."""
    examples = sorted(path for path in (ROOT / "examples" / "sbatch").iterdir() if path.is_file())
    texts = [text for path in examples if (text := path.read_text()).startswith("#!")]
    size = 0
    for number in range(count):
        text = texts[number % len(texts)].replace("python", f"python{number}")
        size += (folder / f"job{number:03}.sh").write_text(text)
    return size


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scripts", type=int, default=200)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, sandbox() as ours:
        folder = Path(scratch)
        size = write(folder, args.scripts)
        rows = []
        for engine in ("local", "sky"):
            words = ("explain", "--no-prices", f"--engine={engine}", str(folder))
            times = [ours.seconds("slurmsky", *words) for _ in range(args.rounds)]
            rows.append((engine, statistics.median(times)))
        for engine, took in rows:
            print(f"{args.scripts} scripts, {size} bytes, as on {engine}: {took:.2f} s")
    return int(args.check and any(took > LIMIT_S for _, took in rows))


if __name__ == "__main__":
    sys.exit(main())
