"""Fields of sacct: readers of values of jobs and steps.

A field of jobs only, or of steps only, is None in the other's row. Source of every rule: print.c of sacct.
"""

from __future__ import annotations

from typing import Any, Callable, NamedTuple, Optional

from slurmsky.language.sluid import sluid
from slurmsky.model.job import Job, Step
from slurmsky.model.spec import INFINITE
from slurmsky.model.states import JobFlag, JobState

from ..report_context import ReportContext
from ..text.print_fields import DATE, NUMBER, TEXT, PrintField
from ..text.spending import cost_text
from ..text.units import MEGA, Clock, amount, cpu_duration, exit_pair, format_minutes, format_seconds
from . import derived, limit_cells, tres_texts
from .job_values import fields_of, row_reader
from .step_usage import NO_USAGE, usage_fields
from .value_registry import FieldRow


class SacctRow(NamedTuple):
    """Row of sacct: a job or a step. ``task_id`` is an element of an array's pending rest (--array)."""

    job: Job
    step: Optional[Step] = None
    task_id: Optional[int] = None
    #: usage that the row shows; sstat shows that of a running step
    usage: Any = NO_USAGE


#: states in which a signal is the exit code of the batch step but not of the job
KILLED = (JobState.CANCELLED, JobState.TIMEOUT)


#: AssocID of the queue's only association, which belongs to the queue's user
ASSOCIATION = "0"


STEP_ORDER = {"batch": -3, "extern": -2, "interactive": -1}


def job_id(record: SacctRow) -> str:
    """JobID of a row, such as ``7_3.batch``."""
    job = record.job
    if record.task_id is not None:
        text = "%d_%d" % (job.array_job_id, record.task_id)
    else:
        text = derived.job_id_text(job)
    return text + "." + record.step.step_id if record.step else text


def ever_had_nodes(job: Job) -> bool:
    """Return whether the job ever had nodes. A planned start does not count."""
    return bool(job.shares) and (job.state is not JobState.PENDING or has_ended(job))


def has_ended(job: Job) -> bool:
    """Return whether this run has ended, also by a requeue."""
    return job.state.finished or (job.state is JobState.PENDING and JobFlag.REQUEUED in job.flags)


def elapsed(record: SacctRow, now: float) -> int:
    """Seconds of run time without suspension."""
    step, job = record.step, record.job
    if step is not None:
        end = step.end_time or (job.suspend_time if job.state is JobState.SUSPENDED else 0) or now
        return max(int(end) - int(step.start_time) - int(step.suspended_s), 0) if step.start_time else 0
    return derived.run_seconds(job, now) if ever_had_nodes(job) else 0


def accounted_reason(job: Job) -> str:
    """Reason for which the job waited before it started, or for which it never ran."""
    known = ever_had_nodes(job) or job.blocked_reason == "JobLaunchFailure"
    return job.blocked_reason or "None" if known else "None"


def cpus(record: SacctRow) -> int:
    """Allocated CPUs; none before the start."""
    if record.step:
        return record.step.cpus
    return record.job.num_cpus if ever_had_nodes(record.job) else 0


def state(record: SacctRow) -> str:
    """State, with the user who cancelled the job."""
    shown = record.step or record.job
    # slurmdbd stores the base state, and of the flags only that a run was requeued.
    job = record.job
    requeued = record.step is None and JobFlag.REQUEUED in job.flags
    word = "REQUEUED" if requeued else (record.step or job).state.name
    if shown.state is JobState.CANCELLED and shown.cancelled_by is not None:
        return "%s by %d" % (word, shown.cancelled_by)
    if record.step is not None and record.job.state is JobState.SUSPENDED and not record.step.state.finished:
        return "SUSPENDED"
    return word


def _tres_sorted(parts: list[tuple[str, str]]) -> Optional[str]:
    # sacct sorts by TRES id, scontrol does not (slurmdb_make_tres_string_from_simple)
    return tres_texts.tres(sorted(parts)) or None


def _scaled(parts: list[tuple[str, str]], memory_mib: int, context: ReportContext) -> list[tuple[str, str]]:
    return [(name, amount(memory_mib, MEGA, context.scale) if name == "mem" else value) for name, value in parts]


def _time_limit(record: SacctRow, form: Callable[[int], str]) -> Optional[str]:
    if record.step is not None:
        limit = record.step.time_limit_min
        return None if limit is None or limit == INFINITE else form(limit)
    job = record.job
    limit = job.time_limit_min
    # A job that was held until now, or until it was cancelled, has not received the partition's time limit.
    held = not ever_had_nodes(job) and not job.priority and job.spec.time_limit_min is None
    if limit is None or held:
        return "Partition_Limit"
    return "UNLIMITED" if limit == INFINITE else form(limit)


def _flags(record: SacctRow) -> Optional[str]:
    if record.step is not None:
        return None
    scheduled = ["SchedMain" if record.job.sched_main else "SchedBackfill"] if ever_had_nodes(record.job) else []
    return ",".join([*scheduled, "StartReceived"])


def _start(job: Job, clock: Clock) -> str:
    if ever_had_nodes(job):
        return clock.text(job.start_time)
    return "None" if has_ended(job) else "Unknown"


def planned_seconds(job: Job, now: float) -> int:
    """Seconds between eligible time and start, or until now."""
    if not job.eligible_time:
        return 0
    end = job.start_time if ever_had_nodes(job) else job.end_time if has_ended(job) else now
    return int(end) - int(job.eligible_time)


def _of_job(value: Callable[[Job], Optional[str]]) -> Callable[[SacctRow], Optional[str]]:
    return lambda record: (value(record.job) or None) if record.step is None else None


def _nothing(record: SacctRow) -> None:
    return None


def _cpu(value: Callable[[Step], float]) -> Callable[[SacctRow], Optional[str]]:
    def text(record: SacctRow) -> Optional[str]:
        steps = [record.step] if record.step else list(record.job.steps.values())
        # sstat shows the usage of a running step; the accounting has none yet.
        return cpu_duration(sum(value(step) for step in steps if step.state.finished))

    return text


def _step_path(record: SacctRow, pattern: Callable[[Job], str], context: ReportContext) -> Optional[str]:
    if record.step is not None:
        return None
    text = pattern(record.job)
    return derived.expand_path(text, record.job) if context.expand_patterns else text or None


#: fields below that differ between rows of one record class; all other fields are shared
OWN_FIELDS = frozenset((
    "cost", "cputime", "cputimeraw", "elapsed", "elapsedraw", "eligible", "end", "jobid", "jobidraw", "jobname",
    "planned", "plannedcpu", "plannedcpuraw", "sluid", "start", "stderr", "stdin", "stdout", "submit", "submitline",
    "suspended", "systemcpu", "timelimit", "timelimitraw", "totalcpu", "usercpu",
))  # fmt: skip

#: forms of the registry of a job's values: kind of the cell, and its text; "each" also in rows of steps
_FORMS: dict[str, tuple[str, Callable[[Any], Optional[str]]]] = {
    "each": (TEXT, lambda value: value or None),
    "each_number": (NUMBER, str),
    "nonzero": (NUMBER, lambda value: str(value) if value else None),
    "number": (NUMBER, str),
    "text": (TEXT, lambda value: value or None),
}


#: fields of a job that sum over its steps
STEP_SUMS = frozenset(("systemcpu", "totalcpu", "usercpu"))


def sacct_fields(context: ReportContext) -> dict[str, PrintField[SacctRow]]:
    """Fields of sacct by name in lower case."""
    fields: dict[str, PrintField[SacctRow]] = {}
    for kind, values in ((TEXT, _texts(context)), (NUMBER, _numbers(context)), (DATE, _dates(context.clock))):
        fields.update({name: PrintField(kind, value, name not in OWN_FIELDS) for name, value in values.items()})
    for row in fields_of("sacct"):
        fields[row.name] = PrintField(_FORMS[row.form][0], _job_value(row, context), not row.own)
    fields.update(usage_fields(context.scale, sacct=True))
    return fields


def _job_value(row: FieldRow, context: ReportContext) -> Callable[[SacctRow], Optional[str]]:
    value = row_reader(row.value, context, _FORMS[row.form][1])
    return value if row.form.startswith("each") else lambda record: value(record) if record.step is None else None


Values = dict[str, Callable[[SacctRow], Optional[str]]]


def _dates(clock: Clock) -> Values:
    def moment(job_value: Callable[[Job], str], step_value: Callable[[Step], float]) -> Any:
        return lambda record: clock.text(step_value(record.step)) if record.step else job_value(record.job)

    return {
        "eligible": moment(lambda job: clock.text(job.eligible_time), lambda step: step.start_time),
        "end": moment(lambda job: clock.text(job.end_time if has_ended(job) else 0), lambda step: step.end_time),
        "start": moment(lambda job: _start(job, clock), lambda step: step.start_time),
        "submit": moment(lambda job: clock.text(job.submit_time), lambda step: step.start_time),
    }


def _numbers(context: ReportContext) -> Values:
    now = context.now
    count = {"alloccpus": lambda record: str(cpus(record))}

    def time_of(seconds: Callable[[SacctRow], int]) -> Callable[[SacctRow], str]:
        return lambda record: format_seconds(seconds(record))

    def cpu_seconds(record: SacctRow) -> int:
        return elapsed(record, now) * cpus(record)

    def waited(form: Callable[[int], str], times_cpus: bool) -> Callable[[SacctRow], Optional[str]]:
        return _of_job(
            lambda job: form(planned_seconds(job, now) * (tres_texts.requested_cpus(job) if times_cpus else 1))
        )

    def nodes(record: SacctRow) -> str:
        if record.step is not None:
            return str(len(record.step.nodes))
        job = record.job
        return str(len(job.shares) if ever_had_nodes(job) else derived.min_nodes_requested(job.spec))

    def suspended(record: SacctRow) -> int:
        job = record.job
        running = int(now - job.suspend_time) if job.state is JobState.SUSPENDED else 0
        return int(record.step.suspended_s if record.step else job.suspended_s) + running

    values: Values = {
        "alloccpus": count["alloccpus"],
        "associd": lambda record: ASSOCIATION,
        "consumedenergyraw": lambda record: "0",
        "cost": _of_job(cost_text),
        "cputime": time_of(cpu_seconds),
        "cputimeraw": lambda record: str(cpu_seconds(record)),
        "elapsed": time_of(lambda record: elapsed(record, now)),
        "elapsedraw": lambda record: str(elapsed(record, now)),
        "ncpus": count["alloccpus"],
        "nnodes": nodes,
        "ntasks": lambda record: str(record.step.ntasks) if record.step else None,
        "planned": waited(format_seconds, False),
        "plannedcpu": waited(format_seconds, True),
        "plannedcpuraw": waited(str, True),
        "qosraw": _of_job(lambda job: str(limit_cells.number(context.cluster, job.qos))),
        "reason": _of_job(accounted_reason),
        "reqcpus": lambda record: str(record.step.cpus if record.step else tres_texts.requested_cpus(record.job)),
        "reservationid": _nothing,
        "suspended": time_of(suspended),
    }
    return values


def _texts(context: ReportContext) -> Values:
    def alloc_tres(record: SacctRow) -> Optional[str]:
        if record.step is not None:
            memory = record.step.memory_mib if context.consumes_memory else 0
            return _tres_sorted(_scaled(tres_texts.step_tres(record.step, context), memory, context))
        if not ever_had_nodes(record.job):
            return None
        memory = sum(share.memory_mib for share in record.job.shares)
        return _tres_sorted(_scaled(tres_texts.allocated(record.job, context), memory, context))

    def node_names(record: SacctRow) -> str:
        names = record.step.nodes if record.step else record.job.nodes
        return derived.node_list(names) or "None assigned"

    def nodes_requested(record: SacctRow) -> str:
        return amount(len(record.step.nodes) if record.step else derived.min_nodes_requested(record.job.spec))

    def req_tres(job: Job) -> Optional[str]:
        memory_mib = tres_texts.requested_memory_mib(job, context)
        return _tres_sorted(_scaled(tres_texts.requested(job, context), memory_mib, context))

    def frequency(record: SacctRow) -> str:
        return "0" if record.step and record.step.step_id in STEP_ORDER else "Unknown"

    def exit_code(record: SacctRow) -> str:
        shown = record.step or record.job
        # The signal of scancel or of the time limit is the exit code of the batch step, not of the job.
        if record.step is None and record.job.state in KILLED:
            return "0:0"
        if record.step is None and (shown.exit_code, shown.exit_signal) == (0, 1):
            return exit_pair(1, 0)  # slurmdbd takes the wait status 1 for an exit code (as_mysql_job.c)
        return exit_pair(shown.exit_code, shown.exit_signal)

    def derived_exit(job: Job) -> str:
        if job.state is JobState.CANCELLED:
            return exit_pair(job.derived_exit_code, 0)
        return exit_pair(job.derived_exit_code, job.derived_exit_signal)

    def raw_id(record: SacctRow) -> str:
        return "%d.%s" % (record.job.job_id, record.step.step_id) if record.step else str(record.job.job_id)

    return {
        "allocnodes": lambda record: str(
            len(record.step.nodes) if record.step else len(record.job.shares) if ever_had_nodes(record.job) else 0
        ),
        "alloctres": alloc_tres,
        "blockid": _nothing,
        "consumedenergy": lambda record: "0",
        "container": lambda record: (record.step.container if record.step else record.job.spec.container) or None,
        "derivedexitcode": _of_job(derived_exit),
        "exitcode": exit_code,
        "flags": _flags,
        "jobid": job_id,
        "jobidraw": raw_id,
        "jobname": lambda record: record.step.name if record.step else record.job.name,
        "layout": lambda record: (record.step.distribution or "Unknown") if record.step else None,
        "nodelist": node_names,
        "reqcpufreq": frequency,
        "reqcpufreqgov": frequency,
        "reqcpufreqmax": frequency,
        "reqcpufreqmin": frequency,
        "reqmem": _of_job(lambda job: amount(tres_texts.requested_memory_mib(job, context), MEGA, context.scale)),
        "reqnodes": nodes_requested,
        "reqtres": _of_job(req_tres),
        "sluid": lambda record: sluid(record.job.submit_time, record.job.job_id),
        "state": state,
        "stderr": lambda record: _step_path(record, derived.stderr_pattern, context),
        "stdin": lambda record: _step_path(record, lambda job: job.stdin, context),
        "stdout": lambda record: _step_path(record, lambda job: job.stdout, context),
        "submitline": lambda record: (record.step or record.job).submit_line or None,
        "systemcpu": _cpu(lambda step: step.usage.system_s),
        "timelimit": lambda record: _time_limit(record, format_minutes),
        "timelimitraw": lambda record: _time_limit(record, str),
        "totalcpu": _cpu(lambda step: step.usage.user_s + step.usage.system_s),
        "usercpu": _cpu(lambda step: step.usage.user_s),
    }
