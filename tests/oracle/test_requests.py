"""Hundreds of resource requests: the real sbatch's messages, and a job with equal resources."""

from __future__ import annotations

import json
import re
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
    "-N1-2 --exclusive": "recorded while other jobs held parts of the nodes; on idle nodes the real answer is 2-2",
    "--ntasks-per-node=1 --gres=gpu:1 -n8": "newer clients ask for eight nodes, more than there are: it waits",
    "-n33 --ntasks-per-node=2 --ntasks-per-core=2": _CUT,
    "-n33 --ntasks-per-core=2": _CUT,
    "--gpus=h100:2 -c9 --mem=1G --ntasks-per-node=9 -n33 -B1:8:2": _CUT,
    "--mem=1G -n33 -N2-3 -xn[1-4]": _CUT,
    "-N1-2 -c8 -n16": _CUT,
    "-N2-3 --gpus=8 --mem=1G --ntasks-per-node=2 -c9": "it asks for 36 CPUs of 32, which waits; 22.05 counts 9 of them",
    "-pnosuch -Cgpu --gpus=4 --ntasks-per-node=2 --gpus-per-task=1": "22.05 takes the tasks of one node for all",
    "--mincpus=9 --ntasks-per-gpu=3 -c8 -N4": "22.05 refuses it, and takes the same with the -n12 that follows",
}


def _refused(words: list[str]) -> str:
    """The message of newer releases if 22.05 accepts the request; "" if both agree."""
    text = " ".join(words)
    gpus = "gres=gpu" in text or "--gpus" in text or "-G" in words
    if "--cpus-per-gpu" in text and any(word.startswith("-c") for word in words):
        return "--cpus-per-task, --tres-per-task=cpu:#, and --cpus-per-gpu are mutually exclusive"
    if "--cpus-per-gpu" in text and not gpus:
        return "did not request any GPU."
    if "--gpus-per-task" in text and not any(word.startswith(("--gpus=", "-G", "-n")) for word in words):
        return "used without either --gpus or -n/--ntasks is not allowed."
    return ""


def _newer(row: dict[str, Any]) -> dict[str, Any]:
    """The recorded answer in 25.11's form: TRES by whole names, --cpus-per-task among those of a task.

    Source: slurm_opt.c of 25.11, slurm_option_update_tres_per_task.
    """
    if not row.get("job"):
        return row
    job = {
        key: value.replace("gres:gpu", "gres/gpu") if key.endswith("Tres") or key.startswith("TresPer") else value
        for key, value in row["job"].items()
    }
    cpus = [word[2:] for word in row["options"] if re.fullmatch(r"-c\d+", word)]
    devices = job.pop("TresPerTask", "").replace(":", "=")
    per_task = ",".join(filter(None, (f"cpu={cpus[-1]}" if cpus else "", devices)))
    return {**row, "job": job | ({"TresPerTask": per_task} if per_task else {})}


def _row(row: dict[str, Any]) -> Any:
    name = " ".join(row["options"])
    reason = KNOWN.get(name)
    return pytest.param(row, id=name, marks=[pytest.mark.xfail(reason=reason, strict=True)] if reason else [])


@pytest.mark.parametrize("row", [_row(row) for row in ROWS])
def test_same_request(row: dict[str, Any], engine: LocalEngine) -> None:
    found = resource_requests.answer(lambda words: engine.run(list(words)), row["options"])
    refused = _refused(row["options"])
    if refused and found["stderr"] != row["stderr"]:
        assert refused in str(found["stderr"]) and found["code"] == 1
    else:
        assert {"options": row["options"], **found} == _newer(row)


def test_the_table_is_that_of_the_script() -> None:
    assert [row["options"] for row in ROWS] == resource_requests.lines()
