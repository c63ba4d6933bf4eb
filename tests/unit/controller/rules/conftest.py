"""``kept``: the reservations of a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
from reserved_cluster import CLUSTER, NOW

from slurmsky.controller.rules.advance_reservations import Reservations
from slurmsky.controller.store.database import Store


@pytest.fixture
def kept(tmp_path: Path) -> Reservations:
    return Reservations(Store(tmp_path / "queue.db"), CLUSTER, lambda: NOW)
