"""One engine for the session, with the oracle's nodes."""

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
    """A separate engine for queries over all existing jobs, ended jobs included."""
    yield from _started()


def _started() -> Iterator[LocalEngine]:
    with local_engine(Path(__file__).with_name("site.toml")) as started:
        # A job without its submitter's environment finds our own, and its first user would see the set-up's message.
        ready = started.run(["env", "-u", "SLURMSKY_PYTHON", "squeue", "--version"], limit_s=600)
        assert ready.returncode == 0, ready.stderr
        yield started
