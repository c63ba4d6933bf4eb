"""seff: share of the allocated CPUs and memory that was used.

Slurm's seff (contribs/seff) has the same lines; the values come from our records: CPU time of all steps, and the
largest total memory of the tasks of one step.
"""

from __future__ import annotations

from dataclasses import dataclass

from slurmsky.model.job import Job, Step
from slurmsky.model.states import JobState

from ..fields import derived
from ..report_context import ReportContext
from .spending import cost_text
from .units import format_seconds

_LETTERS = "KMGTPE"


@dataclass(frozen=True)
class Efficiency:
    """Efficiency of a job; memory in KiB."""

    cpu_s: int
    wall_s: int
    memory_kib: float
    allocated_kib: float
    largest_kib: float
    average_kib: float


def measure(job: Job, context: ReportContext) -> Efficiency:
    """Compute the efficiency of a job so far."""
    wall = 0
    if job.start_time and job.state is not JobState.PENDING:
        end = job.end_time if job.state.finished else context.now
        wall = max(0, int(end) - int(job.start_time) - int(job.suspended_s))
    steps = list(job.steps.values())
    cpu = sum(step.usage.user_s + step.usage.system_s for step in steps)
    peak = max(steps, key=_memory, default=None)
    allocated = sum(share.memory_mib for share in job.shares)
    if not allocated and job.shares:
        # Without a memory request a job may use all memory of its nodes.
        allocated = context.node_memory_mib(job) * len(job.shares)
    used = _memory(peak) if peak else 0.0
    largest, average = (peak.usage.max_rss / 1024, peak.usage.ave_rss / 1024) if peak else (0.0, 0.0)
    return Efficiency(int(cpu + 0.5), wall, used, allocated * 1024.0, largest, average)


def _memory(step: Step) -> float:
    """Sum of the peak memory of a step's tasks, in KiB."""
    return step.usage.ave_rss * max(1, step.usage.tasks) / 1024


def _time(seconds: int) -> str:
    return format_seconds(seconds)


def size(kib: float) -> str:
    """Format a size as ``1.95 GB``, with units of 1024."""
    exponent = 0
    if kib < 1:
        return "0.00 MB" if kib <= 0 else f"{kib:.2f} KB"
    while kib >= 1024 and exponent < len(_LETTERS) - 1:
        kib, exponent = kib / 1024, exponent + 1
    return f"{kib:.2f} {_LETTERS[exponent]}B"


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole if whole else 0.0:.2f}%"


def seff_text(job: Job, context: ReportContext, debug: bool = False) -> str:
    """The summary of a job or an array element."""
    found = measure(job, context)
    cpus, nodes = max(1, job.num_cpus), max(1, job.num_nodes)
    state = job.state.name
    per_cpu = job.spec.mem_per_cpu_mib is not None
    element = f"{job.array_job_id}_{job.array_task_id}" if job.array_task_id is not None else ""
    lines: list[str] = []
    if debug:
        requested = int(found.allocated_kib)
        lines += ["Slurm data: JobID ArrayJobID User Group State Clustername Ncpus Nnodes Ntasks Reqmem PerNode "
                  "Cput Walltime Mem ExitStatus",
                  f"Slurm data: {job.job_id} {element} {job.user} {job.group} {state} {job.cluster} {cpus} {nodes} "
                  f"{requested} {int(not per_cpu)} {found.cpu_s} {found.wall_s} {found.memory_kib:.0f} "
                  f"{job.exit_code}", ""]  # fmt: skip
    lines += [f"Job ID: {job.job_id}"]
    if element:
        lines.append(f"Array Job ID: {element}")
    waiting = job.state in (JobState.PENDING, JobState.RUNNING)
    lines += [f"Cluster: {job.cluster}", f"User/Group: {job.user}/{job.group}",
              f"State: {state}" + ("" if waiting else f" (exit code {job.exit_code})")]  # fmt: skip
    cause = derived.cause(job)
    if cause:
        lines.append(f"Cause: {cause}")  # our own line: the exit code does not show that the script never ran
    lines += ["Cores: 1"] if cpus == 1 else [f"Nodes: {nodes}", f"Cores per node: {cpus // nodes}"]
    if job.state is JobState.PENDING:
        return "\n".join([*lines, "Efficiency not available for jobs in the PENDING state.", ""])
    core_s = found.wall_s * cpus
    share = found.allocated_kib / (cpus if per_cpu else nodes)
    lines += [
        f"CPU Utilized: {_time(found.cpu_s)}",
        f"CPU Efficiency: {_percent(found.cpu_s, core_s)} of {_time(core_s)} core-walltime",
        f"Job Wall-clock time: {_time(found.wall_s)}",
        f"Memory Utilized: {size(found.memory_kib)}",
        f"Memory Efficiency: {_percent(found.memory_kib, found.allocated_kib)} of {size(found.allocated_kib)} "
        f"({size(share)}/{'core' if per_cpu else 'node'})",
    ]  # fmt: skip
    if found.largest_kib > found.average_kib > 0:
        lines.append(f"The task which had the largest memory consumption differs by "
                     f"{100 * found.largest_kib / found.average_kib:.02f}% from the average task max memory "
                     "consumption")  # fmt: skip
    cost = cost_text(job)
    if cost is not None:
        lines.append(f"Cost: ${cost}")  # our own line, for jobs on paid nodes
    if job.state is JobState.RUNNING:
        lines.append("WARNING: Efficiency statistics can only be obtained after the job has ended as seff tool is "
                     "based on the accounting database data.")  # fmt: skip
    return "\n".join([*lines, ""])
