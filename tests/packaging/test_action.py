"""Steps of the GitHub Action, as a runner runs them.

The scripts pass, fail, or are refused.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from local_engine import LocalEngine
from polling import PATIENCE_S

ROOT = Path(__file__).parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS = ACTION["runs"]["steps"]
_INPUT = re.compile(r"\$\{\{ inputs\.([\w-]+) \}\}")


class Runner:
    """Runs a composite action: a bash for each step, and files for outputs that later steps read."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        names = ("GITHUB_ENV", "GITHUB_PATH", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")
        self.files = {name: folder / name for name in names}
        for file in self.files.values():
            file.touch()
        self.env = {**env, "GITHUB_ACTION_PATH": str(ROOT), "RUNNER_TEMP": str(folder),
                    **{name: str(file) for name, file in self.files.items()}}  # fmt: skip

    def run(self, work: Path, **inputs: str) -> subprocess.CompletedProcess[str]:
        values = {name: inputs.get(name.replace("-", "_"), one["default"]) for name, one in ACTION["inputs"].items()}
        for step in STEPS:
            own = {name: _INPUT.sub(lambda found: values[found[1]], text) for name, text in step.get("env", {}).items()}
            bash = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
            done = subprocess.run(
                bash, cwd=work, env={**self.env, **own}, capture_output=True, text=True, timeout=PATIENCE_S
            )
            if done.returncode:
                break
            self.env |= dict(line.split("=", 1) for line in self.files["GITHUB_ENV"].read_text().splitlines())
            folders = reversed(self.files["GITHUB_PATH"].read_text().splitlines())
            self.env["PATH"] = ":".join(dict.fromkeys([*folders, *self.env["PATH"].split(":")]))
        return done


@pytest.fixture
def runner(engine: LocalEngine) -> Iterator[Runner]:
    with tempfile.TemporaryDirectory(prefix="runner.", dir="/tmp") as folder:  # short: sockets are below it
        # The queue of this folder's tests instead of a new one, which would cost a start.
        (Path(folder) / "slurmsky").symlink_to(engine.home)
        yield Runner(Path(folder), {**engine.env, "PATH": os.environ["PATH"]})


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "my work"
    folder.mkdir()
    (folder / "good.sh").write_text("#!/bin/bash\necho fine $1\n")
    (folder / "bad one.sh").write_text("#!/bin/bash\n#SBATCH -a 0-1\necho step\nexit $SLURM_ARRAY_TASK_ID\n")
    (folder / "refused.sbatch").write_text("#!/bin/bash\n#SBATCH --nosuch\n")
    return folder


def test_inputs_reach_the_shell_as_variables_only() -> None:
    assert all(step["shell"] == "bash" and "${{" not in step["run"] for step in STEPS)


def test_scripts_that_pass(runner: Runner, work: Path) -> None:
    done = runner.run(work, scripts="good.sh", options="--time=5 -J smoke")
    assert done.returncode == 0, done.stdout + done.stderr
    output = dict(line.split("=", 1) for line in runner.files["GITHUB_OUTPUT"].read_text().splitlines())
    assert f"| {output['jobs']} | good.sh | COMPLETED | 0:0 |" in runner.files["GITHUB_STEP_SUMMARY"].read_text()
    assert "<!doctype html>" in Path(output["report"]).read_text()


def test_a_script_that_fails_is_explained(runner: Runner, work: Path) -> None:
    done = runner.run(work, scripts="*.sh\nnosuch.sh")
    assert done.returncode == 1 and "good.sh: job" in done.stdout
    assert re.search(r"::error file=bad one\.sh::job \d+_1 is FAILED, exit code 1:0\n", done.stdout)
    assert "(bad one.sh) is FAILED: exit code 1" in done.stdout and "    | step\n" in done.stdout
    assert "::error file=nosuch.sh::no such script\n" in done.stdout


def test_validation_runs_nothing(runner: Runner, work: Path) -> None:
    done = runner.run(work, scripts="good.sh *.sbatch", test_only="true")
    assert done.returncode == 1 and re.search(r"^good\.sh: Job \d+ to start at", done.stdout)
    assert "::error file=refused.sbatch::sbatch: unrecognized option '--nosuch'%0ATry" in done.stdout
    assert not list(work.glob("slurm-*.out"))
