"""One engine on this machine for the folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from local_engine import REPOSITORY, LocalEngine, local_engine


@pytest.fixture(scope="session")
def engine() -> Iterator[LocalEngine]:
    with local_engine(REPOSITORY / "examples" / "site" / "laptop.toml") as started:
        yield started
