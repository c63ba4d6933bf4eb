"""The same command lines on slurmsky, compared with what the real Slurm printed."""

from __future__ import annotations

import json
import os
import re
import time
from datetime import datetime
from typing import Any

import pytest
from case import HERE, Case, NeverHappened, Side
from differences import KNOWN, REWORDED, comparable
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
Answered = list[dict[str, Any]]


def _rows() -> list[Any]:
    """One test for each recorded line, named group:case:number."""
    rows = []
    for group, cases in GROUPS.items():
        for case in cases:
            for number, answer in enumerate(GOLDEN.get(group, {}).get(case.name, ())):
                name = f"{group}:{case.name}:{number}"
                reason = KNOWN.get(name) or KNOWN.get(name.rpartition(":")[0])
                # A case is run once, by the worker that has its group of cases.
                marks = [pytest.mark.xdist_group(f"oracle-{group}")]
                if reason:
                    marks.append(pytest.mark.xfail(reason=reason, strict=name in KNOWN))
                if "noon" in answer["line"] and datetime.now().hour >= 12:
                    # sacct's noon is the next one in the morning and the last one afterwards; recorded in a morning.
                    marks.append(pytest.mark.skip(reason="a time of day: recorded before noon"))
                if case.slow:
                    marks.append(pytest.mark.slow)
                rows.append(pytest.param(group, case, number, answer, id=name, marks=marks))
    return rows


@pytest.fixture(scope="session")
def ours(engine: LocalEngine, request: pytest.FixtureRequest) -> Any:
    """Function from a case to our answers, each case run once."""
    known: dict[str, Answered | NeverHappened] = {}

    def answers(group: str, case: Case) -> Answered:
        key = f"{group}:{case.name}"
        if key not in known:
            used = request.getfixturevalue("empty_engine") if group == "fleet" else engine
            side = Side(used.env["PATH"], used.root, used.env)
            try:
                known[key] = _answers(side, case)
            except NeverHappened as exc:
                known[key] = exc
        found = known[key]
        if isinstance(found, NeverHappened):
            pytest.fail(str(found))
        return found

    return answers


def _answers(side: Side, case: Case) -> Answered:
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
    return text


_ENDED = re.compile(r"(srun: error: \S+: )tasks ([\d,-]+)(: .*)")


def _one_by_one(rows: list[str]) -> list[str]:
    """Which tasks of a node share one message depends on timing."""
    found = []
    for row in rows:
        match = _ENDED.fullmatch(row)
        ranks = expand(f"[{match[2]}]") if match else []
        found += [f"{match[1]}task {rank}{match[3]}" for rank in ranks] if match else [row]
    return found


def _told(answer: dict[str, Any], free: bool) -> str:
    """An answer as one text, for a readable difference. Other users' names have other widths."""
    line = answer["line"]
    stdout = comparable(line, answer["stdout"])
    stderr = _one_by_one(comparable(line, answer["stderr"]))
    # Sorted again: placeholders and newer words may come in another order than what they stand for.
    rows = [*(sorted(stdout) if free else stdout), "--- stderr", *(sorted(stderr) if free else stderr),
            f"--- exit code {answer['code']}"]  # fmt: skip
    return "\n".join(rows if os.getuid() == 0 else (" ".join(row.split()) for row in rows))


@pytest.mark.parametrize(("group", "case", "number", "recorded"), _rows())
def test_same_answer(group: str, case: Case, number: int, recorded: dict[str, Any], ours: Any) -> None:
    assert recorded["line"] == case.lines()[number], "the case changed: record it again"
    expected = {**recorded, "stdout": _as_now(recorded["stdout"]), "stderr": _as_now(recorded["stderr"])}
    free = case.free()[number]
    assert _told(ours(group, case)[number], free) == _told(expected, free)


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
    names = {f"{group}:{case.name}" for group, cases in GROUPS.items() for case in cases}
    lines = {f"{group}:{case.name}:{number}" for group, cases in GROUPS.items() for case in cases
             for number in range(len(case.lines()))}  # fmt: skip
    assert set(KNOWN) <= names | lines
