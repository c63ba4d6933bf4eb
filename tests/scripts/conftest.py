"""One engine for the session, with the nodes that the examples request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from local_engine import LocalEngine, local_engine


@pytest.fixture(scope="session")
def engine() -> Iterator[LocalEngine]:
    with local_engine(Path(__file__).with_name("site.toml")) as started:
        yield started
