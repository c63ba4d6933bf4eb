"""One engine of the oracle's shape for the session."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from local_engine import LocalEngine, local_engine


@pytest.fixture(scope="session")
def engine() -> Iterator[LocalEngine]:
    yield from _started()


@pytest.fixture(scope="session")
def empty_engine() -> Iterator[LocalEngine]:
    """One that nobody else uses: questions about all jobs that there are, also those that have ended."""
    yield from _started()


def _started() -> Iterator[LocalEngine]:
    with local_engine(Path(__file__).with_name("site.toml")) as started:
        # A job without its submitter's environment finds our own, which its first user would be told about.
        ready = started.run(["env", "-u", "SLURMSKY_PYTHON", "squeue", "--version"], limit_s=600)
        assert ready.returncode == 0, ready.stderr
        yield started
