"""One engine of the shape of the recorded tables for the session."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TESTS / "cli"))

from local_engine import LocalEngine, local_engine  # noqa: E402


@pytest.fixture(scope="session")
def engine() -> Iterator[LocalEngine]:
    with local_engine(TESTS / "oracle" / "site.toml") as started:
        yield started
