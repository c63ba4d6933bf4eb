"""sacct: rows of jobs and their steps, and text.

    columns = sacct_columns("jobid,state", context)
    text = "".join(sacct_pieces(jobs, columns, context, TableStyle(parsable=2)))

The values of the fields are in ``fields/sacct_fields.py``. Source: sacct.c and print.c of sacct.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable, Iterator, Sequence
from typing import Callable

from slurmsky.model.job import Job
from slurmsky.model.spec import NO_VAL

from ..fields.sacct_fields import STEP_ORDER, SacctRow, sacct_fields
from ..fields.step_usage import NO_USAGE, shown_usage
from ..report_context import ReportContext
from .print_fields import Column, TableStyle, columns_of, default_format, table_pieces

DEFAULT = default_format("sacct_fields", "default")
BRIEF = default_format("sacct_fields", "brief")
LONG = default_format("sacct_fields", "long")


def accounting_order(jobs: Iterable[Job]) -> list[Job]:
    """Sort jobs as sacct does: by submit time. Within a second arrays are last, with elements by index."""
    return sorted(
        jobs,
        key=lambda job: (
            int(job.submit_time),
            job.array_job_id,
            NO_VAL if job.array_task_id is None else job.array_task_id,
            job.job_id,
        ),
    )


def records(
    jobs: Iterable[Job], allocations: bool = False, each: bool = False, only_steps: Container[int] = ()
) -> Iterator[SacctRow]:
    """Rows of jobs, each followed by its steps.

    ``allocations`` (-X) omits the steps. .batch and .extern are first. ``each`` (--array) expands arrays.
    ``only_steps``: ids of jobs that get rows for their steps only.
    """
    for job in accounting_order(jobs):
        if each and job.pending_tasks and job.array_task_id is None:
            for part in job.pending_tasks:
                yield from (SacctRow(job, None, index) for index in part)
            continue
        if job.job_id not in only_steps:
            yield SacctRow(job)
        if not allocations:
            steps = sorted(job.steps.values(), key=lambda step: STEP_ORDER.get(step.step_id) or int(step.step_id))
            for step in steps:
                yield SacctRow(job, step, None, shown_usage(step) if step.state.finished else NO_USAGE)


def sacct_columns(text: str, context: ReportContext) -> list[Column[SacctRow]]:
    """Columns of a --format text.

    BRIEF, DEFAULT and LONG are the formats of -b, of no option, and of -l. Raises InvalidField.
    """
    return columns_of(text, "sacct_fields", sacct_fields(context), zero=True)


def sacct_pieces(
    jobs: Iterable[Job],
    columns: Sequence[Column[SacctRow]],
    context: ReportContext,
    style: TableStyle,
    allocations: bool = False,
    each: bool = False,
    only_steps: Container[int] = (),
) -> Iterator[str]:
    """Text that sacct prints for these jobs, line by line."""
    return table_pieces(columns, records(jobs, allocations, each, only_steps), style, shared_key(context))


def shared_key(context: ReportContext) -> Callable[[SacctRow], Hashable]:
    """Key function: equal keys mean equal values in shared fields."""
    classes = context.record_classes

    def kind(record: SacctRow) -> Hashable:
        return classes.of(record.job) if record.step is None else classes.of_step(record.job, record.step)

    return kind
