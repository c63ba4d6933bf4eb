"""Sixty scripts of users run unchanged without a site file, with the files of a real Slurm."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_engine import LocalEngine, local_engine

sys.path.insert(0, str(Path(__file__).parent))
import people_runs

pytestmark = [pytest.mark.xdist_group("people"), pytest.mark.timeout(900)]
GOLDEN = json.loads(people_runs.GOLDEN.read_text())


@pytest.fixture(scope="module")
def open_engine() -> Iterator[LocalEngine]:
    with local_engine(Path(os.devnull), SLURMSKY_ENGINE="local") as started:
        yield started


@pytest.fixture(scope="module")
def outcomes(open_engine: LocalEngine) -> dict[str, people_runs.Outcome]:
    return people_runs.run_all(open_engine.env)


def test_every_script_was_recorded() -> None:
    assert sorted(GOLDEN) == people_runs.SCRIPTS
    assert not [name for name, outcome in GOLDEN.items() if outcome["submit"]]


@pytest.mark.parametrize("name", people_runs.SCRIPTS)
def test_scripts_run_as_recorded_from_slurm(outcomes: dict[str, people_runs.Outcome], name: str) -> None:
    assert outcomes[name] == GOLDEN[name]


@pytest.mark.parametrize("name", people_runs.SCRIPTS)
def test_explain_reports_the_script_as_unchanged(open_engine: LocalEngine, name: str) -> None:
    path = str(people_runs.PEOPLE / name)
    done = open_engine.run(["slurmsky", "explain", "--json", path], cwd=people_runs.PEOPLE)
    assert done.returncode == 0, done.stderr
    page = json.loads(done.stdout)
    assert page["unchanged"] is True, [one for one in page["findings"] if one["effect"] in ("decision", "refused")]
