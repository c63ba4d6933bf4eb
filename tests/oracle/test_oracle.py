"""The same command lines on slurmsky, compared with the recorded output of the real Slurm."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from datetime import datetime
from difflib import ndiff
from typing import Any

import pytest
from case import HERE, Case, Side
from differences import KNOWN, REWORDED, SAME_FILE, comparable
from groups import GROUPS
from local_engine import LocalEngine
from normalise import Context, first_job_id, normalise

from slurmsky.language.hostlist import expand

pytestmark = pytest.mark.timeout(900)

GOLDEN: dict[str, dict[str, list[dict[str, Any]]]] = {
    group: json.loads((HERE / "golden" / f"{group}.json").read_text(encoding="utf-8"))["cases"]
    for group in GROUPS
    if (HERE / "golden" / f"{group}.json").exists()
}


def _cases() -> list[Any]:
    """One test for each recorded case, named group:case, run by the worker of the group."""
    rows = []
    for group, cases in GROUPS.items():
        for case in cases:
            marks = [pytest.mark.xdist_group(f"oracle-{group}"), *([pytest.mark.slow] if case.slow else [])]
            rows.append(pytest.param(group, case, id=f"{group}:{case.name}", marks=marks))
    return rows


@pytest.fixture(scope="session")
def side(engine: LocalEngine, request: pytest.FixtureRequest) -> Callable[[str], Side]:
    """The side that answers the cases of a group."""

    def answering(group: str) -> Side:
        used = request.getfixturevalue("empty_engine") if group == "fleet" else engine
        return Side(used.env["PATH"], used.root, used.env)

    return answering


def _answers(side: Side, case: Case) -> list[dict[str, Any]]:
    began = time.time()
    folder, found = side.run(case)
    context = Context(str(folder), began, case.minutes)
    first = first_job_id([text for answer in found for text in (answer.stdout, answer.stderr)])
    return [
        {
            "line": line,
            "stdout": normalise(answer.stdout, context, first).split("\n"),
            "stderr": normalise(answer.stderr, context, first).split("\n"),
            "code": answer.code,
        }
        for line, answer in zip(case.lines(), found, strict=True)
    ]


def _as_now(text: list[str]) -> list[str]:
    for pattern, now in REWORDED:
        text = [re.sub(pattern, now, row) for row in text]
    return SAME_FILE.sub(r"\1\3", "\n".join(text)).split("\n")


_ENDED = re.compile(r"(srun: error: \S+: )tasks ([\d,-]+)(: .*)")


def _one_by_one(rows: list[str]) -> list[str]:
    """Timing decides which tasks of a node share one message."""
    found = []
    for row in rows:
        match = _ENDED.fullmatch(row)
        ranks = expand(f"[{match[2]}]") if match else []
        found += [f"{match[1]}task {rank}{match[3]}" for rank in ranks] if match else [row]
    return found


def _reported(answer: dict[str, Any], free: bool) -> str:
    """An answer as one text, for a readable difference. Other users' names have other widths."""
    line = answer["line"]
    stdout = comparable(line, answer["stdout"])
    stderr = _one_by_one(comparable(line, answer["stderr"]))
    # Sorted again: placeholders and newer words may come in another order than what they stand for.
    rows = [*(sorted(stdout) if free else stdout), "--- stderr", *(sorted(stderr) if free else stderr),
            f"--- exit code {answer['code']}"]  # fmt: skip
    return "\n".join(rows if os.getuid() == 0 else (" ".join(row.split()) for row in rows))


@pytest.mark.parametrize(("group", "case"), _cases())
def test_same_answers(group: str, case: Case, side: Callable[[str], Side]) -> None:
    """Every line of the case has the recorded answer; differences in ``KNOWN`` remain."""
    found, wrong = _answers(side(group), case), []
    rows = zip(GOLDEN[group][case.name], case.lines(), found, case.free(), strict=True)
    for number, (recorded, line, answer, free) in enumerate(rows):
        assert recorded["line"] == line, "the case changed: record it again"
        if "noon" in line and datetime.now().hour >= 12:
            continue  # sacct's noon is the next one in the morning and the last one afterwards; recorded in a morning
        expected = {**recorded, "stdout": _as_now(recorded["stdout"]), "stderr": _as_now(recorded["stderr"])}
        ours, theirs = _reported(answer, free), _reported(expected, free)
        if known := KNOWN.get(f"{group}:{case.name}:{number}"):
            if ours == theirs:
                wrong.append(f"{number}: {line}\nno difference any more: {known}")
        elif ours != theirs:
            wrong.append("\n".join([f"{number}: {line}", *ndiff(theirs.splitlines(), ours.splitlines())]))
    assert not wrong, "recorded (-) and ours (+):\n" + "\n\n".join(wrong)


def test_everything_is_recorded() -> None:
    recorded = {
        (group, name): [answer["line"] for answer in answers]
        for group, cases in GOLDEN.items()
        for name, answers in cases.items()
    }
    wanted = {(group, case.name): case.lines() for group, cases in GROUPS.items() for case in cases}
    missing = [key for key, lines in wanted.items() if recorded.get(key) != lines]
    assert not missing, "run tests/oracle/record.py --missing"


def test_every_known_difference_names_a_test() -> None:
    lines = {f"{group}:{case.name}:{number}" for group, cases in GROUPS.items() for case in cases
             for number in range(len(case.lines()))}  # fmt: skip
    assert set(KNOWN) <= lines
