from __future__ import annotations

from collections.abc import Iterator

import pytest

from .allocations import Allocation, allocation
from .apart import ApartCluster, possible
from .driver import Cluster

#: a suite with ``kind = pytest.fixture(...)`` over these runs on both: agents of one machine, which share everything,
#: and agents in namespaces of their own, as on cloud nodes
KINDS = (
    pytest.param(Cluster, id="here"),
    pytest.param(
        ApartCluster, id="apart", marks=pytest.mark.skipif(not possible(), reason="needs namespaces and a bridge")
    ),
)


@pytest.fixture(scope="module")
def kind() -> type[Cluster]:
    """The class of clusters; a module may replace this fixture to test several classes."""
    return Cluster


@pytest.fixture(scope="module")
def one(kind: type[Cluster]) -> Iterator[Cluster]:
    """A cluster of one node."""
    with kind(1) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def two(kind: type[Cluster]) -> Iterator[Cluster]:
    """A cluster of two nodes."""
    with kind(2) as cluster:
        yield cluster


@pytest.fixture
def fresh(kind: type[Cluster]) -> Iterator[Cluster]:
    """A cluster of two nodes that the test may break."""
    with kind(2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def four(one: Cluster) -> Iterator[Allocation]:
    """salloc -N1 -n4."""
    yield from allocation(one, (4,))


@pytest.fixture(scope="module")
def spread(two: Cluster) -> Iterator[Allocation]:
    """salloc -N2 -n4: 3 CPUs on n1, 1 on n2."""
    yield from allocation(two, (3, 1))
