from __future__ import annotations

from collections.abc import Iterator

import pytest

from .driver import Cluster


@pytest.fixture(scope="module")
def one() -> Iterator[Cluster]:
    """A cluster of one node."""
    with Cluster(1) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def two() -> Iterator[Cluster]:
    """A cluster of two nodes."""
    with Cluster(2) as cluster:
        yield cluster


@pytest.fixture
def fresh() -> Iterator[Cluster]:
    """A cluster of two nodes that the test may break."""
    with Cluster(2) as cluster:
        yield cluster
