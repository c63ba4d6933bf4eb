"""``slurmsky clean``, ``uninstall``, ``service`` leave no process and no other user's file changed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from local_engine import BIN
from polling import PATIENCE_S

from slurmsky import client_setup

_TOOL = '#!/bin/sh\necho "$@" >>"$HOME/systemctl.log"\n'
Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def call(tmp_path: Path) -> Iterator[Call]:
    """A user with a separate home, state folder and systemctl."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "systemctl").write_text(_TOOL)
    (tools / "systemctl").chmod(0o755)
    env = {"HOME": str(tmp_path), "PATH": f"{BIN}:{tools}:/usr/bin:/bin", "SLURMSKY_PYTHON": sys.executable,
           "SLURMSKY_HOME": str(tmp_path / "state"), "SLURMSKY_ENGINE": "local"}  # fmt: skip

    def run(*words: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        around = env | more
        return subprocess.run(
            words, env=around, cwd=tmp_path, capture_output=True, text=True, input=stdin, timeout=PATIENCE_S
        )

    yield run
    run("slurmsky", "uninstall", "--yes", "--cancel-jobs")


def left_of(state: Path) -> list[int]:
    """Processes of that state folder."""
    mark = b"SLURMSKY_HOME=" + os.fsencode(state)
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                if mark in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                    found.append(int(entry))
            except OSError:
                continue
    return found


def test_uninstall_leaves_nothing(call: Call, tmp_path: Path) -> None:
    done = call("sbatch", "--wait", "-o", "out.txt", "--wrap", "echo done")
    assert done.returncode == 0, done
    held = call("sbatch", "--parsable", "--hold", "--wrap", "true").stdout.strip()
    assert left_of(tmp_path / "state")
    refused = call("slurmsky", "uninstall", "--yes")
    assert refused.returncode == 1 and f"slurmsky: uninstall: 1 jobs wait or run: {held}" in refused.stderr
    requested = call("slurmsky", "uninstall", "--cancel-jobs", stdin="n\n")
    assert requested.returncode == 1 and (tmp_path / "state" / "queue.db").exists()
    done = call("slurmsky", "uninstall", "--cancel-jobs", "--yes")
    assert done.returncode == 0, done
    assert not (tmp_path / "state").exists()
    assert left_of(tmp_path / "state") == []
    assert (tmp_path / "out.txt").read_text() == "done\n"


def test_uninstall_without_anything(call: Call, tmp_path: Path) -> None:
    assert call("slurmsky", "uninstall", "--yes").returncode == 0
    assert not (tmp_path / "state").exists()


def test_clean_removes_files_of_jobs_that_ended_long_ago(call: Call, tmp_path: Path) -> None:
    for _ in range(2):
        assert call("sbatch", "--wait", "-o/dev/null", "--wrap", "true").returncode == 0
    held = call("sbatch", "--parsable", "--hold", "--wrap", "true").stdout.strip()
    jobs = tmp_path / "state" / "jobs"
    before = {path.name for path in jobs.iterdir()}
    assert {"1", "2", held} <= before
    long_ago = time.time() - 60 * 86400

    def clean(*options: str) -> subprocess.CompletedProcess[str]:
        for _ in range(40):  # the node may still remove files of a job that has just ended, which renews its folder
            for path in (*(jobs / "1").rglob("*"), jobs / "1", *(jobs / held).rglob("*"), jobs / held):
                os.utime(path, (long_ago, long_ago), follow_symlinks=False)
            done = call("slurmsky", "clean", *options)
            if "nothing" not in done.stdout:
                break
        return done

    assert f"would remove {jobs / '1'} (" in clean("--dry-run").stdout
    assert {path.name for path in jobs.iterdir()} == before
    done = clean()
    assert done.returncode == 0 and f"removed {jobs / '1'} (" in done.stdout
    assert {path.name for path in jobs.iterdir()} == before - {"1"}  # the held job is old, and waits
    assert call("sacct", "-XnP", "-j", "1", "-o", "state").stdout == "COMPLETED\n"


def test_clean_removes_environments_of_removed_clones(call: Call, tmp_path: Path) -> None:
    cache = tmp_path / ".cache" / "slurmsky"
    clone = tmp_path / "clone"
    (clone / "slurmsky").mkdir(parents=True)
    (clone / "pyproject.toml").write_text("[project]\n")
    key = str(clone).removeprefix("/").replace("/", "%")
    (clone / client_setup.LOCK).write_text("click==8\n")
    for place in (cache / "no%such%clone", cache / key):
        (place / "venv-0123").mkdir(parents=True)
        (place / "python").write_text("x\n")
    needed = client_setup.environment_name(clone)
    (cache / key / needed).mkdir()
    (cache / "another%path").symlink_to(key)
    (cache / "removed%path").symlink_to("no%such%clone")
    done = call("slurmsky", "clean", "--environments")
    assert done.returncode == 0
    assert sorted(path.relative_to(cache).as_posix() for path in cache.rglob("*")) == [
        key, f"{key}/python", f"{key}/{needed}"]  # fmt: skip
    assert "its clone /no/such/clone was removed" in done.stdout and "has other dependencies now" in done.stdout
    assert call("slurmsky", "clean", "--environments").stdout == "nothing to remove\n"


def test_the_service_is_a_user_unit(call: Call, tmp_path: Path) -> None:
    unit = tmp_path / ".config" / "systemd" / "user" / "slurmsky.service"
    shown = call("slurmsky", "service", "install", "--print")
    assert not unit.exists() and f'"SLURMSKY_HOME={tmp_path}/state"' in shown.stdout
    done = call("slurmsky", "service", "install")
    assert done.returncode == 0, done
    assert unit.read_text() == shown.stdout
    assert "loginctl enable-linger" in done.stdout
    assert (tmp_path / "systemctl.log").read_text().splitlines() == [
        "--user show-environment", "--user daemon-reload", "--user enable --now slurmsky.service"]  # fmt: skip
    assert call("slurmsky", "service", "status").returncode == 0
    assert call("slurmsky", "service", "uninstall").returncode == 0
    assert not unit.exists()


def test_a_service_without_systemd(call: Call, tmp_path: Path) -> None:
    done = call(str(BIN / "slurmsky"), "service", "install", PATH="/nowhere")
    assert done.returncode == 1 and "slurmsky: service: there is no systemd here" in done.stderr


def test_the_services_command_runs_a_controller(call: Call, tmp_path: Path) -> None:
    """The unit's ExecStart, run by hand, starts the controller that commands find."""
    text = call("slurmsky", "service", "install", "--print").stdout
    line = next(line for line in text.splitlines() if line.startswith("ExecStart="))
    command = line.removeprefix("ExecStart=").replace('"', "").split(" ")
    root = Path(__file__).parents[2]
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "SLURMSKY_HOME": str(tmp_path / "state"),
           "PYTHONPATH": str(root), "SLURMSKY_ENGINE": "local"}  # fmt: skip
    with subprocess.Popen(command, env=env) as service:
        deadline = time.monotonic() + 60
        while not (tmp_path / "state" / "controller.sock").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert f"pid {service.pid}," in call("slurmsky", "status").stdout
        assert call("slurmsky", "stop").returncode == 0
        assert service.wait(PATIENCE_S) == 0
