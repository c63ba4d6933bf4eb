"""One engine of four nodes for the session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from local_engine import LocalEngine, local_engine

TESTS = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def engine() -> Iterator[LocalEngine]:
    with local_engine(TESTS / "oracle" / "site.toml") as started:
        yield started
