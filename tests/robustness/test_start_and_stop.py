"""Many concurrent first calls start one controller; jobs survive its exit; idle exit; unusable state folders."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from local_engine import BIN
from polling import wait_for

from .conftest import Engine, pids_with
from .test_agent_killed import state, submit

Run = Callable[..., Any]


def test_ten_first_calls_start_one_controller(engine: Engine, run: Run) -> None:
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda number: run("sbatch", "--parsable", "--wrap", "true"), range(10)))
    assert [(code, err) for code, _, err in answers] == [(0, "")] * 10
    assert sorted(int(out) for _, out, _ in answers) == list(range(1, 11))
    assert len(pids_with("-m slurmsky", "python")) >= 1
    mark = b"SLURMSKY_HOME=" + os.fsencode(engine.home) + b"\0"

    def controllers() -> list[int]:
        found = []
        for pid in pids_with("-m slurmsky"):
            try:
                agent = b"slurmsky.agent" in Path(f"/proc/{pid}/cmdline").read_bytes()
                ours = mark in Path(f"/proc/{pid}/environ").read_bytes()
            except OSError:  # it has just ended
                continue
            if ours and not agent:
                found.append(pid)
        return found

    # A child that is about to become a node's agent looks like the controller until it does.
    wait_for(lambda: controllers() == [engine.controller()])


def test_a_job_outlives_stop(engine: Engine, run: Run, tmp_path: Path) -> None:
    go = tmp_path / "go"
    job = submit(run, "-N2", "--wrap", f"until [ -e {go} ]; do sleep 0.1; done; srun -N2 true; echo rc=$?; exit 3")
    wait_for(lambda: state(run, job) == "RUNNING")
    assert run("slurmsky", "stop")[0] == 0
    wait_for(lambda: not engine.controller())
    assert state(run, job) == "RUNNING"
    run("slurmsky", "stop")
    wait_for(lambda: not engine.controller())
    go.touch()
    wait_for(lambda: not engine.agents(), 15, "agents that nobody needs leave")
    assert state(run, job) == "FAILED"
    assert "ExitCode=3:0" in run("scontrol", "show", "job", job)[1]
    assert (tmp_path / "work" / f"slurm-{job}.out").read_text() == "rc=0\n"


def test_a_controller_whose_environment_was_removed_is_replaced(engine: Engine, run: Run, tmp_path: Path) -> None:
    venv = Path(sys.executable).parent.parent
    copy = tmp_path / "venv"
    (copy / "bin").mkdir(parents=True)
    shutil.copy(venv / "pyvenv.cfg", copy)
    (copy / "bin" / "python").symlink_to(Path(sys.executable).resolve())
    (copy / "lib").symlink_to(venv / "lib")
    go = tmp_path / "go"
    code, out, _ = run("sbatch", "--parsable", "--wrap", f"until [ -e {go} ]; do sleep 0.1; done",
                       env={"SLURMSKY_PYTHON": str(copy / "bin" / "python")})  # fmt: skip
    assert code == 0
    first = engine.controller()
    shutil.rmtree(copy)
    assert run("squeue", "-ho%A")[1].strip() == out.strip()
    assert engine.controller() not in (0, first)
    assert submit(run, "-wn2", "--wait", "--wrap", "true")
    go.touch()
    wait_for(lambda: state(run, out.strip()) == "COMPLETED")


def test_a_command_after_stop_starts_a_new_controller(engine: Engine, run: Run) -> None:
    for number in range(1, 6):
        assert run("sbatch", "--parsable", "-H", "--wrap", "true") == (0, f"{number}\n", "")
        assert run("slurmsky", "stop") == (0, "controller stopped\n", "")
        assert not engine.controller()


def test_stop_waits_for_a_controller_that_starts_for_an_interrupted_command(
    engine: Engine, run: Run, environment: dict[str, str]
) -> None:
    """The command is killed while its controller starts: the site file is a pipe, and the controller waits for it."""
    pipe = engine.home.with_name("site.pipe")
    os.mkfifo(pipe)
    site = Path(environment["SLURMSKY_SITE"]).read_text()
    environment["SLURMSKY_SITE"] = str(pipe)
    with subprocess.Popen([str(BIN / "squeue")], env=environment, stdout=subprocess.DEVNULL) as first:
        wait_for(engine.controller)
        first.kill()
    with ThreadPoolExecutor(1) as pool:
        stopping = pool.submit(run, "slurmsky", "stop")
        time.sleep(0.5)
        assert not stopping.done()
        pipe.write_text(site)
        assert stopping.result() == (0, "controller stopped\n", "")
    assert not engine.controller()


def test_running_steps_outlive_stop(engine: Engine, run: Run) -> None:
    job = submit(run, "--wrap", "srun -n1 sleep 1000")
    steps = {f"{job}.batch", f"{job}.0"}
    wait_for(lambda: set(run("squeue", "-h", "-s", "-o%i")[1].split()) == steps)
    for _ in range(2):
        assert run("slurmsky", "stop")[0] == 0
        assert set(run("squeue", "-h", "-s", "-o%i")[1].split()) == steps
        assert set(run("sacct", "-n", "-P", "-j", job, "-oJobID")[1].split()) == {job, *steps}
    assert run("scancel", job)[0] == 0


class TestIdle:
    @pytest.fixture
    def limits(self) -> str:
        return "idle_exit_s = 1"

    def test_a_controller_exits_with_finished_and_held_jobs(self, engine: Engine, run: Run) -> None:
        done = submit(run, "--wrap", "true")
        held = submit(run, "--hold", "--wrap", "true")
        wait_for(lambda: not engine.controller(), 20, "the controller leaves")
        wait_for(lambda: not engine.agents(), 5, "and its agents")
        assert (state(run, done), state(run, held)) == ("COMPLETED", "PENDING")

    def test_a_controller_stays_for_a_job_that_will_start(self, engine: Engine, run: Run, tmp_path: Path) -> None:
        mark = tmp_path / "mark"
        submit(run, "--begin=now+4", "--wrap", f"touch {mark}; sleep 2")
        first = engine.controller()
        wait_for(mark.exists)
        assert engine.controller() == first
        time.sleep(1.5)
        assert engine.controller() == first
        wait_for(lambda: not engine.controller())


# --- states that cannot be used


def refused(answer: Any, *words: str) -> None:
    """Slurm's line and a line with the cause; no other line, no traceback."""
    code, out, err = answer
    lines = err.splitlines()
    assert (code, out, len(lines)) == (1, "", 2), answer
    assert "Unable to contact slurm controller" in lines[0]
    assert all(word in lines[1] for word in words), err


@pytest.mark.parametrize("damage", ["middle", "text", "random"])
def test_a_damaged_database_is_set_aside_and_work_continues(engine: Engine, run: Run, damage: str) -> None:
    for _ in range(3):
        submit(run, "--hold", "--wrap", "true")
    run("slurmsky", "stop")
    wait_for(lambda: not engine.controller())
    database = engine.home / "queue.db"
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    data = bytearray(database.read_bytes())
    if damage == "middle":
        data[len(data) // 3 : 2 * len(data) // 3] = random.Random(1).randbytes(len(data) // 3)
    elif damage == "text":
        data = bytearray(b"this is not a database\n" * 100)
    else:
        data = bytearray(random.Random(2).randbytes(len(data)))
    database.write_bytes(data)
    assert run("squeue", "-h", "-u", "none")[0] == 0
    assert int(submit(run, "--hold", "--wrap", "true")) > 3
    (kept,) = engine.home.glob("queue.db.damaged-*[0-9]")
    assert kept.read_bytes() == bytes(data)
    assert f"database {kept.name}" in json.loads(run("slurmsky", "status", "--json")[1])["damaged_records"]


def test_an_empty_database_file_is_damaged_and_not_new(engine: Engine, run: Run) -> None:
    submit(run, "--hold", "--wrap", "true")
    run("slurmsky", "stop")
    wait_for(lambda: not engine.controller())
    for path in engine.home.glob("queue.db-*"):
        path.unlink()
    (engine.home / "queue.db").write_bytes(b"")
    refused(run("squeue"), "queue.db")


def test_a_stale_socket_is_replaced(engine: Engine, run: Run) -> None:
    engine.home.mkdir()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(engine.home / "controller.sock"))
    assert run("squeue", "-h") == (0, "", "")


def test_a_very_long_state_folder_works(engine: Engine, run: Run, tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d" * 60] * 5)
    run.env["SLURMSKY_HOME"] = str(deep)  # type: ignore[attr-defined]
    try:
        code, out, err = run("salloc", "-Q", "srun", "echo", "here")
        assert (code, out, err) == (0, "here\n", "")
    finally:
        run("slurmsky", "stop")
        wait_for(lambda: not Engine(deep).agents() and not Engine(deep).controller())


def test_a_folder_that_cannot_be_written(environment: dict[str, str], run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run.env["SLURMSKY_HOME"] = str(tmp_path / "file" / "state")  # type: ignore[attr-defined]
    refused(run("squeue"), "state")


# --- a full disk


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs root's mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk(engine: Engine, small: Path, run: Run, tmp_path: Path) -> None:
    home = small / "state"
    run.env["SLURMSKY_HOME"] = str(home)  # type: ignore[attr-defined]
    engine = Engine(home)
    try:
        go = tmp_path / "go"
        first = submit(run, "--wrap", f"until [ -e {go} ]; do sleep 0.1; done; exit 2")
        wait_for(lambda: state(run, first) == "RUNNING")
        ballast = small / "ballast"
        handle = os.open(ballast, os.O_WRONLY | os.O_CREAT)
        with pytest.raises(OSError, match="No space left"):
            while True:
                os.write(handle, b"x" * 4096)
        os.close(handle)
        code, out, err = run("sbatch", "--wrap", "true")
        assert (code, out) == (1, "")
        assert len(err.splitlines()) <= 2, err
        assert "sbatch: error: Batch job submission failed" in err
        go.touch()  # the running job ends while nothing can be written
        time.sleep(1)
        assert run("squeue", "-h")[0] == 0
        ballast.unlink()
        wait_for(lambda: state(run, first) == "FAILED")
        second = wait_for(lambda: run("sbatch", "--parsable", "--wrap", "exit 4")[1].strip())
        wait_for(lambda: state(run, str(second)) == "FAILED")
        engine.kill_controller()  # all of it was really written
        assert state(run, first) == "FAILED"
        assert "ExitCode=4:0" in run("scontrol", "show", "job", str(second))[1]
        ids = run("sacct", "-X", "-n", "-P", "-o", "JobID")[1].split()
        assert ids == [first, second]
        assert engine.faults() == []
    finally:
        run("slurmsky", "stop")
        wait_for(lambda: not engine.agents() and not engine.controller())


def test_a_site_file_may_be_named_from_where_its_user_is(engine: Engine, run: Run, tmp_path: Path) -> None:
    (tmp_path / "work" / "mine.toml").write_text('engine = "local"\n[[partition]]\nname = "mine"\n')
    assert run("sinfo", "-h", "-o", "%R", env={"SLURMSKY_SITE": "mine.toml"})[:2] == (0, "mine\n")
    code, out, _ = run("slurmsky", "site", "check", env={"SLURMSKY_SITE": "mine.toml"})
    assert "mine.toml" in out and code == 0, out


def test_a_clone_is_updated_under_its_controller(engine: Engine, environment: dict[str, str], tmp_path: Path) -> None:
    """A module that the controller has not imported yet needs a name that its imported modules lack."""
    source = Path(__file__).resolve().parents[2]
    for folder in ("slurmsky", "bin", "grammar"):
        shutil.copytree(source / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    env = {**environment, "SLURMSKY_PYTHON": sys.executable}
    assert subprocess.run([tmp_path / "bin" / "squeue", "-h"], env=env).returncode == 0
    before = engine.controller()
    with (tmp_path / "slurmsky" / "options" / "table.py").open("a") as file:
        file.write("\nLATER = 1\n")
    scontrol = tmp_path / "slurmsky" / "commands" / "scontrol" / "__init__.py"
    first = "from __future__ import annotations\n"
    scontrol.write_text(scontrol.read_text().replace(first, f"{first}from ...options.table import LATER\n", 1))
    done = subprocess.run([tmp_path / "bin" / "scontrol", "ping"], env=env, capture_output=True, text=True)
    assert done.returncode == 0 and " is UP" in done.stdout, done
    assert engine.controller() != before


def test_an_update_leaves_running_jobs_unharmed(engine: Engine, run: Run, tmp_path: Path) -> None:
    """Jobs call commands whose modules their agent imports after the package's files were replaced."""
    clone, go = tmp_path / "clone", tmp_path / "go"
    for part in ("bin", "grammar", "slurmsky"):
        shutil.copytree(BIN.parent / part, clone / part, symlinks=True)
    script = f"touch {go}.1; until [ -e {go} ]; do sleep 0.05; done; srun --exact -n2 -l echo step"
    out = tmp_path / "out"
    code, job, err = run(str(clone / "bin" / "sbatch"), "--parsable", "-n2", "-o", str(out), "--wrap", script,
                         env={"XDG_CACHE_HOME": str(tmp_path / "cache")})  # fmt: skip
    assert code == 0, err
    wait_for(lambda: Path(f"{go}.1").exists())
    replaced = [clone / "grammar", *(clone / "slurmsky" / room for room in ("agent", "language", "options", "report"))]
    for part in replaced:
        part.rename(part.with_suffix(".earlier"))
    go.touch()
    wait_for(lambda: out.exists() and out.read_text().count("\n") == 2)
    for part in replaced:
        part.with_suffix(".earlier").rename(part)
    assert sorted(out.read_text().splitlines()) == ["0: step", "1: step"]
    wait_for(lambda: state(run, job.strip()) == "COMPLETED")


def test_an_allocation_prints_why_its_node_cannot_start(engine: Engine, run: Run) -> None:
    folder = engine.home / "nodes" / "n1"
    folder.mkdir(parents=True)
    for place in (engine.home, folder.parent):
        place.chmod(0o700)
    folder.chmod(0o777)
    code, out, err = run("srun", "-wn1", "true")
    assert (code, out) == (1, "") and "Job allocation 1 failed: agent ended while starting" in err
    assert "is open to other users" in err and "n1" in run("sinfo", "-R")[1]
