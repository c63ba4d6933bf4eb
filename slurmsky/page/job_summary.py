"""Summary of one job: waiting and running time, resources."""

from __future__ import annotations

from dataclasses import dataclass

from ..language import signalspec
from ..model.job import Job, Step
from ..model.states import OOM_SIGNAL, JobFlag, JobState
from ..report.fields import derived, sacct_fields, tres_texts
from ..report.report_context import ReportContext
from ..report.text import sacct_rows
from ..report.text.seff_report import measure

#: state -> CSS class of its bars and words
_KINDS = {
    JobState.PENDING: "wait",
    JobState.RUNNING: "live",
    JobState.SUSPENDED: "held",
    JobState.COMPLETED: "good",
    JobState.CANCELLED: "gone",
    JobState.PREEMPTED: "gone",
}


@dataclass(frozen=True)
class Life:
    """One run of a job. Times are epoch seconds, sizes MiB; a time of 0 is unknown."""

    job: Job
    id: str
    state: str
    kind: str  # CSS class of its bars and words: wait live held good gone bad
    eligible: float
    start: float
    end: float  # end of the bar: now for an active job
    waited_s: float
    ran_s: float
    cpus: int
    cpu_s: float | None  # CPU seconds used; None if no step was measured (yet)
    memory_mib: float | None
    memory_held_mib: float
    gpus: int
    gpu_s: float | None  # GPU seconds used
    cost: float | None
    outcome: str

    @property
    def held_s(self) -> float:
        """CPU seconds held."""
        return self.ran_s * self.cpus

    @property
    def cpu_share(self) -> float | None:
        """Share of the held CPU time used. 0 to 1; slightly more is possible."""
        return self.cpu_s / self.held_s if self.cpu_s is not None and self.held_s else None

    @property
    def memory_share(self) -> float | None:
        """Share of the held memory used at the peak."""
        known = self.memory_mib is not None and self.memory_held_mib
        return (self.memory_mib or 0) / self.memory_held_mib if known else None

    @property
    def gpu_share(self) -> float | None:
        """Share of the held GPU time used."""
        held = self.gpus * self.ran_s
        return self.gpu_s / held if self.gpu_s is not None and held else None

    @property
    def wasted_s(self) -> float:
        """CPU seconds held but not used; 0 if unknown."""
        return 0.0 if self.cpu_s is None else max(0.0, self.held_s - self.cpu_s)

    @property
    def failed(self) -> bool:
        """Return whether the job failed; cancelled or preempted jobs did not."""
        return self.kind == "bad"


def kind_of(state: JobState) -> str:
    """The CSS class of a state."""
    return _KINDS.get(state, "bad")


def life(job: Job, context: ReportContext) -> Life:
    """Summarise a job's record at the context's time."""
    now = context.now
    ran = sacct_fields.ever_had_nodes(job)
    start = job.start_time if ran else 0.0
    over = job.state.finished
    # A record without an end time (its node never responded) ends at its start.
    end = (job.end_time or start or job.submit_time) if over else now
    found = measure(job, context)
    measured = [step for step in job.steps.values() if step.usage.tasks]
    # If memory is not allocated, compare the use with the requested memory.
    memory = sum(share.memory_mib for share in job.shares) or tres_texts.requested_memory_mib(job, context)
    gpus = sum(len(ids) for share in job.shares for name, ids in share.gres.items() if name.partition(":")[0] == "gpu")
    return Life(
        job=job,
        id=derived.job_id_text(job, 64) + (f" (run {job.restarts + 1})" if job.restarts else ""),
        state=derived.state_words(job)[0],
        kind="wait" if JobFlag.REQUEUED in job.flags and not job.state.finished else kind_of(job.state),
        eligible=job.eligible_time,
        start=start,
        end=end,
        waited_s=max(0, sacct_fields.planned_seconds(job, now)),
        ran_s=max(0.0, end - start - job.suspended_s) if ran else 0.0,
        cpus=job.num_cpus,
        cpu_s=sum(step.usage.user_s + step.usage.system_s for step in measured) if measured else None,
        memory_mib=found.memory_kib / 1024 if measured else None,
        memory_held_mib=memory if ran else 0.0,
        gpus=gpus if ran else tres_texts.gpu_count(job),
        gpu_s=_gpu_seconds(job),
        cost=dollars(job),
        outcome=outcome(job),
    )


def gpu_steps(job: Job) -> list[Step]:
    """Steps whose GPU use sums up to the job's.

    On one node only the script counts: it has all GPUs for the whole time, and other steps would count devices twice.
    """
    looked = [step for step in job.steps.values() if step.usage.gpu_s is not None and step.end_time > step.start_time]
    script = [step for step in looked if step.step_id == "batch" and len(job.shares) == 1]
    return script or [step for step in looked if step.step_id != "batch"] or looked


def _gpu_seconds(job: Job) -> float | None:
    """Used GPU seconds, or None without measurements."""
    steps = gpu_steps(job)
    if not steps:
        return None
    return sum(step.usage.gpu_s or 0.0 for step in steps)


def ended_with(code: int, signal: int) -> str:
    """Exit status as ``exit 3`` or ``signal 9 (KILL)``; "" for success."""
    if signal == OOM_SIGNAL:
        return "out of memory"
    if signal:
        name = signalspec.name_of(signal)
        return f"signal {signal}" + ("" if name.isdecimal() else f" ({name})")
    return f"exit {code}" if code else ""


def outcome(job: Job) -> str:
    """Short text on why a job waits or how it ended.

    It shows the exit code, the reason, and the user who cancelled the job.
    """
    reason = derived.reason(job)
    reason = "" if reason == "None" else reason
    if job.state is JobState.PENDING:
        return reason
    if not job.state.finished:
        return ""
    if not derived.began(job):
        return f"never began: {derived.cause(job)}"
    words = [ended_with(job.exit_code, job.exit_signal)]
    if job.state is JobState.CANCELLED and job.cancelled_by is not None:
        words.append(f"by uid {job.cancelled_by}")
    if reason and not (reason == "NonZeroExitCode" and words[0]):
        words.append(reason)
    if job.derived_exit_code and not job.exit_code:
        words.append(f"a step ended with {job.derived_exit_code}")
    return ", ".join(filter(None, words))


def steps_of(job: Job) -> list[Step]:
    """Steps of a job in sacct's order, beginning with the script."""
    return [record.step for record in sacct_rows.records([job], only_steps=(job.job_id,)) if record.step is not None]


def step_end(step: Step, now: float) -> float:
    """The end of a step, or now."""
    return step.end_time or now


def dollars(job: Job) -> float | None:
    """Cost of a job so far in dollars; None for a job that did not run on a cloud."""
    return job.cost if job.managed_job_id is not None or job.cost else None
