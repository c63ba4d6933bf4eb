"""One engine for the session, with the nodes of the recorded tables."""

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
