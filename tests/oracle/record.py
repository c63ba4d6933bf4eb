"""Records golden/ from a real Slurm.

Run it by hand, as root, with a real Slurm first on PATH: see README.md.

Usage: record.py [GROUP | GROUP:CASE]...
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from case import HERE, Answer, Case, NeverHappened, Side
from groups import GROUPS
from normalise import Context, first_job_id, normalise

GOLDEN = HERE / "golden"
#: working directories that cases give with -D or scontrol update
ELSEWHERE = ("/tmp", "/proc/no/such", "/no/such/folder", "/no/such", "rel")


def queue(extra: str = "") -> list[tuple[int, str]]:
    rows = subprocess.run(["squeue", "-h", "-o", "%A %Z", *extra.split()], capture_output=True, text=True)
    found = (row.partition(" ") for row in rows.stdout.splitlines())
    return [(int(job), folder) for job, _, folder in found]


def wait_for_quiet() -> None:
    """Raise if other jobs share the nodes with a case."""
    end = time.monotonic() + 600
    while queue():
        if time.monotonic() > end:
            raise SystemExit(f"the nodes are not free: {queue()}")
        time.sleep(0.2)


def strangers(since: int, root: Path, case: Case) -> set[int]:
    """Jobs since `since` that do not belong to this recording."""
    moved = any(" -D " in line or "scontrol update" in line for line in case.lines())
    return {
        job
        for job, folder in queue("-t all")
        if job > since and not folder.startswith(str(root)) and not (folder in ELSEWHERE and moved)
    }


def record(side: Side, case: Case) -> list[dict[str, object]] | None:
    for _ in range(5):
        wait_for_quiet()
        last = max((job for job, _ in queue("-t all")), default=0)
        began = time.time()
        try:
            folder, answers = side.run(case)
        except NeverHappened as exc:
            print(f"  {case.name}: {exc}; again", file=sys.stderr)
            continue
        foreign = strangers(last, side.root, case)
        if foreign:
            print(f"  {case.name}: foreign jobs {sorted(foreign)}; again", file=sys.stderr)
            continue
        return plain(case, answers, Context(str(folder), began, case.minutes))
    return None


def plain(case: Case, answers: list[Answer], context: Context) -> list[dict[str, object]]:
    first = first_job_id([text for answer in answers for text in (answer.stdout, answer.stderr)])
    return [
        {
            "line": line,
            "stdout": normalise(answer.stdout, context, first).split("\n"),
            "stderr": normalise(answer.stderr, context, first).split("\n"),
            "code": answer.code,
        }
        for line, answer in zip(case.lines(), answers, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=list(GROUPS))
    parser.add_argument("--missing", action="store_true", help="only cases that are not recorded yet")
    options = parser.parse_args()
    if os.getuid() != 0:
        raise SystemExit("golden text is recorded as root")
    version = subprocess.run(["sinfo", "--version"], capture_output=True, text=True, check=True).stdout
    root = Path(tempfile.mkdtemp(prefix="so.", dir="/tmp"))
    # Another configuration than the default one: a Slurm of the recording's own beside one that is in use.
    side = Side(os.environ["PATH"], root, {name: os.environ[name] for name in ("SLURM_CONF",) if name in os.environ})
    failed: list[str] = []
    for item in options.what:
        group, _, only = item.partition(":")
        path = GOLDEN / f"{group}.json"
        golden = json.loads(path.read_text()) if path.exists() else {"cases": {}}
        golden["source"] = {"slurm": version.strip(), "date": str(date.today()),
                            "command": f"python tests/oracle/record.py {group}"}  # fmt: skip
        for case in GROUPS[group]:
            lines = [answer["line"] for answer in golden["cases"].get(case.name, ())]
            if only not in ("", case.name) or (options.missing and lines == case.lines()):
                continue
            began = time.monotonic()
            found = record(side, case)
            if found is None:
                failed.append(f"{group}:{case.name}")
                continue
            golden["cases"][case.name] = found
            print(f"{group}:{case.name} {time.monotonic() - began:.1f} s", flush=True)
            save(path, golden, [case.name for case in GROUPS[group]])
    if failed:
        raise SystemExit(f"not recorded: {' '.join(failed)}")


def save(path: Path, golden: dict[str, Any], order: list[str]) -> None:
    """Write the answers after each case, in order.

    A recording can then be interrupted and continued.
    """
    cases = {name: golden["cases"][name] for name in order if name in golden["cases"]}
    path.write_text(json.dumps({"source": golden["source"], "cases": cases}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
