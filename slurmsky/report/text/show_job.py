"""scontrol show job and show step.

A record is a list of lines, each of ``Key=value`` pairs; --oneliner joins them by a blank. Keys, their
order and their presence follow Slurm 25.11: scontrol/info_job.c _sprint_job_info and _sprint_step_info.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Callable, NamedTuple, Optional

from slurmsky.model.job import Job, Step

from ..fields import derived, tres_texts
from ..fields.job_values import fields_of, reader
from ..fields.squeue_fields import step_id_text
from ..fields.text_forms import text_forms
from ..fields.value_registry import FieldRow
from ..report_context import ReportContext
from .units import minutes_text, null_if_empty


def record_text(lines: list[str], oneliner: bool) -> str:
    """Join the lines of a record, with the trailing separator."""
    return " ".join(lines) + "\n" if oneliner else "\n   ".join(lines) + "\n\n"


def show_job(job: Job, context: ReportContext, detail: bool = False, oneliner: bool = False) -> str:
    """``scontrol show job`` for one record. ``detail`` is -d, ``oneliner`` is -o."""
    return next(show_jobs([job], context, detail, oneliner))


def show_jobs(
    jobs: Iterable[Job], context: ReportContext, detail: bool = False, oneliner: bool = False
) -> Iterator[str]:
    """``scontrol show job`` for each record. Values shared by a record class are formatted once."""
    separator, end = (" ", "\n") if oneliner else ("\n   ", "\n\n")
    lines = list(_lines(context, detail))
    known: dict[Hashable, tuple[str, list[_Hole]]] = {}
    for job in jobs:
        kind = context.record_classes.of(job)
        if kind not in known:
            known[kind] = _template(job, lines, separator)
        template, holes = known[kind]
        text = template % tuple([hole(job) for hole in holes])
        yield text[len(separator) :].rstrip() + end


#: Lines of a job: keys of ``data/job_fields.csv``. "?": omitted if the value is ""; "*": the value without its key;
#: "-d": with --details only.
_LAYOUT = """
JobId ?ArrayJobId ?ArrayTaskId ?ArrayTaskThrottle ?HetJobId ?HetJobOffset JobName
-d SLUID
?HetJobIdSet
UserId GroupId MCS_label
Priority Nice Account QOS ?WCKey
JobState Reason ?FailedNode Dependency
Requeue Restarts BatchFlag Reboot ExitCode
-d DerivedExitCode
RunTime TimeLimit TimeMin
SubmitTime EligibleTime
AccrueTime
?ResizeTime
StartTime EndTime Deadline
?PreemptEligibleTime ?PreemptTime
SuspendTime SecsPreSuspend LastSchedEval Scheduler
Partition AllocNode:Sid
ReqNodeList ExcNodeList
NodeList ?SchedNodeList
?BatchFeatures ?BatchHost
?StepMgrEnabled
NumNodes NumCPUs NumTasks CPUs/Task ReqB:S:C:T
ReqTRES
AllocTRES
Socks/Node NtasksPerN:B:S:C ?ThreadSpec ?CoreSpec
-d *Allocation
MinCPUsNode ?MinMemoryCPU ?MinMemoryNode ?MinMemoryTRES MinTmpDiskNode
Features DelayBoot
?ClusterFeatures
?Prefer
?Reservation
OverSubscribe Contiguous Licenses LicensesAlloc Network
Command
SubmitLine
WorkDir
?AdminComment
?SystemComment
?Comment
?Extra
*StdErr
?StdIn
?StdOut
?SegmentSize
?Switches
?BurstBuffer
*CPUFrequency
?GresAllowTaskSharing ?GresEnforceBind ?GresOneTaskPerSharing ?KillOnInvalidDependent ?SpreadJob
?OOMKillStep
?CpusPerTres
?MemPerTres
?TresBind
?TresFreq
?TresPerJob
?TresPerNode
?TresPerSocket
?TresPerTask
?MailUser ?MailType
?NtasksPerTRES
?Container ?ContainerID
?Cost ?HourlyCost
"""


_Hole = Callable[[Job], Any]


class _Word(NamedTuple):
    """Word of a line: label, reader, and whether "" is omitted."""

    label: str
    text: _Hole
    optional: bool
    own: bool


def _lines(context: ReportContext, detail: bool) -> Iterator[list[_Word]]:
    fields, forms = {field.name: field for field in fields_of("scontrol")}, text_forms(context)
    for keys in map(str.split, _LAYOUT.strip().splitlines()):
        if keys[0] != "-d" or detail:
            yield [_word(key, fields[key.lstrip("?*")], context, forms) for key in keys if key != "-d"]


def _word(key: str, field: FieldRow, context: ReportContext, forms: Mapping[str, Callable[[Any], str]]) -> _Word:
    read, form = reader(field.value, context), forms.get(field.form)
    text = read if form is None else lambda job: form(read(job))
    return _Word("" if key[0] == "*" else field.name + "=", text, key[0] in "?*", field.own)


def _template(job: Job, lines: Iterable[Sequence[_Word]], separator: str) -> tuple[str, list[_Hole]]:
    """Template of a record class, with readers of own values.

    The template has "%s" for each value that differs between the jobs of the class.
    """
    template, holes = "", []
    for words in lines:
        start = separator
        for word in words:
            if not word.own:
                found = word.text(job)
                text = _joined(found, separator) if isinstance(found, list) else str(found)
                if not text and word.optional:
                    continue
                template += (start + word.label + text).replace("%", "%%")
            elif word.optional:
                template += "%s"
                holes.append(unless_blank(start + word.label, word.text))
            else:
                template += start + word.label + "%s"
                holes.append(word.text)
            start = " "
    return template, holes


def _joined(lines: Sequence[str], separator: str) -> str:
    return separator.join(lines if "\n" in separator else [line.strip() for line in lines])


def unless_blank(label: str, read: Callable[[Any], Any], after: str = "") -> Callable[[Any], str]:
    """Reader of a value with its label, or "" if blank."""

    def text(job: Any) -> str:
        found = read(job)
        return f"{label}{found}{after}" if found else ""

    return text


def show_step(job: Job, step: Step, context: ReportContext, oneliner: bool = False) -> str:
    """``scontrol show step`` for one step."""
    return record_text(list(_step_lines(job, step, context)), oneliner)


_STEP_TRES = ("CpusPerTres", "MemPerTres", "TresBind", "TresFreq", "TresPerStep", "TresPerNode", "TresPerSocket",
              "TresPerTask")  # fmt: skip


def _step_lines(job: Job, step: Step, context: ReportContext) -> Iterator[str]:
    limit: Optional[int] = step.time_limit_min
    yield "StepId=%s UserId=%d StartTime=%s TimeLimit=%s" % (
        step_id_text(job, step),
        job.uid,
        context.clock.text(step.start_time),
        "UNLIMITED" if limit is None else minutes_text(limit),
    )
    yield "State=%s Partition=%s NodeList=%s" % (step.state.name, job.partition, derived.node_list(step.nodes))
    cpus = tres_texts.step_cpus_shown(step)
    yield "Nodes=%d CPUs=%d Tasks=%d Name=%s Network=(null)" % (len(step.nodes), cpus, step.ntasks, step.name)
    yield "TRES=" + (tres_texts.tres(tres_texts.step_tres(step, context)) if cpus else "(null)")
    yield "ResvPorts=(null)"
    yield "CPUFreqReq=Default" + (" Dist=" + step.distribution if step.distribution else "")
    yield "SrunHost:Pid=%s:%d" % (null_if_empty(step.srun_host), step.srun_pid)
    requested = tres_texts.step_requested(step)
    yield from ("%s=%s" % (key, requested[key]) for key in _STEP_TRES if key in requested)
    if step.container:
        yield "Container=%s ContainerID=(null)" % step.container


def resource_lines(job: Job) -> Iterator[str]:
    """``scontrol show resources``: cores, memory and devices by node."""
    for share in job.shares:
        yield f"Node={share.name} AbstractCores={tres_texts.index_list(share.cpu_ids)} Memory={share.memory_mib}"
        for name, indices in share.gres.items():
            if indices:
                what, _, kind = name.partition(":")
                typed = f" Type={kind}" if kind else ""
                yield f" Gres={what}{typed} Count={len(indices)} Index={tres_texts.index_list(indices)}"
