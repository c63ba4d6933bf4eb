"""Files of jobs in the state folder are removed once no command can need them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from polling import wait_for

from .conftest import Engine
from .test_agent_killed import state, submit

Run = Callable[..., Any]


@pytest.fixture
def limits(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", ""))


def test_the_environment_is_removed_at_the_end_and_restored_for_a_requeue(
    engine: Engine, run: Run, tmp_path: Path
) -> None:
    job = submit(run, "-oout", "--wait", "--export=ALL,SECRET=x", "--wrap", "echo $SECRET $SLURM_RESTART_COUNT")
    folder = engine.home / "jobs" / job
    wait_for(lambda: not (folder / "environment").exists())
    assert (folder / "script").exists()
    assert run("scontrol", "requeue", job)[:2] == (0, "")
    wait_for(lambda: state(run, job) == "COMPLETED" and (tmp_path / "work" / "out").read_text() == "x 1\n")
    wait_for(lambda: not (folder / "environment").exists())
    engine.kill_controller()
    code, _, err = run("scontrol", "requeue", job)
    assert code == 1 and "Requested operation is presently disabled" in err
    assert engine.faults() == []


def test_an_array_keeps_its_environment_until_its_last_element(engine: Engine, run: Run, tmp_path: Path) -> None:
    go = tmp_path / "go"
    wrap = f"[ $SLURM_ARRAY_TASK_ID = 1 ] || until [ -e {go} ]; do sleep 0.1; done"
    job = submit(run, "-a1-3%2", "-o/dev/null", "--wrap", wrap)
    wait_for(lambda: state(run, f"{job}_1") == "COMPLETED")
    submit(run, "--wait", "--wrap", "sleep 1")
    assert (engine.home / "jobs" / job / "environment").exists()
    go.touch()
    wait_for(lambda: not (engine.home / "jobs" / job / "environment").exists())


@pytest.mark.parametrize("limits", ["min_job_age_s = 1\njob_files_days = 0"], indirect=True)
def test_the_folder_is_removed_and_sacct_still_shows_the_job(engine: Engine, run: Run) -> None:
    running = submit(run, "-o/dev/null", "--wrap", "sleep 1000")
    job = submit(run, "-o/dev/null", "--wait", "--wrap", "true")
    wait_for(lambda: run("squeue", "-h") and not (engine.home / "jobs" / job).exists())
    assert run("sacct", "-nXPj", job, "-oJobID,State")[1] == f"{job}|COMPLETED\n"
    assert (engine.home / "jobs" / running / "environment").exists()
    assert engine.faults() == []
