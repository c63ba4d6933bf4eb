"""One engine, and one job of each kind that the queries refer to."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TESTS / "callers"))

from lines import JOBS  # noqa: E402
from local_engine import LocalEngine, local_engine  # noqa: E402

_WANTED = {"running": "R", "held": "PD", "waiting": "PD", "done": "CD", "failed": "F", "killed": "CA",
           "gpus": "R", "array": "CD", "het": "CD"}  # fmt: skip


@pytest.fixture(scope="session")
def engine() -> Iterator[LocalEngine]:
    with local_engine(TESTS / "oracle" / "site.toml") as started:
        yield started


@pytest.fixture(scope="session")
def ids(engine: LocalEngine) -> dict[str, str]:
    """Words for {name}: the ids of the jobs, each in its state, and the caller."""
    found = {"user": engine.run(["id", "-un"]).stdout.strip()}
    for name, line in JOBS.items():
        done = engine.run(line.format(**found))
        number = re.search(r"Submitted batch job (\d+)", done.stdout)
        assert number, done
        found[name] = number[1]
    engine.run(["scancel", found["killed"]])
    end = time.monotonic() + 60
    for name, state in _WANTED.items():
        while True:
            shown = set(engine.run(["squeue", "-ho%t", "-tall", "-j", found[name]]).stdout.split())
            if shown == {state}:
                break
            assert time.monotonic() < end, f"{name} is {shown}, not {state}"
            time.sleep(0.2)
    return found
