"""Fixtures of all tests: a private state folder, and the commands as a user calls them."""

from __future__ import annotations

import getpass
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import fixture_failures
import progress
import pytest
import run_order
import worker
from hypothesis import HealthCheck, settings
from polling import PATIENCE_S

ROOT = Path(__file__).parents[1]
BIN = ROOT / "bin"

# Of the caller's surroundings a test sees only this: no SLURM_*, no SLURMSKY_*, no site file.
_KEPT = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "TERM", "TMPDIR", "VIRTUAL_ENV", "XDG_CACHE_HOME")


# No limits of time: an example's duration depends on the machine's load.
_EXAMPLES = 1000 if os.environ.get("SLURMSKY_TEST_FULL") else 50
settings.register_profile("tests", max_examples=_EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def pytest_configure(config: pytest.Config) -> None:
    """Print failures at once, and restore SIGINT and SIGHUP.

    A shell's background job ignores SIGINT, nohup ignores SIGHUP, and commands under test would inherit this.
    """
    config.pluginmanager.register(fixture_failures)
    config.pluginmanager.register(worker)
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(progress.Progress(config))
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run tests against the real Slurm and SkyPilot one by one, if SLURMSKY_RIG is set."""
    for item in items:
        if item.get_closest_marker("rig"):
            item.add_marker(pytest.mark.xdist_group("rig"))
            if os.environ.get("SLURMSKY_RIG") != "1":
                item.add_marker(pytest.mark.skip(reason="needs the rig: SLURMSKY_RIG=1 scripts/test"))
    run_order.arrange(items)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Run the tests of one group in one worker.

    In parallel they would use each other's nodes.
    """
    if hasattr(session.config, "workerinput") and session.config.getoption("loadgroup", False):
        grouped = (item.nodeid for item in session.items if item.get_closest_marker("xdist_group"))
        lost = [nodeid for nodeid in grouped if "@" not in nodeid]
        if lost:
            pytest.exit(f"this pytest and this pytest-xdist do not keep groups together: {lost[0]}", 3)


class Result(NamedTuple):
    """The output and exit code of a command."""

    code: int  # negative: ended by that signal
    out: str
    err: str


def processes_of(home: Path) -> list[int]:
    """Every process of this state folder: it has SLURMSKY_HOME=home in its environment."""
    mark = b"SLURMSKY_HOME=" + os.fsencode(home) + b"\0"
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                with open(f"/proc/{entry}/environ", "rb") as file:
                    if mark in file.read() + b"\0":
                        found.append(int(entry))
            except OSError:
                continue  # gone, or another user's
    return found


def _wait_until_gone(home: Path, timeout_s: float) -> list[int]:
    deadline = time.monotonic() + timeout_s
    while (left := processes_of(home)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def _describe(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return "(gone)"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a fresh user: own state folder, no site file, no Slurm variables."""
    env = {name: os.environ[name] for name in _KEPT if name in os.environ}
    # The interpreter of the tests: the launchers need no private environment then.
    env["SLURMSKY_PYTHON"] = os.environ.get("SLURMSKY_PYTHON", sys.executable)
    env["XDG_CONFIG_HOME"] = str(tmp_path / "config")
    # Where the rig's SkyPilot is up, a fresh user's jobs would go there.
    env["SLURMSKY_ENGINE"] = "local"
    env["PATH"] = f"{BIN}{os.pathsep}{env.get('PATH', os.defpath)}"
    return env


@pytest.fixture
def home(tmp_path: Path, environment: dict[str, str]) -> Iterator[Path]:
    """A state folder; at its end the controller is stopped, and no process may remain."""
    state = tmp_path / "state"
    environment["SLURMSKY_HOME"] = str(state)
    yield state
    try:
        if processes_of(state):
            for line in (["scancel", "--user", getpass.getuser()], ["slurmsky", "stop"]):
                subprocess.run(
                    [BIN / line[0], *line[1:]], env=environment, cwd="/", timeout=PATIENCE_S,
                    stdin=subprocess.DEVNULL, capture_output=True,
                )  # fmt: skip
    finally:
        left = _wait_until_gone(state, 60)
        names = [f"{pid}: {_describe(pid)}" for pid in left]
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it has ended
    assert not names, "processes left after scancel and `slurmsky stop`"


class Run:
    """Runs commands by their launchers, as a user does."""

    def __init__(self, env: Mapping[str, str], cwd: Path) -> None:
        self.env = dict(env)
        self.cwd = cwd

    def start(
        self,
        command: str,
        *args: str | Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        **options: object,
    ) -> subprocess.Popen[bytes]:
        """The command in the background; pipes and such by Popen's options."""
        line = [str(BIN / command), *map(str, args)]
        return subprocess.Popen(line, env=self.env | dict(env or {}), cwd=cwd or self.cwd, **options)  # type: ignore[call-overload,no-any-return]

    def __call__(
        self,
        command: str,
        *args: str | Path,
        env: Mapping[str, str] | None = None,
        input: str | bytes | None = None,
        cwd: Path | None = None,
        timeout: float = PATIENCE_S,
    ) -> Result:
        """The command's exit code, stdout and stderr; bytes that are not UTF-8 as surrogate escapes."""
        if isinstance(input, str):
            input = input.encode("utf-8", "surrogateescape")
        process = self.start(
            command, *args, env=env, cwd=cwd,
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            out, err = process.communicate(input, timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            pytest.fail(f"{command} {' '.join(map(str, args))}: no end after {timeout} s\n{out!r}\n{err!r}")
        return Result(
            process.returncode, out.decode("utf-8", "surrogateescape"), err.decode("utf-8", "surrogateescape")
        )


@pytest.fixture
def run(environment: dict[str, str], home: Path, tmp_path: Path) -> Callable[..., Result]:
    """`run("sbatch", "job.sh", env=..., input=..., cwd=...)` -> (code, out, err), in a private folder."""
    work = tmp_path / "work"
    work.mkdir()
    return Run(environment, work)
