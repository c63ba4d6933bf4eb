"""The fields of squeue, for jobs and for steps: how each value is read from a record.

Source of every rule: print.c of squeue; each of its functions is an entry in the tables below.

The module exceeds 400 lines because the values of all fields are one table.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from functools import cache
from typing import Callable, NamedTuple, Optional, TypeVar

from slurmsky.model.job import Job, Step
from slurmsky.model.spec import INFINITE
from slurmsky.model.states import JobFlag, JobState

from ..report_context import ReportContext
from ..text.columns import Field
from ..text.units import amount, null_if_empty, or_null, raw_status, short_duration
from . import derived, tres_texts
from .field_tables import table

# squeue's FORMAT_STRING_SIZE is 32, so ids are cut, for example "1976_[1-3,10-12,20,30,40,50,60,".
ID_LENGTH = 31
PRIORITY_TOP = 0xFFFFFFFF

# States in which NODELIST(REASON) shows the reason instead of nodes.
REASON_STATES = frozenset(
    {JobState.PENDING, JobState.TIMEOUT, JobState.OUT_OF_MEMORY, JobState.DEADLINE, JobState.FAILED}
)


class JobRow(NamedTuple):
    """A line of squeue: a job, a pending array's rest (``tasks``), or an array element (``task_id``).

    ``tasks`` is the text in the brackets, and ``reason`` is joined over merged elements. ``partition`` and ``priority``
    are separate from the job because --priority shows a job once per partition, with that partition's ``tier``.
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
    """Job fields by letter and by long name in lower case."""
    return _Fields("job", _job_values(context), UNCUT_JOB, OWN_JOB_FIELDS)


def step_fields(context: ReportContext) -> Mapping[str, Field[StepRow]]:
    """Step fields by letter and by long name in lower case."""
    return _Fields("step", _step_values(context), UNCUT_STEP)


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
# in NODELIST(REASON) nodes are never cut, a reason is
SIZED: dict[str, Callable[[int], Callable[..., str]]] = {"reasonlist": lambda width: _cut_reason(width)}
#: times that are never cut, although a word in their place is
_CUT_WORD = ("timelimit", "timeleft")
UNCUT_STEP = {"nodes": (False, False), "timelimit": (False, True), "timeused": (False, True)}


#: fields that differ between rows of one record class (``kinds``); all other fields are shared
OWN_JOB_FIELDS = frozenset((
    "accruetime", "arrayjobid", "arraytaskid", "command", "comment", "dependency", "eligibletime", "endtime",
    "jobarrayid", "jobid", "lastschedeval", "name", "partition", "pendingtime", "preempttime", "priority",
    "prioritylong", "reason", "reasonlist", "resizetime", "starttime", "stderr", "stdin", "stdout", "submittime",
    "system_comment", "timeleft", "timeused", "workdir",
))  # fmt: skip


#: relative cost of shared fields that need more than reading the record
_COSTLY = {"tres": 12, "tres-alloc": 12, "reqnodes": 4, "excnodes": 4, "timelimit": 3}


@cache
def _rows(record: str) -> dict[str, dict[str, str]]:
    """The rows of a kind of record's fields, by long name in lower case and by letter."""
    rows = [row for row in table("squeue_fields") if row["record"] == record]
    return {
        **{row["letter"]: row for row in reversed(rows) if row["letter"]},
        **{row["name"].lower(): row for row in rows},
    }


class _Fields(Mapping[str, Field[Row]]):
    """The fields of a kind of record; each is made when a format names it, since most calls name eight of hundred."""

    def __init__(
        self,
        record: str,
        values: dict[str, Callable[[Row], str]],
        uncut: dict[str, tuple[bool, bool]],
        own: Optional[Container[str]] = None,
    ) -> None:
        self._record, self._values, self._uncut, self._own = record, values, uncut, own

    def __getitem__(self, key: str) -> Field[Row]:
        row = _rows(self._record)[key]
        name = row["name"].lower()
        value = self._values[name]
        cut, cut_header = self._uncut.get(name, (True, True))
        shared = 0 if self._own is None or name in self._own else _COSTLY.get(name, 1)
        sized = _cut_word(value) if name in _CUT_WORD else SIZED.get(name)
        # a mistake in squeue: the header of a step's start
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
    """NODELIST(REASON)."""
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


def _sorted_list(text: Optional[str]) -> str:
    names = derived.asked_nodes(text)
    return derived.node_list(tuple(names)) if names else ""


def _per(key: str) -> JobValue:
    return lambda row: tres_texts.tres_per(row.job.spec).get(key, "N/A")


def _spec(name: str) -> JobValue:
    return lambda row: or_null(getattr(row.job.spec, name))


def _count(name: str, missing: str) -> JobValue:
    def value(row: JobRow) -> str:
        number = getattr(row.job.spec, name)
        return missing if number is None else str(number)

    return value


def _flag(name: str) -> JobValue:
    return lambda row: "1" if getattr(row.job.spec, name) else "0"


def _always(text: str) -> Callable[..., str]:
    return lambda row: text


def core_spec(row: JobRow) -> str:
    """Specialised cores or threads."""
    spec = row.job.spec
    if spec.thread_spec is not None:
        return "%d Threads" % spec.thread_spec
    return "N/A" if spec.core_spec is None else str(spec.core_spec)


def _batch_host(row: JobRow) -> str:
    job = row.job
    return (job.batch_host if job.is_batch else job.alloc_node) or "n/a"


def _oversubscribe(row: JobRow) -> str:
    return derived.share_word(row.job.spec)


def _cpus_per_task(row: JobRow) -> str:
    return str(row.job.spec.cpus_per_task or 1)


def _job_values(context: ReportContext) -> dict[str, JobValue]:
    clock, now, scale = context.clock, context.now, context.scale

    def limit(row: JobRow) -> int:
        return context.time_limit(row.job)

    def time_left(row: JobRow) -> str:
        minutes = limit(row)
        if minutes == INFINITE:
            return "UNLIMITED"
        return short_duration(minutes * 60 - derived.run_seconds(row.job, now))

    def time_limit(row: JobRow) -> str:
        minutes = limit(row)
        return "UNLIMITED" if minutes == INFINITE else short_duration(minutes * 60)

    def end_time(row: JobRow) -> str:
        end = derived.end_time(row.job, limit(row))
        return "NONE" if end == INFINITE else clock.or_na(end)

    def pending_time(row: JobRow) -> str:
        job = row.job
        end = job.start_time if 0 < job.start_time < now else now
        return str(int(end) - int(job.submit_time))

    def alloc_tres(row: JobRow) -> str:
        # Before the start this field shows the request.
        return tres_texts.tres(tres_texts.allocated(row.job, context) or tres_texts.requested(row.job, context))

    def path(pattern: Callable[[Job], str]) -> JobValue:
        if context.expand_patterns:
            return lambda row: derived.expand_path(pattern(row.job), row.job)
        return lambda row: null_if_empty(pattern(row.job))

    def het(value: Callable[[Job], str]) -> JobValue:
        return lambda row: value(row.job) if row.job.het_job_id else "N/A"

    def stamp(name: str) -> JobValue:
        return lambda row: clock.or_na(getattr(row.job, name) or 0)

    tres_per_node = _per("TresPerNode")
    het_id = het(lambda job: str(job.het_job_id))
    het_set = het(lambda job: tres_texts.index_list(job.het_ids))
    het_offset = het(lambda job: str(job.het_offset))
    sockets, cores = _count("sockets_per_node", "*"), _count("cores_asked", "*")

    def threads(row: JobRow) -> str:
        return derived.or_star(row.job.spec.threads_asked)

    return {
        "account": lambda row: null_if_empty(row.job.account),
        "accruetime": stamp("accrue_time"),
        "admin_comment": lambda row: null_if_empty(row.job.admin_comment),
        "allocnodes": lambda row: null_if_empty(row.job.alloc_node),
        "allocsid": lambda row: str(row.job.alloc_sid),
        "arrayjobid": lambda row: str(row.job.array_job_id or row.job.job_id),
        "arraytaskid": lambda row: (
            row.tasks if row.tasks is not None else "N/A" if row.task_id is None else str(row.task_id)
        ),
        "associd": _always("0"),
        "batchflag": lambda row: "1" if row.job.is_batch else "0",
        "batchhost": _batch_host,
        "boardspernode": _always("0"),
        "burstbuffer": _always("(null)"),
        "burstbufferstate": _always("(null)"),
        "cluster": lambda row: row.job.cluster,
        "clusterfeature": _spec("cluster_constraint"),
        "command": lambda row: derived.command(row.job),
        "comment": lambda row: null_if_empty(row.job.comment),
        "container": _spec("container"),
        "containerid": _spec("container_id"),
        "contiguous": _flag("contiguous"),
        "cores": cores,
        "corespec": core_spec,
        "cpuspertask": _cpus_per_task,
        "cpus-per-task": _cpus_per_task,
        "cpus-per-tres": _per("CpusPerTres"),
        "cronjob": lambda row: "Yes" if row.job.cron else "No",
        "deadline": lambda row: clock.or_na(row.job.spec.deadline or 0),
        "delayboot": lambda row: short_duration((row.job.spec.delay_boot_min or 0) * 60),
        "dependency": lambda row: null_if_empty(row.job.dependency_shown or row.job.dependency),
        "derivedec": lambda row: raw_status(row.job.derived_exit_code, row.job.derived_exit_signal),
        "eligibletime": stamp("eligible_time"),
        "endtime": end_time,
        "excnodes": lambda row: _sorted_list(row.job.spec.exclude),
        "exit_code": lambda row: raw_status(row.job.exit_code, row.job.exit_signal),
        "feature": _spec("constraint"),
        "gres": tres_per_node,
        "groupid": lambda row: str(row.job.gid),
        "groupname": lambda row: row.job.group,
        "hetjobid": het_id,
        "hetjobidset": het_set,
        "hetjoboffset": het_offset,
        "jobarrayid": lambda row: row_id(row, context.bitstr_len),
        "jobid": lambda row: str(row.job.job_id),
        "lastschedeval": stamp("last_sched_eval"),
        "licenses": _spec("licenses"),
        "licensesalloc": lambda row: or_null(derived.licenses_held(row.job)),
        "maxcpus": lambda row: str(row.job.num_cpus),
        "maxnodes": lambda row: str(row.job.max_nodes or row.job.num_nodes),
        "mem-per-tres": _per("MemPerTres"),
        "mcslabel": _spec("mcs_label"),
        "mincpus": lambda row: str(derived.min_cpus_per_node(row.job.spec)),
        "minmemory": lambda row: amount(derived.min_memory(row.job.spec)[1], 2, scale),
        "mintime": lambda row: short_duration((row.job.spec.time_min_min or 0) * 60),
        "mintmpdisk": lambda row: amount(row.job.spec.tmp_mib or 0, 2, scale),
        "name": lambda row: row.job.name,
        "network": _spec("network"),
        "nice": lambda row: str(row.job.nice),
        "nodelist": lambda row: derived.node_list(row.job.nodes),
        "ntpercore": _count("ntasks_per_core", "N/A"),
        "ntpernode": _count("ntasks_per_node", "0"),
        "ntpersocket": _count("ntasks_per_socket", "N/A"),
        "ntperboard": _count("ntasks_per_board", "0"),
        "numcpus": lambda row: str(row.job.num_cpus),
        "numnodes": lambda row: str(row.job.num_nodes),
        "numtasks": lambda row: str(row.job.num_tasks),
        "origin": _always("NA"),
        "originraw": _always("NA"),
        "oversubscribe": _oversubscribe,
        "packjobid": het_id,
        "packjobidset": het_set,
        "packjoboffset": het_offset,
        "partition": lambda row: row.partition,
        "pendingtime": pending_time,
        "preempttime": stamp("preempt_time"),
        "prefer": _spec("prefer"),
        "priority": lambda row: "%16.14f" % (row.priority / PRIORITY_TOP),
        "prioritylong": lambda row: str(row.priority),
        "profile": lambda row: row.job.spec.profile or "NotSet",
        "qos": lambda row: row.job.qos,
        "reason": lambda row: row.reason,
        "reasonlist": nodes_or_reason,
        "reboot": _flag("reboot"),
        "reqnodes": lambda row: _sorted_list(row.job.spec.nodelist),
        "reqswitch": lambda row: (row.job.spec.switches or "0").partition("@")[0],
        "requeue": lambda row: "0" if row.job.spec.requeue is False else "1",
        "reservation": _spec("reservation"),
        "resizetime": stamp("resize_time"),
        "restartcnt": lambda row: str(row.job.restarts),
        "schednodes": lambda row: derived.node_list(row.job.planned_nodes) or "(null)",
        "sct": lambda row: "%s:%s:%s" % (sockets(row), cores(row), threads(row)),
        "segmentsize": _count("segment", "N/A"),
        "siblingsactive": _always("NA"),
        "siblingsactiveraw": _always("NA"),
        "siblingsviable": _always("NA"),
        "siblingsviableraw": _always("NA"),
        "shared": _oversubscribe,
        "sluid": _always(""),
        "sockets": sockets,
        "sperboard": _always("0"),
        "starttime": stamp("start_time"),
        "state": lambda row: derived.state_words(row.job)[0],
        "statecompact": lambda row: derived.state_words(row.job)[1],
        "stderr": path(derived.stderr_pattern),
        "stdin": path(lambda job: job.stdin),
        "stdout": path(lambda job: job.stdout),
        "submittime": stamp("submit_time"),
        "system_comment": lambda row: null_if_empty(row.job.system_comment),
        "threads": threads,
        "timeleft": time_left,
        "timelimit": time_limit,
        "timeused": lambda row: short_duration(derived.run_seconds(row.job, now)),
        "tres": alloc_tres,
        "tres-alloc": alloc_tres,
        "tres-bind": _per("TresBind"),
        "tres-freq": _per("TresFreq"),
        "tres-per-job": _per("TresPerJob"),
        "tres-per-node": tres_per_node,
        "tres-per-socket": _per("TresPerSocket"),
        "tres-per-task": _per("TresPerTask"),
        "userid": lambda row: str(row.job.uid),
        "username": lambda row: row.job.user,
        "wait4switch": lambda row: short_duration(derived.switch_wait_s(row.job.spec)),
        "wckey": _spec("wckey"),
        "workdir": lambda row: row.job.work_dir,
    }


def step_seconds(step: Step, now: float) -> int:
    """Seconds a step has run, without suspension."""
    return int((step.end_time or now) - step.start_time - step.suspended_s) if step.start_time else 0


def step_id_text(job: Job, step: Step) -> str:
    """``7.0``, ``7.batch``, ``7_3.0``."""
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
