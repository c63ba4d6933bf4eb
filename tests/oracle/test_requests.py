"""Hundreds of resource requests: the real sbatch's messages, and a job with equal resources."""

from __future__ import annotations

import json
from typing import Any

import pytest
import resource_requests
from case import HERE
from local_engine import LocalEngine

# One engine for all of them.
pytestmark = pytest.mark.xdist_group("oracle-requests")

ROWS = json.loads((HERE / "golden" / "requests.json").read_text(encoding="utf-8"))

#: Differences that remain, by the options that show them.
_LAYOUT = "slurmctld's check of one task on nodes for several is not modelled"
KNOWN: dict[str, str] = {
    "-N1-2 --gpus=h100:2 --ntasks-per-node=2 --mem=0 -n1": _LAYOUT,
    "-n2 --cpus-per-gpu=1 --gpus=1": "two nodes are shown for two tasks, of which one node takes both",
}


def _row(row: dict[str, Any]) -> Any:
    name = " ".join(row["options"])
    reason = KNOWN.get(name)
    return pytest.param(row, id=name, marks=[pytest.mark.xfail(reason=reason, strict=True)] if reason else [])


@pytest.mark.parametrize("row", [_row(row) for row in ROWS])
def test_same_request(row: dict[str, Any], engine: LocalEngine) -> None:
    found = resource_requests.answer(lambda words: engine.run(list(words)), row["options"])
    assert {"options": row["options"], **found} == row


def test_the_table_is_that_of_the_script() -> None:
    assert [row["options"] for row in ROWS] == resource_requests.lines()
