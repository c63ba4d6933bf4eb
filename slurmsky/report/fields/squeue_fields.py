"""Fields of squeue: readers of values of jobs and steps.

Each function of squeue's print.c is an entry in the tables below. Values of a job that other commands also print are
rows of the registry (``job_values``), by name and form.

Source: print.c of squeue.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from functools import cache
from operator import attrgetter
from typing import Callable, NamedTuple, Optional, TypeVar

from slurmsky.model.job import Job, Step
from slurmsky.model.spec import INFINITE
from slurmsky.model.states import JobFlag, JobState

from ..report_context import ReportContext
from ..text.columns import Field
from ..text.units import null_if_empty, short_duration
from . import derived, tres_texts
from .field_tables import table
from .job_values import fields_of, row_reader
from .text_forms import text_forms
from .value_registry import FieldRow

# squeue's FORMAT_STRING_SIZE is 32, so ids are cut, for example "1976_[1-3,10-12,20,30,40,50,60,".
ID_LENGTH = 31
PRIORITY_TOP = 0xFFFFFFFF

# States in which NODELIST(REASON) shows the reason instead of nodes.
REASON_STATES = frozenset(
    {JobState.PENDING, JobState.TIMEOUT, JobState.OUT_OF_MEMORY, JobState.DEADLINE, JobState.FAILED}
)


class JobRow(NamedTuple):
    """Line of squeue: a job, or elements of an array.

    ``task_id`` is one element. ``tasks`` is the text in the brackets for a pending rest, and ``reason`` is joined over
    merged elements. ``partition`` and ``priority`` are separate from the job because --priority shows a job once per
    partition, with that partition's ``tier``.
    """

    job: Job
    partition: str
    priority: int
    reason: str
    tasks: Optional[str] = None
    task_id: Optional[int] = None
    tier: int = 0


class StepRow(NamedTuple):
    """A line of squeue --steps: a step and its job."""

    job: Job
    step: Step


Row = TypeVar("Row")
JobValue = Callable[[JobRow], str]
StepValue = Callable[[StepRow], str]


def job_fields(context: ReportContext) -> Mapping[str, Field[JobRow]]:
    """Job fields by letter and by lower-case long name."""
    return _Fields("job", _job_value(context), UNCUT_JOB, _own_job_fields())


def step_fields(context: ReportContext) -> Mapping[str, Field[StepRow]]:
    """Step fields by letter and by lower-case long name."""
    return _Fields("step", _step_values(context).__getitem__, UNCUT_STEP)


# fields whose right-justified values and headers are never cut
UNCUT_JOB = {
    "nodelist": (False, False),
    "reqnodes": (False, True),
    "excnodes": (False, True),
    "schednodes": (False, False),
    "reasonlist": (False, False),
    "timeleft": (False, True),
    "timelimit": (False, True),
    "timeused": (False, True),
}
# in NODELIST(REASON) a reason is cut, nodes are not
SIZED: dict[str, Callable[[int], Callable[..., str]]] = {"reasonlist": lambda width: _cut_reason(width)}
#: times that are never cut, although a word in the same field is
_CUT_WORD = ("timelimit", "timeleft")
UNCUT_STEP = {"nodes": (False, False), "timelimit": (False, True), "timeused": (False, True)}


#: fields of a row that differ between jobs of one record class
_OWN_ROW_FIELDS = frozenset(
    ("arraytaskid", "jobarrayid", "partition", "priority", "prioritylong", "reason", "reasonlist",
     "stderr", "stdin", "stdout")
)  # fmt: skip


#: relative cost of shared fields that need more than reading the record
_COSTLY = {"tres": 12, "tres-alloc": 12, "reqnodes": 4, "excnodes": 4, "timelimit": 3}


@cache
def _rows(record: str) -> dict[str, dict[str, str]]:
    """Table rows of a record's fields, by letter and long name."""
    rows = [row for row in table("squeue_fields") if row["record"] == record]
    return {
        **{row["letter"]: row for row in reversed(rows) if row["letter"]},
        **{row["name"].lower(): row for row in rows},
    }


class _Fields(Mapping[str, Field[Row]]):
    """Fields of one kind of record, created on demand. Most formats name few fields."""

    def __init__(
        self,
        record: str,
        value: Callable[[str], Callable[[Row], str]],
        uncut: dict[str, tuple[bool, bool]],
        own: Optional[Container[str]] = None,
    ) -> None:
        self._record, self._value, self._uncut, self._own = record, value, uncut, own

    def __getitem__(self, key: str) -> Field[Row]:
        row = _rows(self._record)[key]
        name = row["name"].lower()
        value = self._value(name)
        cut, cut_header = self._uncut.get(name, (True, True))
        shared = 0 if self._own is None or name in self._own else _COSTLY.get(name, 1)
        sized = _cut_word(value) if name in _CUT_WORD else SIZED.get(name)
        # as in squeue, whose header of a step's start is wrong
        left = self._record == "step" and name == "starttime"
        return Field(row["header"], value, cut, cut_header, sized, shared, left)

    def __iter__(self) -> Iterator[str]:
        return iter(_rows(self._record))

    def __len__(self) -> int:
        return len(_rows(self._record))


def row_id(row: JobRow, bitstr_len: Optional[int] = None) -> str:
    """JOBID: ``7``, ``7_3``, ``7_[4-9%2]``, ``7+1``."""
    job = row.job
    if row.tasks is not None:
        text = "%d_[%s]" % (job.array_job_id, row.tasks)
        return text[:ID_LENGTH] if bitstr_len is None else text
    if row.task_id is not None:
        return "%d_%d" % (job.array_job_id, row.task_id)
    if job.het_job_id:
        return "%d+%d" % (job.het_job_id, job.het_offset)
    return str(job.job_id)


def nodes_or_reason(row: JobRow) -> str:
    """NODELIST(REASON) of a row."""
    job = row.job
    if JobFlag.COMPLETING not in job.flags and (job.state in REASON_STATES or JobFlag.STAGE_OUT in job.flags):
        return "(%s)" % row.reason
    return derived.node_list(job.nodes)


def _cut_reason(width: int) -> JobValue:
    def value(row: JobRow) -> str:
        text = nodes_or_reason(row)
        return text[:width] if text.startswith("(") else text

    return value if width > 0 else nodes_or_reason


def _cut_word(value: Callable[[Row], str]) -> Callable[[int], Callable[[Row], str]]:
    def sized(width: int) -> Callable[[Row], str]:
        def cut(row: Row) -> str:
            text = value(row)
            return text[:width] if text == "UNLIMITED" else text

        return cut if width > 0 else value

    return sized


def _always(text: str) -> Callable[..., str]:
    return lambda row: text


@cache
def _own_job_fields() -> frozenset[str]:
    return _OWN_ROW_FIELDS.union(field.name for field in fields_of("squeue") if field.own)


def _job_value(context: ReportContext) -> Callable[[str], JobValue]:
    """Factory of a field's value function.

    The function comes from the registry of a job's values, or reads the row beside its job.
    """
    row_values, forms = _row_values(context), text_forms(context)

    def value(name: str) -> JobValue:
        if name in row_values:
            return row_values[name]
        field = _registry()[name]
        return row_reader(field.value, context, forms.get(field.form))

    return value


@cache
def _registry() -> dict[str, FieldRow]:
    return {field.name: field for field in fields_of("squeue")}


def _row_values(context: ReportContext) -> dict[str, JobValue]:
    def path(pattern: Callable[[Job], str]) -> JobValue:
        if context.expand_patterns:
            return lambda row: derived.expand_path(pattern(row.job), row.job)
        return lambda row: null_if_empty(pattern(row.job))

    return {
        "arraytaskid": lambda row: (
            row.tasks if row.tasks is not None else "N/A" if row.task_id is None else str(row.task_id)
        ),
        "jobarrayid": lambda row: row_id(row, context.bitstr_len),
        "partition": lambda row: row.partition,
        "priority": lambda row: "%16.14f" % (row.priority / PRIORITY_TOP),
        "prioritylong": lambda row: str(row.priority),
        "reason": lambda row: row.reason,
        "reasonlist": nodes_or_reason,
        "sct": lambda row: ":".join(derived.or_star(value) for value in _ask_sct(row)),
        "stderr": path(derived.stderr_pattern),
        "stdin": path(lambda job: job.stdin),
        "stdout": path(lambda job: job.stdout),
    }


_ask_sct = attrgetter("job.spec.sockets_per_node", "job.spec.cores_requested", "job.spec.threads_requested")


def step_seconds(step: Step, now: float) -> int:
    """Run time of a step in seconds, without suspension."""
    return int((step.end_time or now) - step.start_time - step.suspended_s) if step.start_time else 0


def step_id_text(job: Job, step: Step) -> str:
    """Step id: ``7.0``, ``7.batch``, ``7_3.0``."""
    if job.array_job_id:
        return "%d_%d.%s" % (job.array_job_id, job.array_task_id or 0, step.step_id)
    return "%d.%s" % (job.job_id, step.step_id)


def _step_values(context: ReportContext) -> dict[str, StepValue]:
    clock, now = context.clock, context.now

    def time_limit(row: StepRow) -> str:
        minutes = row.step.time_limit_min
        return "UNLIMITED" if minutes is None or minutes == INFINITE else short_duration(minutes * 60)

    def cpu_freq(row: StepRow) -> str:
        word = "0" if row.step.step_id in ("batch", "interactive", "extern") else "Unknown"
        return "%s-%s:%s" % (word, word, word)

    def task_id(row: StepRow) -> str:
        return "N/A" if row.job.array_task_id is None else str(row.job.array_task_id)

    null = _always("(null)")
    blank = _always("")

    def per_node(row: StepRow) -> str:
        return tres_texts.step_tres_per_node(row.step)

    def per_step(row: StepRow) -> str:
        return tres_texts.step_tres_per_step(row.step)

    return {
        "arrayjobid": lambda row: str(row.job.array_job_id),
        "arraytaskid": task_id,
        "cluster": lambda row: row.job.cluster,
        "container": lambda row: null_if_empty(row.step.container),
        "containerid": null,
        "cpufreq": cpu_freq,
        "cpus-per-tres": null,
        "gres": per_node,
        "jobid": lambda row: str(row.step.job_id),
        "mem-per-tres": null,
        "network": null,
        "nodes": lambda row: derived.node_list(row.step.nodes),
        "numcpus": lambda row: str(tres_texts.step_cpus_shown(row.step)),
        "numtasks": lambda row: str(row.step.ntasks),
        "partition": lambda row: row.job.partition,
        "resvports": null,
        "starttime": lambda row: clock.or_na(row.step.start_time),
        "stderr": blank,
        "stdin": blank,
        "stdout": blank,
        "stepid": lambda row: step_id_text(row.job, row.step)[:ID_LENGTH],
        "stepname": lambda row: row.step.name,
        "stepstate": lambda row: row.step.state.name,
        "timelimit": time_limit,
        "timeused": lambda row: short_duration(step_seconds(row.step, now)),
        "tres-bind": null,
        "tres-freq": null,
        "tres-per-job": per_step,
        "tres-per-node": per_node,
        "tres-per-socket": null,
        "tres-per-step": per_step,
        "tres-per-task": null,
        "userid": lambda row: str(row.job.uid),
        "username": lambda row: row.job.user,
    }
