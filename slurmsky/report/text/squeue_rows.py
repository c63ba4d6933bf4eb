"""squeue: rows from job records, their order, and the text.

rows = job_rows(jobs, context) layout, unknown = job_layout(context, names=DEFAULT) text = squeue_text(rows, layout,
context)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Callable, Optional

from slurmsky.language.arrayspec import format_indices
from slurmsky.model.job import Job
from slurmsky.model.spec import INFINITE, NO_VAL
from slurmsky.model.states import JobState

from ..fields import derived
from ..fields.squeue_fields import JobRow, StepRow, job_fields, step_fields
from ..report_context import ReportContext
from .columns import Layout, Row, layout_of

# Default formats with long names, as since 21.08 (squeue.c); --start and --steps still use letters.
DEFAULT = "jobarrayid:.18 ,partition:.9 ,name:.8 ,username:.8 ,statecompact:.2 ,timeused:.10 ,numnodes:.6 ,reasonlist:0"
LONG = (
    "jobarrayid:.18 ,partition:.9 ,name:.8 ,username:.8 ,state:.8 ,timeused:.10 ,timelimit:.9 ,numnodes:.6 ,"
    "reasonlist:0"
)
START = "%.18i %.9P %.8j %.8u %.2t %.19S %.6D %20Y %R"
ONLY_STATE = "%.18i %.2t"
STEPS = "%.15i %.8j %.9P %.8u %.9M %N"
JOB_SORT = "P,t,-p"
START_SORT = "S"
STEP_SORT = "P,i"


class InvalidSort(ValueError):
    """Error for an unknown sort key. The text is squeue's message below the header; the exit code is 1."""

    def __init__(self, letter: str) -> None:
        super().__init__("Invalid sort specification: " + letter)
        self.letter = letter


# --- rows ------------------------------------------------------------------------------------------------


def job_rows(
    jobs: Iterable[Job], context: ReportContext, each: bool = False, per_partition: bool = False
) -> Iterator[JobRow]:
    """Rows in the order of the records.

    A pending array is one row, which includes requeued elements with their own record, unless ``each`` (--array) is
    given. ``per_partition`` (--priority): one row for every partition that a pending job names.
    """
    for job, tasks, reason in _merged(jobs, context, each):
        for partition, tier in _partitions(job, context) if per_partition else ((derived.partition(job), 0),):
            yield JobRow(job, partition, job.priority, reason, tasks, job.array_task_id, tier)


def elements(rows: Iterable[JobRow]) -> Iterator[JobRow]:
    """Split the pending rest of arrays into elements (--array).

    squeue splits while it prints, so an array's elements stay adjacent and ascending in any sort order.
    """
    for row in rows:
        if row.tasks is None:
            yield row
            continue
        for part in row.job.pending_tasks:
            for index in part:
                yield row._replace(tasks=None, task_id=index)


def _partitions(job: Job, context: ReportContext) -> Iterator[tuple[str, int]]:
    for name in derived.partition(job).split(","):
        partition = context.cluster.partition(name)
        yield name, partition.priority_tier if partition else 1


def _merged(jobs: Iterable[Job], context: ReportContext, each: bool) -> Iterator[tuple[Job, Optional[str], str]]:
    jobs = list(jobs)
    waiting = JobState.PENDING
    rests = (
        {}
        if each
        else {
            (job.array_job_id, job.name, job.partition): job
            for job in jobs
            if job.pending_tasks and job.state is waiting
        }
    )
    if not each:
        # An engine that creates nodes gives every element a record; the first pending element represents the rest.
        for job in jobs:
            if job.awaits_nodes and job.array_task_id is not None and job.state is waiting:
                rests.setdefault((job.array_job_id, job.name, job.partition), job)
    joined: dict[int, list[Job]] = {}
    gone: set[int] = set()
    if rests:
        for job in jobs:
            if job.array_task_id is not None and job.state is waiting:
                rest = rests.get((job.array_job_id, job.name, job.partition))
                if rest is not None and rest is not job:
                    joined.setdefault(id(rest), []).append(job)
                    gone.add(id(job))
    for job in jobs:
        if id(job) in gone:
            continue
        members = joined.get(id(job))
        if members:
            yield job, _joined_tasks(job, members, context.bitstr_len), _joined_reason(job, members)
        else:
            yield job, derived.shown_tasks(job, context), derived.reason(job)


def _joined_tasks(job: Job, members: Sequence[Job], bitstr_len: Optional[int]) -> str:
    indices = {index for part in job.pending_tasks for index in part}
    indices.update(one.array_task_id for one in (job, *members) if one.array_task_id is not None)
    # The client formats this list again, without the %LIMIT (print.c _combine_pending_array_tasks).
    return format_indices(sorted(indices), None, -1 if bitstr_len is None else bitstr_len)


def _joined_reason(job: Job, members: Sequence[Job]) -> str:
    text = derived.reason(job)
    for member in members:
        if member.reason != job.reason and member.reason not in text:
            text += "," + member.reason
    return text


def step_rows(jobs: Iterable[Job]) -> Iterator[StepRow]:
    """Running steps of the jobs, in Slurm's order of steps."""
    for job in jobs:
        if not job.steps:
            continue
        for step in sorted(job.steps.values(), key=lambda step: derived.step_order(step.step_id)):
            if not step.state.finished and step.state is not JobState.PENDING:
                yield StepRow(job, step)


# --- order -----------------------------------------------------------------------------------------------


def _id_key(row: JobRow) -> tuple[int, int]:
    job = row.job
    if job.het_job_id:
        return job.het_job_id, job.het_offset
    return (job.job_id, NO_VAL) if row.task_id is None else (job.array_job_id, row.task_id)


def host_key(names: Sequence[str]) -> tuple[str, int, str]:
    """Sort key that orders n2 before n10. Rows without a node come first."""
    if not names:
        return "", -1, ""
    first = names[0]
    stem = first.rstrip("0123456789")
    return stem, int(first[len(stem) :] or "-1"), first


def _spec_key(name: str) -> Callable[[JobRow], int]:
    def key(row: JobRow) -> int:
        value = getattr(row.job.spec, name)
        return 0xFFFE if value is None else int(value)

    return key


def _job_keys(context: ReportContext) -> dict[str, Optional[Callable[[JobRow], Any]]]:
    now = context.now

    def time_left(row: JobRow) -> int:
        limit = context.time_limit(row.job)
        return INFINITE if limit == INFINITE else limit * 60 - derived.run_seconds(row.job, now)

    sockets, cores = map(_spec_key, ("sockets_per_node", "cores_requested"))

    def threads(row: JobRow) -> int:
        return row.job.spec.threads_requested or 0xFFFE

    def priority(row: JobRow) -> tuple[int, int]:
        return row.tier, row.priority

    return {
        "B": lambda row: row.job.batch_host,
        "C": lambda row: row.job.num_cpus,
        "d": lambda row: row.job.spec.tmp_mib or 0,
        "D": lambda row: row.job.num_nodes,
        "e": lambda row: row.job.end_time,
        "g": lambda row: row.job.group,
        "G": lambda row: row.job.gid,
        "H": sockets,
        "i": _id_key,
        "I": cores,
        "j": lambda row: row.job.name,
        "J": threads,
        "l": lambda row: context.time_limit(row.job),
        "L": time_left,
        "m": lambda row: derived.min_memory(row.job.spec)[1],
        "M": lambda row: derived.run_seconds(row.job, now),
        "p": priority,
        "P": lambda row: row.partition,
        "Q": priority,
        "t": lambda row: derived.state_words(row.job)[1],
        "T": lambda row: derived.state_words(row.job)[0],
        "u": lambda row: row.job.user,
        "U": lambda row: row.job.uid,
        "v": lambda row: row.job.spec.reservation or "",
        "V": lambda row: int(row.job.submit_time),
        "z": lambda row: (sockets(row), cores(row), threads(row)),
        # accepted without effect
        "b": None,
        "c": None,
        "f": None,
        "h": None,
        "n": None,
        "O": None,
    }


def _step_keys(context: ReportContext) -> dict[str, Optional[Callable[[StepRow], Any]]]:
    return {
        "i": lambda row: (row.step.job_id, derived.step_order(row.step.step_id)),
        "l": lambda row: INFINITE if row.step.time_limit_min is None else row.step.time_limit_min,
        "M": lambda row: context.now - row.step.start_time,
        "N": lambda row: host_key(row.step.nodes),
        "P": lambda row: row.job.partition,
        "S": lambda row: row.step.start_time,
        "u": lambda row: row.job.user,
        "U": lambda row: row.job.uid,
    }


def sort_keys(spec: str) -> Iterator[tuple[str, bool]]:
    """Keys of a sort text in reverse order, with "descending".

    The caller sorts stably by each key in turn. Each character is a key, and a ``-`` directly before it reverses the
    order. "cluster" is one key.
    """
    at = len(spec) - 1
    while at >= 0:
        letter = spec[at]
        if letter in ",+-":
            at -= 1
            continue
        if spec[: at + 1].lower().endswith("cluster"):
            at -= 6
            letter = "cluster"
        yield letter, at > 0 and spec[at - 1] == "-"
        at -= 1


def _by_start(rows: list[JobRow], now: float, descending: bool) -> list[JobRow]:
    # Slurm's comparison calls any two jobs without a start time "out of order", so that its merge sort reverses their
    # order each time; they follow the other jobs either way (sort.c _sort_job_by_time_start).
    def start(row: JobRow) -> float:
        job = row.job
        return max(int(job.start_time), int(now)) if job.state is JobState.PENDING else int(job.start_time)

    known = [row for row in rows if row.job.start_time]
    known.sort(key=start, reverse=descending)
    return known + [row for row in rows if not row.job.start_time][::-1]


def _by_nodes(rows: list[JobRow], descending: bool) -> list[JobRow]:
    # As for the start time, two jobs without nodes are always "out of order" (sort.c _sort_job_by_node_list).
    placed = sorted((row for row in rows if row.job.nodes), key=lambda row: host_key(row.job.nodes), reverse=descending)
    waiting = [row for row in rows if not row.job.nodes]
    return waiting + placed if descending else placed + waiting[::-1]


def sort_jobs(rows: Iterable[JobRow], context: ReportContext, spec: str = JOB_SORT) -> list[JobRow]:
    """Sort rows as squeue does. ``spec`` is -S or SQUEUE_SORT. Raises InvalidSort."""
    ordered = _by_start(list(rows), context.now, True)
    keys = _job_keys(context)
    for letter, descending in sort_keys(spec):
        if letter == "S":
            ordered = _by_start(ordered, context.now, descending)
        elif letter == "N":
            ordered = _by_nodes(ordered, descending)
        elif letter == "cluster":
            ordered.sort(key=lambda row: row.job.cluster, reverse=descending)
        elif letter not in keys:
            raise InvalidSort(letter)
        else:
            key = keys[letter]
            if key is not None:
                ordered.sort(key=key, reverse=descending)
    return ordered


def sort_steps(rows: Iterable[StepRow], context: ReportContext, spec: str = STEP_SORT) -> list[StepRow]:
    """Sort steps as squeue does; ignore keys that steps lack."""
    return sorted_by(rows, _step_keys(context), sort_keys(spec))


def sorted_by(
    rows: Iterable[Row], keys: Mapping[str, Optional[Callable[[Row], Any]]], order: Iterable[tuple[str, bool]]
) -> list[Row]:
    """Sort by several (letter, descending), the last one takes precedence; letters without a key are ignored."""
    ordered = list(rows)
    for letter, descending in order:
        key = keys.get(letter)
        if key is not None:
            ordered.sort(key=key, reverse=descending)
    return ordered


# --- text ------------------------------------------------------------------------------------------------


def job_layout(
    context: ReportContext, letters: Optional[str] = None, names: Optional[str] = None
) -> tuple[Layout[JobRow], list[str]]:
    """Layout of a ``-o`` or ``-O`` text, and its unknown fields.

    squeue prints ``squeue: error: Invalid job format specification: X`` for each unknown field, and continues.
    """
    return layout_of(job_fields(context), letters, DEFAULT if names is None else names)


def step_layout(
    context: ReportContext, letters: Optional[str] = None, names: Optional[str] = None
) -> tuple[Layout[StepRow], list[str]]:
    """Layout of --steps, and its unknown fields.

    squeue prints ``Invalid job step format specification: X`` for each unknown field.
    """
    return layout_of(step_fields(context), letters if letters is not None or names else STEPS, names or "")


def squeue_text(
    rows: Sequence[JobRow],
    layout: Layout[JobRow],
    context: ReportContext,
    header: bool = True,
    date_line: bool = False,
    sort: str = JOB_SORT,
    each: bool = False,
) -> str:
    """Text that squeue prints for ``job_rows``.

    ``date_line`` is the first line of -l, ``each`` is --array. Raises InvalidSort.
    """
    lines = squeue_lines(rows, layout, context, header, date_line, sort, each)
    return "".join([line + "\n" for line in lines])


def squeue_lines(
    rows: Sequence[JobRow],
    layout: Layout[JobRow],
    context: ReportContext,
    header: bool = True,
    date_line: bool = False,
    sort: str = JOB_SORT,
    each: bool = False,
) -> Iterator[str]:
    """Yield the lines of ``squeue_text`` without newlines. An array may have 10^6 elements. Raises InvalidSort."""
    ordered = sort_jobs(rows, context, sort)
    return _lines(ordered, layout, context, header, date_line, each)


def _lines(
    ordered: list[JobRow], layout: Layout[JobRow], context: ReportContext, header: bool, date_line: bool, each: bool
) -> Iterator[str]:
    if date_line and header:
        yield context.clock.date_line()
    if header:
        yield layout.header()
    for rest, together in groupby(ordered, lambda row: each and row.tasks is not None):
        if not rest:
            yield from layout.lines(together, lambda row: context.record_classes.of(row.job))
            continue
        for row in together:
            indices = [index for part in row.job.pending_tasks for index in (part[0], part[-1])]
            # Probe the first, a middle and the last element, since their digits differ.
            probes = [row._replace(tasks=None, task_id=index) for index in (*indices[:8], *indices[-8:])]
            yield from layout.similar_lines(probes, elements([row]))


def squeue_steps_text(
    rows: Sequence[StepRow], layout: Layout[StepRow], context: ReportContext, header: bool = True, sort: str = STEP_SORT
) -> str:
    """Text that squeue --steps prints."""
    return layout.text(sort_steps(rows, context, sort), header)
