"""Explains why a job waits or how it ended, with remedies.

``slurmsky why``, top and report use it. ``sentences`` and ``advice`` come from the record, from ``WhyInput`` (data of
the queue and of files) and from ``data/reason_help.csv``, which has a row for each reason that can be printed.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from functools import lru_cache
from typing import Optional, Union

from slurmsky.model.job import Job
from slurmsky.model.spec import INFINITE
from slurmsky.model.states import JobFlag, JobState

from ..fields import derived, tres_texts
from ..fields.field_tables import table
from ..report_context import ReportContext
from .seff_report import measure, size
from .units import format_minutes

#: fraction of the allocated memory above which usage is mentioned
_NEARLY_ALL = 0.9
#: minimum run time in seconds for a comment on CPU and memory usage
_LONG_ENOUGH_S = 10
_KILLED, _ABORTED, _SEGMENT, _BUS = 9, 6, 11, 7


@dataclass(frozen=True)
class WhyInput:
    """Optional data about a job beyond its record."""

    before: tuple[str, ...] = ()  # ids of the first pending jobs with a higher priority
    before_count: int = 0
    room: str = ""  # use of the partition's CPUs: "6 of 8 CPUs are in use"
    down: str = ""  # nodes of the partition that accept no job
    limit: str = ""  # the limit that delays the job
    awaited: tuple[str, ...] = ()  # each dependency with its state
    starts_at: float = 0.0  # estimated start; 0.0: unknown
    starts_after: str = ""  # id of the running job whose end frees the nodes
    output: str = ""  # path of the file that ``tail`` comes from
    tail: tuple[str, ...] = ()
    no_output: str = ""  # reason why ``tail`` is missing
    full: str = ""  # the output's folder if its file system has no space left


@dataclass(frozen=True)
class Explanation:
    """Explanation: headline, sentences, last lines of output, and advice."""

    headline: str
    sentences: tuple[str, ...] = ()
    output: str = ""
    tail: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()

    def text(self) -> str:
        """The answer as text for a terminal."""
        lines = [self.headline, *(f"  {line}" for line in self.sentences)]
        if self.tail:
            lines += [f"  The last lines of {self.output}:", *(f"    | {line}" for line in self.tail)]
        if self.advice:
            lines += ["What to do:", *(f"  {line}" for line in self.advice)]
        return "\n".join([*lines, ""])

    def record(self) -> dict[str, Union[str, list[str]]]:
        """The answer as a JSON record."""
        return {"headline": self.headline, "sentences": list(self.sentences), "output": self.output,
                "tail": list(self.tail), "advice": list(self.advice)}  # fmt: skip


@lru_cache(maxsize=1)
def reasons() -> dict[str, dict[str, str]]:
    """Rows of the reason table by reason."""
    return {reason.replace("_", " "): row for row in table("reason_help") for reason in row["reasons"].split()}


def help_of(job: Job, reason: str) -> tuple[str, tuple[str, ...]]:
    """Meaning of a reason for this job, and advice; ("", ()) for a reason without a row."""
    name, _, more = reason.partition(", ")
    row = reasons().get(more) or reasons().get(name)
    if row is None:
        return "", ()
    values = {"job": derived.job_id_text(job).partition("[")[0].rstrip("_"), "partition": job.partition,
              "qos": job.qos, "account": job.account}  # fmt: skip

    def fill(text: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda found: values[found[1]], text)

    return fill(row["why"]), tuple(part.strip() for part in fill(row["advice"]).split("; ") if part.strip())


def explain(job: Job, context: ReportContext, known: Optional[WhyInput] = None) -> Explanation:
    """Build the answer for one job."""
    known = known or WhyInput()
    if job.state is JobState.PENDING:
        return _waiting(job, context, known)
    if not job.state.finished:
        return _running(job, context, known)
    return _ended(job, context, known)


def _name(job: Job) -> str:
    return f"Job {derived.job_id_text(job, 64)} ({job.name})"


def _sentence(text: str) -> str:
    """Format a cause as a sentence.

    A dotted name at its begin keeps its case.

    >>> _sentence("no disk"), _sentence("sky.exceptions.X: no zone."), _sentence("does it run?.")
    ('No disk.', 'sky.exceptions.X: no zone.', 'Does it run?')
    """
    first = text.partition(" ")[0].rstrip(":.")
    sentence = (text if "." in first else text[:1].upper() + text[1:]).rstrip(".")
    return sentence if sentence.endswith(("?", "!")) else f"{sentence}."


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _moment(context: ReportContext, time: float) -> str:
    text = context.clock.text(time)
    today = context.clock.text(context.now).partition("T")[0]
    day, _, hour = text.partition("T")
    return hour if hour and day == today else text.replace("T", " ")


def duration(seconds: float) -> str:
    """Duration as ``12 s``, ``4 min``, ``3 h 2 min``, ``2 d 7 h``.

    >>> duration(12), duration(245), duration(7 * 3600 + 120), duration(90000)
    ('12 s', '4 min 5 s', '7 h 2 min', '1 d 1 h')
    """
    whole = round(seconds)
    for unit, name, part, less in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit:
            rest = whole % unit // part
            return f"{whole // unit} {name}" + (f" {rest} {less}" if rest else "")
    return f"{whole} s"


# --- pending jobs


def _waiting(job: Job, context: ReportContext, known: WhyInput) -> Explanation:
    reason = job.reason
    why, advice = help_of(job, reason)
    if reasons().get(reason, {}).get("kind") == "end":
        why, advice = f"it was requeued because {why}", help_of(job, "Resources")[1]
    lines = []
    if job.reason_desc and job.reason_desc != reason:
        lines.append(f"{job.reason_desc}.")
    since = job.eligible_time or job.submit_time
    lines.append(f"It requests {_requested(job, context)} in partition {job.partition}.")
    if known.limit:
        lines.append(f"{known.limit[:1].upper()}{known.limit[1:]}.")
    lines += [f"It waits for {one}." for one in known.awaited]
    if known.room:
        lines.append(f"{known.room}.")
    if known.down:
        advice = (f"scontrol show node {known.down}", f"scontrol update NodeName={known.down} State=RESUME", *advice)
    if known.before_count:
        some = ", ".join(known.before) + (", ..." if known.before_count > len(known.before) else "")
        wait = "waits" if known.before_count == 1 else "wait"
        lines.append(f"{_plural(known.before_count, 'job')} with a higher priority {wait} for the same nodes: {some}.")
    if known.starts_at > context.now:
        when = f"It may start at {_moment(context, known.starts_at)}"
        lines.append(f"{when}, when job {known.starts_after} reaches its time limit at the latest."
                     if known.starts_after else f"{when}.")  # fmt: skip
    if job.system_comment:
        source = "SkyPilot: " if job.awaits_nodes and "SkyPilot" not in job.system_comment else ""
        lines.append(_sentence(source + job.system_comment))
    if job.restarts:
        failed = f": its node {job.failed_node} failed" if job.failed_node else ""
        lines.append(f"It has been requeued {_plural(job.restarts, 'time')}{failed}.")
    waited = f" since {_moment(context, since)}" if since and since <= context.now else ""
    shown = "" if reason == "None" else f" ({reason})"
    return Explanation(f"{_name(job)} waits{waited}: {why or reason}{shown}.", tuple(lines), advice=advice)


def _requested(job: Job, context: ReportContext) -> str:
    nodes, cpus = max(1, job.num_nodes), max(1, job.num_cpus)
    parts = [_plural(nodes, "node"), _plural(cpus, "CPU")]
    memory = tres_texts.requested_memory_mib(job, context)
    if memory and (job.spec.mem_mib or job.spec.mem_per_cpu_mib):
        parts.append(f"{size(memory * 1024.0)} of memory")
    gpus = tres_texts.gpu_count(job)
    if gpus:
        parts.append(_plural(gpus, "GPU"))
    if job.spec.nodelist:
        parts.append(f"the nodes {job.spec.nodelist}")
    limit = context.time_limit(job)
    text = ", ".join(parts[:-1]) + f" and {parts[-1]}"
    return text if limit == INFINITE else f"{text} for {format_minutes(limit)}"


# --- running jobs


def _running(job: Job, context: ReportContext, known: WhyInput) -> Explanation:
    lines = []
    shown = derived.state_words(job)[0]
    if JobFlag.COMPLETING in job.flags:
        lines.append("Its processes were sent SIGTERM; those that remain are killed after KillWait.")
    elif JobFlag.CONFIGURING in job.flags:
        lines.append("Its nodes are being set up." + (f" SkyPilot: {job.system_comment}." * bool(job.system_comment)))
    elif job.state is JobState.SUSPENDED:
        lines.append(f"It is suspended: scontrol resume {job.job_id} continues it.")
    limit = context.time_limit(job)
    if limit != INFINITE and job.end_time > context.now and job.state is not JobState.SUSPENDED:
        lines.append(f"It reaches its time limit ({format_minutes(limit)}) at {_moment(context, job.end_time)}.")
    ran = duration(derived.run_seconds(job, context.now))
    where = derived.node_list(job.nodes)
    return Explanation(
        f"{_name(job)} is {shown}" + (f" on {where}, for {ran} so far." if where else "."),
        (*lines, *([known.no_output] if known.no_output else [])),
        known.output,
        known.tail,
    )


# --- ended jobs


def _ended(job: Job, context: ReportContext, known: WhyInput) -> Explanation:
    cause = derived.cause(job)
    ran = derived.run_seconds(job, context.now)
    where = derived.node_list(job.nodes)
    headline = f"{_name(job)} {_how(job)}"
    headline += f" after {duration(ran)}" if ran > 0 and derived.began(job) else ""
    headline += f" on {where}." if where else "."
    lines = [_sentence(cause)] if cause else []
    reason = _final_reason(job)
    why, advice = help_of(job, reason)
    if job.failed_node:
        why = f"its node {job.failed_node} failed" if reason == "NodeDown" else why
    if why and reason not in _IN_HEADLINE:
        lines.append(f"{why[:1].upper()}{why[1:]}" + (f" ({reason})." if reason == job.reason else "."))
    if job.state is JobState.TIMEOUT:
        lines.append(f"Its time limit was {format_minutes(context.time_limit(job))}.")
    lines += _signal_lines(job) + _exit_lines(job) + _step_lines(job)
    memory = _memory_line(job, context, ran)
    if memory:
        lines.append(memory)
        if job.state is not JobState.COMPLETED:
            advice = ("sbatch with a larger --mem", *advice)
    if job.restarts:
        lines.append(f"It was requeued {_plural(job.restarts, 'time')}.")
    if known.no_output and not cause and where:
        lines.append(known.no_output)
    if known.full:
        lines.append(f"The file system of {known.full} is full now.")
    error = cause or _printed_error(known.tail) or ("No space left on device" if known.full else "")
    advice = _cause_advice(job, error) or advice
    if known.tail:
        advice = (f"less {shlex.quote(known.output)}", *advice)
    if job.state is JobState.COMPLETED or job.state is JobState.CANCELLED:
        advice = ()
    shown = () if job.state is JobState.COMPLETED else known.tail
    return Explanation(headline, tuple(lines), known.output, shown, tuple(dict.fromkeys(advice)))


def _printed_error(tail: tuple[str, ...]) -> str:
    """Last error about a task's program or a full disk, or ""."""
    found = [line.partition(": error: execve(): ")[2] for line in tail if line.startswith("slurmstepd-")]
    full = [line for line in tail if line.endswith(("No space left on device", "Disk quota exceeded"))]
    return next((f"task: {error}" for error in reversed(found) if error), full[-1] if full else "")


def _cause_advice(job: Job, cause: str) -> tuple[str, ...]:
    """Commands that remove the cause, from ``data/cause_help.csv``; () for a cause without a row."""
    for row in table("cause_help") if cause else ():
        found = re.search(row["pattern"], cause)
        if found:
            words = {name: shlex.quote(text) for name, text in found.groupdict().items()}
            words["managed"] = str(job.managed_job_id or "ID")
            return tuple(row["advice"].format(job=job.job_id, **words).split("; "))
    return ()


def _final_reason(job: Job) -> str:
    """Row of the reason table that explains an ended job.

    If the job still has its pending reason, its state selects the row.
    """
    if not derived.began(job):
        return "JobLaunchFailure"
    row = reasons().get(job.reason)
    if row is not None and row["kind"] == "end":
        return job.reason
    if job.state is JobState.FAILED:
        return "RaisedSignal" if job.exit_signal else "NonZeroExitCode"
    return _STATE_REASONS.get(job.state, job.state.name.replace("_", " "))


#: reasons of states that imply one; PREEMPTED and BOOT_FAIL have their own rows
_STATE_REASONS = {
    JobState.TIMEOUT: "TimeLimit",
    JobState.NODE_FAIL: "NodeDown",
    JobState.DEADLINE: "DeadLine",
    JobState.OUT_OF_MEMORY: "OutOfMemory",
}
#: reasons that add nothing to the headline
_IN_HEADLINE = ("NonZeroExitCode", "RaisedSignal", "JobLaunchFailure", "TimeLimit", "DeadLine")


def _how(job: Job) -> str:
    if job.state is JobState.COMPLETED:
        return "is COMPLETED: its script returned 0"
    if job.state is JobState.CANCELLED:
        by = f" by uid {job.cancelled_by}" if job.cancelled_by is not None else ""
        return f"was CANCELLED{by}" + _before_start(job)
    if not derived.began(job) or (derived.cause(job) and job.reason == "BadConstraints"):
        return f"is {job.state.name}: its script never began"
    if job.exit_signal and job.state is not JobState.OUT_OF_MEMORY:
        return f"is {job.state.name}: signal {_signal(job.exit_signal)}"
    return f"is {job.state.name}" + (f": exit code {job.exit_code}" if job.exit_code else "")


def _before_start(job: Job) -> str:
    if job.start_time and job.nodes:
        return ""
    return " before it started again" if job.restarts else " before it started"


def _signal(number: int) -> str:
    name = _NAMES[number] if 0 < number < len(_NAMES) else ""
    return f"{number} (SIG{name})" if name else f"{number}"


#: signal names of Linux, on all architectures that SkyPilot offers
_NAMES = ("", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
          "ALRM", "TERM")  # fmt: skip


_SIGNALS = {
    _KILLED: "SIGKILL comes from scancel --signal=KILL, or from the kernel when memory runs out.",
    _ABORTED: "SIGABRT: the program aborted (abort, a failed assertion, MPI_Abort).",
    _SEGMENT: "SIGSEGV: the program accessed invalid memory; ulimit -c unlimited keeps a core file.",
    _BUS: "SIGBUS: often a full /dev/shm, or a file that became shorter while it was mapped.",
}
_EXITS = {
    126: "126 is the shell's code for a file that cannot be executed (chmod +x, or a wrong architecture).",
    127: "127 is the shell's code for a command that is not on PATH (a module that was not loaded?).",
    137: "137 is 128 + 9: a program in the script was killed, often because memory ran out.",
    139: "139 is 128 + 11: a program in the script accessed invalid memory.",
    143: "143 is 128 + 15: a program in the script was ended by SIGTERM.",
}


def _signal_lines(job: Job) -> list[str]:
    ended_by_us = job.state in (JobState.CANCELLED, JobState.TIMEOUT, JobState.PREEMPTED, JobState.DEADLINE)
    line = "" if ended_by_us else _SIGNALS.get(job.exit_signal, "")
    return [line] if line else []


def _exit_lines(job: Job) -> list[str]:
    line = _EXITS.get(job.exit_code, "") if derived.began(job) and job.state is JobState.FAILED else ""
    return [line] if line else []


def _step_lines(job: Job) -> list[str]:
    bad = [step for step in job.steps.values() if step.step_id != "batch" and step.state.finished
           and step.state is not JobState.COMPLETED]  # fmt: skip
    lines = []
    for step in bad[:3]:
        how = f": signal {_signal(step.exit_signal)}" if step.exit_signal else f": exit code {step.exit_code}"
        how = "" if step.state is JobState.OUT_OF_MEMORY else how
        on = derived.node_list(step.nodes)
        lines.append(f"Step {step.step_id} ({step.name}) is {step.state.name}{how}, on {on}.")
    if len(bad) > 3:
        lines.append(f"{len(bad) - 3} more steps failed.")
    return lines


def _memory_line(job: Job, context: ReportContext, ran: float) -> str:
    """A sentence when memory was nearly exhausted or exceeded."""
    used = measure(job, context)
    if not used.memory_kib or not used.allocated_kib:
        return ""
    part = used.memory_kib / used.allocated_kib
    if part < _NEARLY_ALL and job.state is not JobState.OUT_OF_MEMORY:
        return ""
    return f"It used {size(used.memory_kib)} of the {size(used.allocated_kib)} of memory that was allocated."
