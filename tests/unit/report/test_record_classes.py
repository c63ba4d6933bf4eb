"""A row that a report writes once for equal jobs equals the row of each job."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from slurmsky.model.job import Job, Step
from slurmsky.model.spec import JobSpec
from slurmsky.report import record_classes
from slurmsky.report.fields import job_values, sacct_fields
from slurmsky.report.fields.field_tables import table
from slurmsky.report.fields.node_values import NODE_VALUES
from slurmsky.report.fields.squeue_fields import job_fields
from slurmsky.report.json import documents, job_records
from slurmsky.report.report_context import ReportContext
from slurmsky.report.text import sacct_rows, show_job, show_nodes, squeue_rows
from slurmsky.report.text.print_fields import TableStyle, table_text


def _twins(job: Job, number: int) -> dict[str, Step]:
    return {name: replace(step, start_time=step.start_time + number, name=f"{step.name}{number}",
                          usage=replace(step.usage, max_rss=step.usage.max_rss + number, user_s=number / 7))
            for name, step in job.steps.items()}  # fmt: skip


@pytest.fixture
def fleet(waiting: list[Job], running: list[Job], finished: list[Job]) -> list[Job]:
    """Jobs of all states, each with two similar jobs: other ids, names, times and files."""
    ids = count(9000)
    found: list[Job] = []
    for job in [*waiting, *running, *finished]:
        found.append(job)
        for number in (1, 2):
            job_id = next(ids)
            found.append(replace(
                job, job_id=job_id, name=f"twin{job_id}", priority=number, comment=f"c{number}",
                steps=_twins(job, number), submit_time=job.submit_time + number,
                start_time=job.start_time and job.start_time + number,
                stdout=f"/tmp/%j.{number}", work_dir=f"/tmp/{number}", submit_line=f"sbatch {number}",
                spec=replace(job.spec, job_name=f"twin{job_id}", wrap=str(number)),
            ))  # fmt: skip
    return found


@pytest.fixture
def context(golden: Any) -> ReportContext:
    found: ReportContext = golden("running", "jobd_all").context
    return found


def test_jobs_of_one_class_have_equal_fields(fleet: list[Job], context: ReportContext) -> None:
    found = [context.record_classes.of(job) for job in fleet]
    assert all(found[at] == found[at + 1] == found[at + 2] for at in range(0, len(fleet), 3))
    assert 5 < len(set(found)) <= len(fleet) // 3


@pytest.mark.parametrize("parsable", [0, 2])
@pytest.mark.parametrize("form", ["all", sacct_rows.LONG, sacct_rows.DEFAULT])
def test_sacct(form: str, parsable: int, fleet: list[Job], context: ReportContext) -> None:
    columns, look = sacct_rows.sacct_columns(form, context), TableStyle(parsable=parsable)
    each = table_text(columns, list(sacct_rows.records(fleet)), look)
    assert "".join(sacct_rows.sacct_pieces(fleet, columns, context, look)) == each


def test_squeue(fleet: list[Job], context: ReportContext) -> None:
    layout, _ = squeue_rows.job_layout(context, "%all")
    rows = list(squeue_rows.job_rows(fleet, context))
    assert squeue_rows.squeue_text(rows, layout, context) == layout.text(squeue_rows.sort_jobs(rows, context))


@pytest.mark.parametrize("detail", [False, True])
@pytest.mark.parametrize("oneliner", [False, True])
def test_scontrol(detail: bool, oneliner: bool, fleet: list[Job], context: ReportContext) -> None:
    each = [
        show_job.show_job(job, replace(context, record_classes=record_classes.RecordClasses()), detail, oneliner)
        for job in fleet
    ]
    assert list(show_job.show_jobs(fleet, context, detail, oneliner)) == each


def watched(job: Job, seen: set[str]) -> Job:
    """The job, noting what is read of its own."""

    class WatchedJob(Job):
        def __getattribute__(self, name: str) -> Any:
            if name in record_classes.OWN:
                seen.add(name)
            return super().__getattribute__(name)

    class WatchedSpec(JobSpec):
        def __getattribute__(self, name: str) -> Any:
            if name in record_classes.OWN_SPEC:
                seen.add(f"spec.{name}")
            return super().__getattribute__(name)

    spec, found = object.__new__(WatchedSpec), object.__new__(WatchedJob)
    spec.__dict__.update(job.spec.__dict__)
    found.__dict__.update(job.__dict__, spec=spec)
    return found


def test_shared_values_do_not_read_values_of_single_jobs(fleet: list[Job], context: ReportContext) -> None:
    for job in fleet:
        seen: set[str] = set()
        record = sacct_fields.SacctRow(watched(job, seen))
        for name, field in sacct_fields.sacct_fields(context).items():
            seen.clear()
            field.value(record)
            assert not (field.shared and seen), f"sacct {name} reads {seen}"
        row = squeue_rows.JobRow(record.job, "p", 1, "None", None, None)
        for name, column in job_fields(context).items():
            seen.clear()
            column.value(row)
            assert not (column.shared and seen), f"squeue {name} reads {seen}"
        for command in ("squeue", "sacct", "json", "scontrol"):
            for value in job_values.fields_of(command):
                seen.clear()
                job_values.reader(value.value, context)(record.job)
                assert value.own or not seen, f"{command} {value.name} reads {seen}"


def test_the_registry_names_fields_that_exist() -> None:
    named = {command: [value.name for value in job_values.fields_of(command)] for command in ("squeue", "sacct")}
    for command, names in named.items():
        known = {row["name"].lower() for row in table(f"{command}_fields") if row.get("record", "job") == "job"}
        assert len(names) == len(set(names)) and set(names) <= known


def test_the_registry_of_nodes_names_fields_that_exist() -> None:
    rows = {name: [row.name for row in NODE_VALUES.fields_of(name)] for name in ("sinfo", "sort", "json", "scontrol")}
    assert set(rows["sinfo"]) <= {row["name"].lower() for row in table("sinfo_fields")}
    shown = set(re.findall("[A-Z][A-Za-z_]+", re.sub(r"\S+=\S+|-d", "", show_nodes._LAYOUT)))
    assert set(rows["scontrol"]) == shown
    assert all(len(names) == len(set(names)) for names in rows.values())


def test_json(fleet: list[Job], context: ReportContext) -> None:
    odd = replace(fleet[0], name='100% "quoted"\n\udcff', comment="%(name)s")
    document = documents.jobs_document([*fleet, odd], {}, context.now, context.cluster)
    each = [documents.json_record(job_records.JobRecords(context)(job)) for job in [*fleet, odd]]
    assert list(document.written or ()) == each
