"""What a test run prints when a test or a shared fixture fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import run_order
import worker

TESTS = Path(__file__).parents[1]

CONFTEST = """
import fixture_failures, progress, pytest, worker

fixture_failures.LONG_S = 0

def pytest_configure(config):
    config.pluginmanager.register(fixture_failures)
    config.pluginmanager.register(worker)
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(progress.Progress(config))

@pytest.fixture(scope="module")
def machines():
    with open("setups", "a") as file:
        file.write("x")
    raise OSError("no machine")
"""

CASES = """
import os, pytest, signal, time

class Slow(Exception):
    def __str__(self):
        time.sleep(0.3)
        return "told slowly"

@pytest.mark.timeout(0.1)
def test_slow_report():
    raise Slow

def test_one(machines): pass
def test_two(machines): pass
def test_sum(): assert 1 + 1 == 3
def test_hangs(): os.kill(os.getpid(), signal.SIGINT)
"""


def test_a_run_names_failures_immediately_and_sets_up_a_failed_fixture_once(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_cases.py").write_text(CASES)
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {TESTS}\n")
    line = [sys.executable, "-m", "pytest", "-q", "-p", "pytest_rerunfailures", "--reruns", "1", "-p", "pytest_timeout"]
    env = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    before, _, summary = done.stdout.partition("= ERRORS =")
    assert "ERROR test_cases.py::test_one (" in before
    assert "ERROR test_cases.py::test_two (" in before
    assert "the fixture machines failed before: OSError: no machine" in before
    assert "RERUN test_cases.py::test_sum (" in before
    assert "FAILED test_cases.py::test_sum (0.0 s): assert (1 + 1) == 3" in before
    assert "INTERRUPTED test_cases.py::test_hangs" in before
    assert "Slow: told slowly" in summary and "str() failed" not in done.stdout
    assert "2 failed, 2 errors, 4 rerun in" in summary
    assert (tmp_path / "setups").read_text() == "x"


def test_modules_that_start_first_exist() -> None:
    assert [name for name in run_order.LONGEST if name.endswith(".py") and not (TESTS / name).exists()] == []


def test_tests_that_compute_are_spread_among_those_that_wait() -> None:
    waiting = [(f"tests/cli/test_a.py::test_{number}", number == 3) for number in range(4)]
    computing = [(f"unit/test_{number // 2}.py", False) for number in range(8)]
    tests = [*waiting, *computing, ("oracle-fleet", True), ("oracle-fleet", False)]
    order = [tests[number][0].rpartition("/")[2] for number in run_order.order_of(tests)]
    assert order[:3] == ["oracle-fleet", "oracle-fleet", "test_a.py::test_3"]
    assert [name for name in order if "_a" in name] == [f"test_a.py::test_{number}" for number in (3, 0, 1, 2)]
    assert [name for name in order if name.endswith(".py")] == [f"test_{number // 2}.py" for number in range(8)]
    assert order.index("test_2.py") < order.index("test_a.py::test_2")


def test_a_long_parameter_has_a_short_id() -> None:
    assert len(worker.pytest_make_parametrize_id("x" * 4_000_000) or "") < 200
    assert worker.pytest_make_parametrize_id("hello") is None
