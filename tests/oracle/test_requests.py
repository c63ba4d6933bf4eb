"""Hundreds of resource requests: the real sbatch's answer, and a job that asks for the same."""

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
_CUT = "how many nodes a job would need that no partition has room for is a guess; 22.05 rounds it down"
KNOWN: dict[str, str] = {
    "--ntasks-per-node=1 --gres=gpu:1 -n8": "newer clients ask for eight nodes, more than there are: it waits",
    "-n33 --ntasks-per-node=2 --ntasks-per-core=2": _CUT,
    "-n33 --ntasks-per-core=2": _CUT,
    "--gpus=h100:2 -c9 --mem=1G --ntasks-per-node=9 -n33 -B1:8:2": _CUT,
    "--mem=1G -n33 -N2-3 -xn[1-4]": _CUT,
    "-N1-2 -c8 -n16": _CUT,
    "-N2-3 --gpus=8 --mem=1G --ntasks-per-node=2 -c9": "it asks for 36 CPUs of 32, which waits; 22.05 counts 9 of them",
    "-pnosuch -Cgpu --gpus=4 --ntasks-per-node=2 --gpus-per-task=1": "22.05 takes the tasks of one node for all",
    "-N5 --mem-per-gpu=3G --ntasks-per-gpu=1 -n8": "memory for GPUs that follow from the tasks is not yet in ReqTRES",
}


def _newer(words: list[str]) -> str:
    """Why 22.05's answer is no longer Slurm's."""
    text = " ".join(words)
    gpus = "gres=gpu" in text or "--gpus" in text or "-G" in words
    if "--cpus-per-gpu" in text and not gpus:
        return "CPUs for each GPU without any GPU are refused now"
    if "--gpus-per-task" in text and not any(word.startswith(("--gpus=", "-G", "-n")) for word in words):
        return "GPUs for each task without a number of tasks or GPUs are refused now"
    return ""


def _row(row: dict[str, Any]) -> Any:
    name = " ".join(row["options"])
    reason = KNOWN.get(name) or _newer(row["options"])
    return pytest.param(row, id=name, marks=[pytest.mark.xfail(reason=reason, strict=False)] if reason else [])


@pytest.mark.parametrize("row", [_row(row) for row in ROWS])
def test_same_request(row: dict[str, Any], engine: LocalEngine) -> None:
    found = resource_requests.answer(lambda words: engine.run(list(words)), row["options"])
    assert {"options": row["options"], **found} == row


def test_the_table_is_that_of_the_script() -> None:
    assert [row["options"] for row in ROWS] == resource_requests.lines()
