"""sacct and sstat: text compared with that of the real commands."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from slurmsky.model.job import Job, Usage
from slurmsky.model.states import JobFlag, JobState
from slurmsky.report.text import sacct_rows, sstat_rows
from slurmsky.report.text.print_fields import InvalidField, TableStyle
from slurmsky.report.text.sacct_rows import BRIEF, DEFAULT, LONG
from slurmsky.report.text.units import GIGA, KILO, Scale

SMALL = (
    "jobid%20,jobname%-5,state%6,reqmem,alloctres%40,reqtres%60,elapsed,cputime,cputimeraw,maxrss,nnodes,ntasks,"
    "nodelist,timelimit,submit,start,end,user,layout"
)
SHORT = "jobid%20,jobname%-5,state%6,reqmem,alloctres%40,elapsed,cputimeraw,nodelist,timelimit,start,end"
TEXTS = [
    ("finished", "sacct", DEFAULT, TableStyle(), {}),
    ("finished", "sacct-X", DEFAULT, TableStyle(), {"allocations": True}),
    ("finished", "sacct-b", BRIEF, TableStyle(), {}),
    ("finished", "sacct-P", DEFAULT, TableStyle(parsable=2), {}),
    ("finished", "sacct-p", DEFAULT, TableStyle(parsable=1, delimiter=";", header=False), {}),
    ("finished", "sacct-f", SMALL, TableStyle(), {}),
    ("running", "sacct", DEFAULT, TableStyle(), {}),
    ("running", "sacct-f", SHORT, TableStyle(), {}),
]


COLUMNS = TableStyle()


def text_of(jobs: list[Job], context: Any, form: str, look: TableStyle = COLUMNS, **how: Any) -> str:
    return "".join(sacct_rows.sacct_pieces(jobs, sacct_rows.sacct_columns(form, context), context, look, **how))


@pytest.mark.parametrize("moment, name, form, look, how", TEXTS, ids=[f"{a}-{b}" for a, b, *_ in TEXTS])
def test_sacct_prints_what_slurm_prints(
    moment: str,
    name: str,
    form: str,
    look: TableStyle,
    how: dict[str, Any],
    golden: Any,
    request: pytest.FixtureRequest,
) -> None:
    recorded, jobs = golden(moment, name), request.getfixturevalue(moment)
    ours = text_of(jobs, recorded.context, form, look, **how)
    assert _started(ours, jobs) == _started(recorded.text, jobs)


def _started(text: str, jobs: list[Job]) -> list[str]:
    """Rows of jobs that had nodes: 22.05 counted the requested CPUs of others as AllocCPUS."""
    waiting = {str(job.job_id) for job in jobs if not job.shares}
    return [row for row in text.splitlines() if re.match(r"\s*(\d*)", row)[1] not in waiting]  # type: ignore[index]


# Fields with other values here, or with 25.11's.
OTHER = {
    "AssocID": "database id",
    "DBIndex": "database id",
    "WCKeyID": "database id",
    "AveCPUFreq": "not measured",
    "ConsumedEnergy": "0 since 23.02, empty for a running job before",
    "ConsumedEnergyRaw": "as ConsumedEnergy",
    "Flags": "StartReceived was misspelt until 23.02",
    "TRESUsageInMin": "the least of CPU time alone is kept",
    "TRESUsageInMinNode": "",
    "TRESUsageInMinTask": "",
    "TRESUsageOutMin": "",
    "TRESUsageOutMinNode": "",
    "TRESUsageOutMinTask": "",
    "Reserved": "is Planned",
    "ResvCPU": "is PlannedCPU",
    "ResvCPURAW": "is PlannedCPURAW",
    "Constraints": "an empty text is not kept",
    "Reason": "the last reason, which the record keeps",
    "Eligible": "database's rounding",
}
# What the database did not know yet, or remembers from before a requeue or a change.
STALE = {("70076", "AllocNodes"), ("70540", "Comment"), ("70542", "Priority")}


@pytest.mark.parametrize("moment", ["finished", "running"])
def test_every_field(moment: str, golden: Any, request: pytest.FixtureRequest) -> None:
    recorded = golden(moment, "sacct-all")
    header, *theirs = (line.split("|") for line in recorded.text.splitlines())
    names = [name for name in header if name not in OTHER]
    ours = text_of(
        request.getfixturevalue(moment), recorded.context, ",".join(names), TableStyle(parsable=2, header=False)
    )
    mine = [dict(zip(names, line.split("|"), strict=False)) for line in ours.splitlines()]
    if moment == "finished":
        # -D shows the run before the requeue too
        theirs = [line for line in theirs if "REQUEUED" not in line and "70076.batch" not in line]
    place = header.index("JobID")
    assert [line["JobID"] for line in mine] == [line[place] for line in theirs]
    wrong = []
    for one, line in zip(mine, theirs, strict=False):
        two = dict(zip(header, line, strict=False))
        wrong += [
            (one["JobID"], name, one[name], two[name])
            for name in names
            if one[name] != two[name]
            and (one["JobID"], name) not in STALE
            and not (name in ("AllocCPUS", "NCPUS") and one["AllocNodes"] == "0")
        ]
    assert wrong == []


def test_long_format(golden: Any, finished: list[Job]) -> None:
    recorded = golden("finished", "sacct-l")
    ours = text_of(finished, recorded.context, LONG, TableStyle(parsable=2)).splitlines()
    assert ours[0] == recorded.text.splitlines()[0]
    assert len(ours) == len(recorded.text.splitlines())


def test_exit_codes_above_128_are_shown_whole(golden: Any, finished: list[Job]) -> None:
    # until 25.05 sacct took 128 off them
    job = dataclasses.replace(finished[8], exit_code=137, steps={})
    assert text_of([job], golden("finished", "sacct").context, "exitcode", TableStyle(2, header=False)) == "137:0\n"


def test_each_run_of_a_job_has_its_own_index(golden: Any, finished: list[Job]) -> None:
    runs = [dataclasses.replace(finished[0], restarts=number) for number in range(3)]
    text = text_of(runs, golden("finished", "sacct").context, "dbindex", allocations=True)
    assert len(set(text.splitlines()[2:])) == 3


def test_a_requeued_run_keeps_its_times_and_resources(golden: Any, running: list[Job]) -> None:
    job = next(job for job in running if job.shares and job.state is JobState.RUNNING)
    run = dataclasses.replace(
        job, state=JobState.PENDING, flags=JobFlag.REQUEUED, steps={}, end_time=job.start_time + 2,
        eligible_time=job.start_time - 1,
    )  # fmt: skip
    context = golden("running", "sacct").context
    look = TableStyle(parsable=2, header=False)
    fields = "state,start,end,elapsed,cputimeraw,alloctres,planned"
    state, start, end, elapsed, cpu_s, tres, planned = text_of([run], context, fields, look).strip().split("|")
    clock = context.clock
    assert (state, start, end) == ("REQUEUED", clock.text(job.start_time), clock.text(job.start_time + 2))
    assert (elapsed, cpu_s, planned) == ("00:00:02", str(2 * job.num_cpus), "00:00:01")
    assert tres == text_of([job], context, "alloctres", look).splitlines()[0] != ""


def test_elements_of_a_waiting_rest(golden: Any, finished: list[Job]) -> None:
    lines = text_of(finished[1:2], golden("finished", "sacct").context, "jobid", TableStyle(2, header=False), each=True)
    assert lines.split() == ["70066_1", "70066_2", "70066_3", "70066_4", "70066_5"]


@pytest.mark.parametrize(
    "scale, reqmem, rss",
    [
        (Scale(), "20M", "13828K"),
        (Scale(unit=KILO), "20480K", "13828K"),
        (Scale(unit=GIGA), "0.02G", "0.01G"),
        (Scale(convert=False), "20M", "14159872"),
    ],
)
def test_units(scale: Scale, reqmem: str, rss: str, golden: Any, finished: list[Job]) -> None:
    context = dataclasses.replace(golden("finished", "sacct").context, scale=scale)
    lines = text_of(finished[2:3], context, "reqmem,maxrss", TableStyle(2, header=False)).splitlines()
    assert (lines[0], lines[1]) == (reqmem + "|", "|" + rss)


def test_a_name_may_be_cut_short_and_the_first_that_fits_counts(golden: Any) -> None:
    context = golden("finished", "sacct").context
    names = [column.name for column in sacct_rows.sacct_columns("job,Max,state%30, user,reqm", context)]
    assert names == ["JobID", "MaxDiskRead", "State", "User", "ReqMem"]
    assert len(sacct_rows.sacct_columns("all", context)) == 121  # 120 of Slurm, and Cost, which is ours
    with pytest.raises(InvalidField, match='Invalid field requested: "bogus"'):
        sacct_rows.sacct_columns("jobid,bogus", context)


@pytest.mark.parametrize(
    "width, cell",
    [
        ("%4", "hel+ "),
        ("%-4", "hel+ "),
        ("%12", "    held_one "),
        ("%-12", "held_one     "),
        ("%8", "held_one "),
        ("%1", "+ "),
        ("%x", " "),
    ],
)
def test_widths(width: str, cell: str, golden: Any, finished: list[Job]) -> None:
    text = text_of(finished[:1], golden("finished", "sacct").context, "jobname" + width, TableStyle(header=False))
    assert text == cell + "\n"


def test_numbers_are_never_cut(golden: Any, finished: list[Job]) -> None:
    text = text_of(finished[2:3], golden("finished", "sacct").context, "priority%3,elapsed%2", TableStyle(header=False))
    assert text.splitlines()[0] == "4294901754 00:00:39 "


def test_sstat(golden: Any, running: list[Job]) -> None:
    recorded = golden("running", "sstat")
    batch = Usage(
        tasks=1,
        min_cpu_node="n1",
        ave_rss=13640 * 1024,
        max_rss=13640 * 1024,
        max_rss_node="n1",
        ave_vmsize=290828 * 1024,
        max_vmsize=290828 * 1024,
        max_vmsize_node="n1",
        max_pages_node="n1",
        disk_read=64879,
        max_disk_read=64879,
        max_disk_read_node="n1",
        disk_write=3362,
        max_disk_write=3362,
        max_disk_write_node="n1",
    )
    sleep = Usage(
        tasks=2,
        min_cpu_node="n1",
        ave_rss=1562 * 1024,
        max_rss=1572 * 1024,
        max_rss_node="n2",
        max_rss_task=1,
        ave_vmsize=2920 * 1024,
        max_vmsize=2920 * 1024,
        max_vmsize_node="n1",
        max_pages_node="n1",
        disk_read=13954,
        max_disk_read=6977,
        max_disk_read_node="n1",
        disk_write=2,
        max_disk_write=1,
        max_disk_write_node="n1",
    )
    steps = [
        dataclasses.replace(running[0].steps[name], usage=usage) for name, usage in (("batch", batch), ("1", sleep))
    ]
    header, *theirs = recorded.text.splitlines()
    names = [name for name in header.split("|") if name != "AveCPUFreq" and "Min" not in name.replace("MinCPU", "")]
    columns = sstat_rows.sstat_columns(",".join(names), recorded.context)
    ours = sstat_rows.sstat_text(
        [sstat_rows.RunningStep(running[0], step) for step in steps], columns, TableStyle(2, header=False)
    )
    for one, two in zip(ours.splitlines(), theirs, strict=False):
        pairs = dict(zip(header.split("|"), two.split("|"), strict=False))
        assert (
            [(n, v) for n, v in zip(names, one.split("|"), strict=False) if v != pairs[n]]
            == [
                # the CPU time's entry is written as a time there: a task number 0 is 00:00:00
            ]
        )


def test_sstat_default_has_alloctres_since_25_05(golden: Any) -> None:
    recorded = golden("running", "sstat")
    header = sstat_rows.sstat_text([], sstat_rows.sstat_columns(sstat_rows.DEFAULT, recorded.context), TableStyle(2))
    assert header.replace("JobID|AllocTRES|", "JobID|").strip() == recorded.text.splitlines()[0]
