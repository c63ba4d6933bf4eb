"""Every script of examples/sbatch/ runs on the local engine with the results in expectations.toml."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from local_engine import REPOSITORY, LocalEngine
from polling import PATIENCE_S

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# All scripts run side by side at one controller: one worker.
pytestmark = pytest.mark.xdist_group("examples")

EXAMPLES = REPOSITORY / "examples" / "sbatch"
NOT_SCRIPTS = {"env.sh", "README.md"}  # sourced by others; about them
OVER = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE")


@dataclass(frozen=True)
class Expectation:
    """A row of expectations.toml; see its head."""

    file: str
    run: str = ""
    needs: str = ""
    jobs: int = 1
    state: str = "COMPLETED"
    exit: str = "0:0"
    others: dict[str, list[str]] = field(default_factory=dict)
    output: dict[str, list[str]] = field(default_factory=dict)
    drive: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Ended:
    """A row of sacct."""

    job: str
    name: str
    state: str
    exit: str

    @property
    def number(self) -> int:
        found = re.match(r"\d+", self.job)
        assert found, self.job
        return int(found[0])

    @property
    def index(self) -> str:
        return self.job.partition("_")[2]


def _expectations() -> list[Expectation]:
    rows = tomllib.loads(Path(__file__).with_name("expectations.toml").read_text())
    return [Expectation(file=name, **row) for name, row in rows.items()]


EXPECTATIONS = _expectations()


def _needs(row: Expectation) -> list[Any]:
    missing = row.needs and not shutil.which(row.needs)
    return [pytest.mark.skip(reason=f"{row.needs} is not installed here")] if missing else []


@dataclass
class Running:
    """A started script: its folder, and its command line's output."""

    folder: Path
    started: subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def running(engine: LocalEngine) -> dict[str, Running]:
    """All scripts, running side by side, each in its own copy of the folder."""
    support = EXAMPLES / "support"
    env = {"PATH": f"{support}:{engine.env['PATH']}", "BASH_ENV": str(support / "modules.sh")}
    found = {}
    for row in EXPECTATIONS:
        if _needs(row):
            continue
        folder = engine.root / row.file
        shutil.copytree(EXAMPLES, folder)
        found[row.file] = Running(folder, engine.run(row.run or f"sbatch {row.file}", cwd=folder, env=env))
    return found


def _jobs(engine: LocalEngine, folder: Path) -> list[Ended]:
    """The jobs that were submitted from a folder, by id."""
    fields = "jobid%40,jobname%40,state%40,exitcode,workdir%200"
    listed = engine.run(["sacct", "-X", "-n", "-P", "-S", "now-1hour", "-o", fields]).stdout
    rows = [line.split("|") for line in listed.splitlines()]
    mine = [Ended(job, name, state.split()[0], code) for job, name, state, code, where in rows if where == str(folder)]
    return sorted(mine, key=lambda row: row.number)


def _text(folder: Path, name: str) -> str:
    path = folder / name
    return path.read_text(errors="replace") if path.exists() else ""


def _wait(what: str, ready: Any) -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if ready():
            return
        time.sleep(0.2)
    pytest.fail(f"not in {PATIENCE_S} s: {what}")


@pytest.mark.parametrize("row", [pytest.param(row, id=row.file, marks=_needs(row)) for row in EXPECTATIONS])
def test_example(row: Expectation, engine: LocalEngine, running: dict[str, Running]) -> None:
    folder, started = running[row.file].folder, running[row.file].started
    assert started.returncode == 0, started
    submitted = re.findall(r"(?:Submitted batch job|submitted|->) (\d+)", started.stdout)
    assert submitted, started

    def named(text: str) -> str:
        return text.replace("%J", submitted[0]).replace("%K", submitted[-1] if len(submitted) < 3 else submitted[1])

    for step in row.drive:
        _wait(
            f"{step['after']!r} in {step['in']}",
            lambda step=step: re.search(step["after"], _text(folder, named(step["in"]))),
        )
        done = engine.run(f"J={submitted[0]}; {step['do']}", cwd=folder)
        assert done.returncode == 0, done

    def over() -> bool:
        jobs = _jobs(engine, folder)
        return len(jobs) >= row.jobs and all(job.state in OVER for job in jobs)

    _wait(f"{row.jobs} jobs over", over)
    jobs = _jobs(engine, folder)
    usual = [row.state, row.exit]
    wanted = {job.job: row.others.get(job.name, row.others.get(job.index, usual)) for job in jobs}
    reported = {path.name: _text(folder, path.name) for path in folder.glob("*.err")}
    assert {job.job: [job.state, job.exit] for job in jobs} == wanted, reported
    assert len(jobs) == row.jobs
    for name, patterns in row.output.items():
        text = _text(folder, named(name))
        for pattern in patterns:
            assert re.search(named(pattern), text), f"{named(name)}: {text!r}"


def test_every_example_is_expected() -> None:
    scripts = {path.name for path in EXAMPLES.iterdir() if path.is_file()} - NOT_SCRIPTS
    assert scripts == {row.file for row in EXPECTATIONS}


def test_every_example_is_in_the_readme() -> None:
    text = (EXAMPLES / "README.md").read_text()
    assert not [row.file for row in EXPECTATIONS if f"`{row.file}`" not in text]
