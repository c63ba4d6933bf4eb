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
    with local_engine(Path(__file__).with_name("site.toml")) as started:
        yield started
