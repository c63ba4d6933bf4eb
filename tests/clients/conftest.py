"""A virtual environment per client, made once per machine, and an engine for the session.

These tests install the clients from the package index: they run when they are requested (``-m clients``, or
SLURMSKY_CLIENTS=1), and a client that cannot be installed is a failure then.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from local_engine import LocalEngine, local_engine

TESTS = Path(__file__).resolve().parent.parent

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slurmsky-tests" / "clients"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    requested = "clients" in (config.option.markexpr or "") or os.environ.get("SLURMSKY_CLIENTS") == "1"
    if not requested:
        for item in items:
            if item.get_closest_marker("clients"):
                item.add_marker(pytest.mark.skip(reason="installs clients: pytest -m clients, or SLURMSKY_CLIENTS=1"))


@pytest.fixture(scope="session")
def engine() -> Iterator[LocalEngine]:
    with local_engine(TESTS / "oracle" / "site.toml") as started:
        yield started


@pytest.fixture(scope="session")
def interpreter() -> Callable[[str, tuple[str, ...]], Path]:
    """Python of an environment that holds a client."""
    return _interpreter


def _interpreter(name: str, requirements: tuple[str, ...]) -> Path:
    """Python of an environment that holds these; raises CalledProcessError with pip's output."""
    key = hashlib.sha256("\n".join((sys.version, *requirements)).encode()).hexdigest()[:12]
    place = CACHE / f"{name}-{key}"
    python = place / "bin" / "python"
    if not (place / "complete").exists():
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        done = subprocess.run([python, "-m", "pip", "install", "--disable-pip-version-check", "--quiet",
                               *requirements], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
        assert done.returncode == 0, f"pip install {' '.join(requirements)}:\n{done.stdout[-2000:]}"
        (place / "complete").touch()
    return python
