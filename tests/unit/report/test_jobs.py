"""squeue's text, compared with the real squeue for the same jobs."""

from __future__ import annotations

import dataclasses
import re
import time
from datetime import timezone
from typing import Any

import pytest

from slurmsky.model.job import Job
from slurmsky.model.spec import JobSpec
from slurmsky.model.states import JobState
from slurmsky.report.fields.squeue_fields import row_id
from slurmsky.report.report_context import ReportContext
from slurmsky.report.text import squeue_rows as report
from slurmsky.report.text.units import Clock


def text_of(
    records: Any,
    context: Any,
    letters: str | None = None,
    names: str | None = None,
    sort: str = report.JOB_SORT,
    each: bool = False,
    date_line: bool = False,
) -> str:
    layout, unknown = report.job_layout(context, letters, names)
    assert not unknown
    rows = list(report.job_rows(records, context, each=each))
    return report.squeue_text(rows, layout, context, date_line=date_line, sort=sort, each=each)


W = "%.5i|%5P|%3j|%N|%.2N|%2N|%.30R|%3R|%l|%L|%e|%S|%p|%Q|%y|%m|%d|%z|%K|%F|%A"
W_RUNNING = "%.5i|%5P|%N|%.2N|%2N|%.30R|%3R|%l|%L|%e|%S|%p|%m|%K|%F|%A|%B"
TEXTS = [
    ("waiting", "squeue_default", {}),
    ("waiting", "squeue_l", {"names": report.LONG, "date_line": True}),
    ("waiting", "squeue_start", {"letters": report.START, "sort": "S"}),
    ("waiting", "squeue_r", {"each": True}),
    ("waiting", "squeue_w", {"letters": W}),
    ("waiting", "squeue_S_i", {"sort": "i"}),
    ("waiting", "squeue_S_M", {"sort": "-M,j"}),
    ("waiting", "squeue_S_S", {"sort": "S"}),
    ("running", "squeue_default", {}),
    ("running", "squeue_l", {"names": report.LONG, "date_line": True}),
    ("running", "squeue_w", {"letters": W_RUNNING}),
    ("running", "squeue_S_i", {"sort": "i"}),
    ("running", "squeue_S_M", {"sort": "-M,j"}),
    ("running", "squeue_S_S", {"sort": "S"}),
    ("finished", "squeue_tall", {}),
    ("finished", "squeue_srt", {"sort": "i"}),
    ("finished", "squeue_srt2", {"sort": "-t,j"}),
    ("finished", "squeue_w", {"letters": W}),
    ("finished", "squeue_O20", {"names": "jobarrayid,name:4,reasonlist,nodelist:.3,statecompact:.5 x"}),
]


@pytest.mark.parametrize("moment, name, how", TEXTS, ids=lambda value: value if isinstance(value, str) else "")
def test_squeue_prints_what_slurm_prints(
    moment: str, name: str, how: dict[str, Any], golden: Any, request: pytest.FixtureRequest
) -> None:
    recorded = golden(moment, name)
    assert text_of(request.getfixturevalue(moment), recorded.context, **how) == recorded.text


# Columns in which 25.11 prints something else than 22.05, or which hold an id of that Slurm's database.
OTHER = {
    "ASSOC_ID": "database id",
    "MIN_MEMORY": "that per GPU, too, in 25.11",
    "DERIVED_EC": "CODE:SIGNAL since 23.02",
    "EXIT_CODE": "CODE:SIGNAL since 23.02",
    "STDOUT": "the pattern since 24.05",
    "STDERR": "the pattern since 24.05",
    "": "SelectJobInfo is gone",
    "TRES_PER_TASK": "-c stands in it since 23.11",
}
# TASKS of a job that named none and was cancelled before it started: Slurm forgets the number
NO_VAL = "4294967294"


@pytest.mark.parametrize("moment", ["waiting", "running", "finished"])
def test_every_field(moment: str, golden: Any, request: pytest.FixtureRequest) -> None:
    recorded = golden(moment, "squeue_O")
    names = ",".join(item for item in recorded.command.split()[-1].split(",") if not item.startswith("SelectJobInfo"))
    ours = text_of(request.getfixturevalue(moment), recorded.context, names=names)
    theirs = recorded.text.splitlines()
    assert len(ours.splitlines()) == len(theirs)
    header = theirs[0].split("|")
    for mine, other in zip(ours.splitlines(), theirs, strict=False):
        wrong = [
            (column, a, b)
            for column, a, b in zip(header, mine.split("|"), other.split("|"), strict=False)
            if a != b and column not in OTHER and b != NO_VAL
        ]
        assert wrong == []


def test_all_letters(waiting: Any, golden: Any) -> None:
    recorded = golden("waiting", "squeue_o")
    ours = text_of(waiting, recorded.context, letters="%all").splitlines()
    theirs = recorded.text.splitlines()
    # %s was the select plugin's text in 22.05, without a header, and is the SLUID now
    assert ours[0].replace("|SLUID|", "||") == theirs[0]
    for mine, other in zip(ours[1:], theirs[1:], strict=False):
        mine = re.sub(r"\|s[0-9A-Z]{13}\|", "||", mine)
        per_gpu = "|70251|" in mine
        assert (mine.replace("|100M||", "|0||") if per_gpu else mine) == other


def test_steps(running: Any, golden: Any) -> None:
    recorded = golden("running", "squeue_s")
    layout, _ = report.step_layout(recorded.context)
    ours = report.squeue_steps_text(list(report.step_rows(running)), layout, recorded.context)
    assert ours == "".join(line for line in recorded.text.splitlines(True) if "70537.0" not in line)


def test_every_step_field(running: Any, golden: Any) -> None:
    recorded = golden("running", "squeue_sO")
    layout, unknown = report.step_layout(recorded.context, names=recorded.command.split()[-1])
    assert not unknown
    ours = report.squeue_steps_text(list(report.step_rows(running)), layout, recorded.context)
    theirs = "".join(line for line in recorded.text.splitlines(True) if "|70537|" not in line)
    assert ours == theirs.replace("|CONTAINER|CONTAINER|", "|CONTAINER|CONTAINERID|")


@pytest.mark.parametrize("spec, letter", [("bogus", "s"), ("i,X", "X"), ("-Z", "Z")])
def test_unknown_sort_key(spec: str, letter: str, waiting: Any, golden: Any) -> None:
    with pytest.raises(report.InvalidSort, match=f"Invalid sort specification: {letter}"):
        text_of(waiting, golden("waiting", "squeue_default").context, sort=spec)


def test_unknown_fields_are_named_and_the_rest_is_printed(waiting: Any, golden: Any) -> None:
    context = golden("waiting", "squeue_default").context
    layout, unknown = report.job_layout(context, letters="a%iX%!Y")
    assert unknown == ["!"]
    assert next(layout.lines(report.job_rows(waiting[:1], context))) == "a70241X%!Y"
    layout, unknown = report.job_layout(context, names="bogus,jobid:6 ,name:.7|")
    assert unknown == ["bogus"]
    assert layout.header() == "JOBID     NAME|"


@pytest.mark.parametrize(
    "names, line",
    [
        ("name:3", "exp"),
        ("name:.3", "exp"),
        ("name:12|", "experiment  |"),
        ("name:.12|", "  experiment|"),
        ("name:", "experiment"),
        ("name", "experiment          "),
        ("name:-4", "experiment "),
        ("nodelist:.2", "n[1-3]"),
        ("nodelist:2", "n["),
    ],
)
def test_widths(names: str, line: str, golden: Any, running: Any) -> None:
    context = golden("running", "squeue_default").context
    record = dataclasses.replace(
        running[0],
        name="experiment",
        shares=[dataclasses.replace(running[0].shares[0], name=f"n{i}") for i in (1, 2, 3)],
    )
    layout, _ = report.job_layout(context, names=names)
    assert next(layout.lines(report.job_rows([record], context))) == line


@pytest.mark.parametrize(
    "letters, line",
    [
        ("%.8j|", "größe-|"),  # eight bytes are six characters here
        ("%4j|", "grö|"),
        ("%10j|", "größe-ä|"),
        ("%11j|", "größe-ä |"),
        ("%3j|", "gr\udcc3|"),  # cut inside a character
    ],
)
def test_widths_count_bytes(letters: str, line: str, golden: Any, waiting: Any) -> None:
    record = dataclasses.replace(waiting[0], name="größe-ä")
    context = golden("waiting", "squeue_default").context
    layout, _ = report.job_layout(context, letters=letters)
    assert next(layout.lines(report.job_rows([record], context))) == line


def test_ten_thousand_rows_are_quick(waiting: Any, golden: Any) -> None:
    context = golden("waiting", "squeue_default").context
    records = [dataclasses.replace(waiting[2], job_id=i, priority=4294901713 - i) for i in range(10_000)]
    layout, _ = report.job_layout(context)
    best = min(
        _seconds(lambda: report.squeue_text(list(report.job_rows(records, context)), layout, context)) for _ in range(3)
    )
    assert best < 0.2 * 3  # the budget is 0.2 s on an idle machine


def _seconds(call: Any) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def test_elements_of_a_huge_array_are_made_one_by_one(waiting: Any, golden: Any) -> None:
    context = golden("waiting", "squeue_default").context
    huge = dataclasses.replace(waiting[1], pending_tasks=(range(100_000),))
    rows = report.elements(report.job_rows([huge], context, each=True))
    assert [next(rows).task_id for _ in range(3)] == [0, 1, 2]
    layout, _ = report.job_layout(context)
    assert _seconds(lambda: report.squeue_text(list(report.job_rows([huge], context)), layout, context)) < 0.05


@pytest.mark.parametrize("letters", [None, "%i|%F|%K|%o|%Z|%.3i|%-30j|100%%|%R", "%T", "%K", "%j %.18i %9P é"])
def test_elements_of_an_array_are_printed_as_if_one_by_one(letters: str | None, waiting: Any, golden: Any) -> None:
    """Columns that are equal for all elements are made once."""
    context = golden("waiting", "squeue_r").context
    parts = (range(1, 12, 2), range(20, 21), range(98, 103))
    rest = dataclasses.replace(next(job for job in waiting if job.pending_tasks), pending_tasks=parts, name="50%s")
    layout, _ = report.job_layout(context, letters)
    rows = list(report.job_rows([rest], context, True))
    slow = "\n".join([layout.header(), *layout.lines(report.elements(rows)), ""])
    assert report.squeue_text(rows, layout, context, each=True) == slow


def test_only_job_state_lists_elements_without_steps(waiting: Any, golden: Any) -> None:
    context = golden("waiting", "squeue_default").context
    rest = next(job for job in waiting if job.pending_tasks)
    rest = dataclasses.replace(rest, pending_tasks=(range(1, 41, 4),), array_max_running=3, array_job_id=9)
    assert text_of([rest], context, letters="%i %K").splitlines()[1] == "9_[1-37:4%3] 1-37:4%3"
    whole = "1,5,9,13,17,21,25,29,33,37"
    only = dataclasses.replace(context, only_state=True, bitstr_len=0)
    assert text_of([rest], only, letters="%i %K").splitlines()[1] == f"9_[{whole}] {whole}"
    only = dataclasses.replace(context, only_state=True)
    assert text_of([rest], only, letters="%i %K").splitlines()[1] == f"9_[{whole}] {whole}"


def test_elements_that_wait_for_nodes_of_their_own_are_one_line() -> None:
    """An engine that creates nodes starts all elements of an array together."""

    def element(index: int, **more: Any) -> Job:
        return Job(
            job_id=100 + index, spec=JobSpec(array="1-4"), name="sweep", user="ada", uid=1, gid=1, group="ada",
            account="ada", partition="gpu", array_job_id=100, array_task_id=index, awaits_nodes=True,
            **{"reason": "Resources", **more},
        )  # fmt: skip

    running = element(4, state=JobState.RUNNING, reason="None")
    running.awaits_nodes = False
    jobs = [element(1), element(2, reason="Priority"), element(3), running]
    context = ReportContext(Clock(0.0))

    def ids(each: bool) -> list[tuple[str, str]]:
        rows = report.job_rows(jobs, context, each)
        return [(row_id(row), row.reason) for row in rows]

    assert ids(each=False) == [("100_[1-3]", "Resources,Priority"), ("100_4", "None")]
    assert [name for name, _ in ids(each=True)] == ["100_1", "100_2", "100_3", "100_4"]


@pytest.mark.parametrize("style", ["x", "%c" * 16])
def test_an_invalid_time_format_is_reported_with_the_first_time(style: str) -> None:
    errors: list[str] = []
    clock = Clock(0.0, timezone.utc, style, errors.append)
    assert clock.text(0) == "Unknown" and not errors
    assert clock.text(1) == "1970-01-01T00:00:01" and clock.text(2) == "1970-01-01T00:00:02"
    assert errors == [f"invalid SLURM_TIME_FORMAT = '{style}'"]
