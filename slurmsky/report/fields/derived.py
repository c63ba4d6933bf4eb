"""Values derived from a job that several commands print."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Optional

from slurmsky.language import cpufreq, filename, mailtype
from slurmsky.language.arrayspec import ArraySpec, format_indices, list_indices
from slurmsky.language.hostlist import compress_sorted, expand
from slurmsky.language.sluid import sluid
from slurmsky.language.syntax_errors import TimeLimitError
from slurmsky.language.timelimit import parse_seconds
from slurmsky.model.job import Job
from slurmsky.model.spec import INFINITE, JobSpec
from slurmsky.model.states import JobFlag, JobState, shown_state
from slurmsky.options import device_counts

from ..report_context import ReportContext


@lru_cache(maxsize=4096)
def node_list(names: tuple[str, ...]) -> str:
    """Node names as a sorted, compressed list; "" for none."""
    return compress_sorted(names) if names else ""


def requested_nodes(text: Optional[str]) -> Optional[list[str]]:
    """Node names of a --nodelist or --exclude text; None without text."""
    return None if text is None else expand(text)


def array_tasks(job: Job, bitstr_len: Optional[int] = None) -> Optional[str]:
    """Elements without their own record as ``1-5%2``, or None."""
    if not job.pending_tasks:
        return None
    return format_indices(ArraySpec(job.pending_tasks), job.array_max_running, -1 if bitstr_len is None else bitstr_len)


def shown_tasks(job: Job, context: ReportContext) -> Optional[str]:
    """Elements without their own record as squeue prints them, or None."""
    if context.only_state and job.pending_tasks:
        return list_indices(ArraySpec(job.pending_tasks))
    return array_tasks(job, context.bitstr_len)


def job_id_text(job: Job, bitstr_len: Optional[int] = None) -> str:
    """Job id as squeue prints it: ``7``, ``7_3``, ``7_[4-9%2]``, ``7+1``."""
    if job.array_job_id:
        if job.array_task_id is not None:
            return "%d_%d" % (job.array_job_id, job.array_task_id)
        return "%d_[%s]" % (job.array_job_id, array_tasks(job, bitstr_len) or "")
    if job.het_job_id:
        return "%d+%d" % (job.het_job_id, job.het_offset)
    return str(job.job_id)


def step_order(step_id: str) -> int:
    """Slurm's sort number of a step. Named steps follow the numbered ones (slurm.h SLURM_BATCH_SCRIPT...)."""
    return _NAMED_STEPS.get(step_id) or int(step_id)


_NAMED_STEPS = {"pending": 0xFFFFFFFD, "extern": 0xFFFFFFFC, "batch": 0xFFFFFFFB, "interactive": 0xFFFFFFFA}


def cause(job: Job) -> str:
    """One-line cause of an end without an exit status, or "".

    It is SystemComment without the job's name at SkyPilot.
    """
    if not job.state.finished or job.state is JobState.COMPLETED:
        return ""
    return "" if job.system_comment.startswith(_PLACES) else job.system_comment


def began(job: Job) -> bool:
    """Return whether the script or a step of an ended job ran."""
    return not (cause(job) and job.blocked_reason == "JobLaunchFailure")


#: prefix of a SystemComment that only names the managed job or cluster of the job
_PLACES = ("SkyPilot managed job", "SkyPilot cluster")


def run_seconds(job: Job, now: float) -> int:
    """Seconds a job has run, without suspension (squeue print.c job_time_used)."""
    if not job.start_time or (job.state is JobState.PENDING and JobFlag.REQUEUED not in job.flags):
        return 0
    if job.state is JobState.SUSPENDED:
        return int(job.pre_suspend_s)
    if JobFlag.CONFIGURING in job.flags and job.state is JobState.RUNNING:
        return 0  # the start is an estimate
    end = now if job.state is JobState.RUNNING or not job.end_time else job.end_time
    if job.suspend_time:
        return int(int(end) - int(job.suspend_time) + job.pre_suspend_s)
    return int(end) - int(job.start_time)


def end_time(job: Job, limit_min: int) -> float:
    """Past or future end of a job: 0 unknown, INFINITE never.

    A pending job's end is relative to its planned start.

    Source: job_mgr.c pack_job, "report expected start time".
    """
    if job.state is JobState.PENDING and job.start_time:
        return INFINITE if limit_min == INFINITE else job.start_time + limit_min * 60
    return INFINITE if job.state.active and limit_min == INFINITE else job.end_time


def partition(job: Job) -> str:
    """Partitions of a pending job, else the one it ran in.

    For a job without a start it is the first. Source: job_mgr.c pack_job.
    """
    return job.partition if job.state is JobState.PENDING else job.partition.partition(",")[0]


def reason(job: Job) -> str:
    """Reason of a job, or the free text that replaces it."""
    return job.reason_desc or job.reason


def state_words(job: Job) -> tuple[str, str]:
    """Long and compact state; a flag hides the base state."""
    return (job.state.name, job.state.compact) if job.flags is JobFlag.NONE else shown_state(job.state, job.flags)


def state_names(job: Job) -> list[str]:
    """Names of the base state and the flags."""
    if not job.flags:
        return [job.state.name]
    return [job.state.name, *(flag.name for flag in JobFlag if flag in job.flags and flag.name not in ("NONE", None))]


def mail_types(spec: JobSpec) -> str:
    """Mail types as ``END,FAIL`` in Slurm's order; "" for none."""
    requested = {word.upper() for word in spec.mail_type}
    if "ALL" in requested:
        requested |= mailtype.ALL
    return ",".join(word for word in mailtype.EVENTS if word in requested)


#: stored after scontrol update OverSubscribe=NO: the job shares none of its resources
NOT_SHARED = ("oversubscribe", "no")


def share_word(spec: JobSpec) -> str:
    """OverSubscribe (job_share_string)."""
    if spec.exclusive is not None:
        return {"user": "USER", "mcs": "MCS", "topo": "TOPO"}.get(spec.exclusive, "NO")
    return "NO" if spec.reboot or NOT_SHARED in spec.recorded else "YES" if spec.oversubscribe else "OK"


#: key of a value stored when scontrol update changes CPUsPerTask, which leaves MinCPUsNode
LEAST_CPUS = "min_cpus_node"


def min_cpus_per_node(spec: JobSpec) -> int:
    """MinCPUsNode: the larger of --mincpus and a node's task CPUs.

    Source: job_mgr.c _copy_job_desc_to_job_record.
    """
    kept = dict(spec.recorded).get(LEAST_CPUS)
    if kept:
        return max(spec.mincpus or 1, int(kept))
    tasks = 1 if spec.ntasks == 1 or spec.overcommit else tasks_per_node(spec) or 1
    return max(spec.mincpus or 1, tasks * (spec.cpus_per_task or 1))


def tasks_per_node(spec: JobSpec) -> Optional[int]:
    """Tasks of a node, by option or by its devices."""
    return _counts(spec).tasks_per_node


def _counts(spec: JobSpec) -> device_counts.Numbers:
    return device_counts.resolved(spec).numbers


def min_memory(spec: JobSpec) -> tuple[str, int]:
    """Type and MiB of the memory request. The type is "Node", "CPU" or "TRES"; 0 MiB: not given."""
    if spec.mem_per_gpu_mib is not None:
        return "TRES", spec.mem_per_gpu_mib
    if spec.mem_per_cpu_mib is not None:
        return "CPU", spec.mem_per_cpu_mib
    return "Node", spec.mem_mib or 0


_CAPITALS = {"ondemand": "OnDemand", "powersave": "PowerSave", "userspace": "UserSpace", "schedutil": "SchedUtil"}


def cpu_frequency(text: str) -> str:
    """Text of a --cpu-freq request.

    Source: cpu_frequency.c cpu_freq_debug, which prints a blank after the maximum.
    """
    freq = cpufreq.parse(text)
    least, most = (freq.minimum, freq.maximum) if freq.maximum else ("", freq.minimum)
    shown = "CPU_min_freq=%s " % least.capitalize() if least else ""
    shown += "CPU_max_freq=%s " % most.capitalize() if most else ""
    return shown + ("Governor=" + _CAPITALS.get(freq.governor, freq.governor.capitalize()) if freq.governor else "")


def min_nodes_requested(spec: JobSpec) -> int:
    """Number of nodes in ReqTRES."""
    return _counts(spec).fewest_nodes(len(expand(spec.nodelist)) if spec.nodelist else 0)


def most_nodes(job: Job) -> int:
    """Largest number of nodes of a pending job; 0: not limited.

    A job that the scheduler has not tested has as many as its tasks need. Source: job_mgr.c _pack_pending_job_details.
    """
    spec = job.spec
    by_tasks = not tasks_per_node(spec) and (spec.cpus_per_task or 1) == 1 and not spec.ntasks_per_core
    return max(job.num_nodes, job.max_nodes) if job.untested and by_tasks else job.max_nodes


def or_star(value: Optional[int]) -> str:
    """A count, or ``*`` when missing."""
    return "*" if value is None else str(value)


def licenses_held(job: Job) -> Optional[str]:
    """Licenses of a started job; None before the start."""
    return (job.licenses_alloc or job.spec.licenses) if job.shares else None


def switch_wait_s(spec: JobSpec) -> int:
    """Seconds to wait for --switches, at most five minutes (max_switch_wait)."""
    if not spec.switches:
        return 0
    _, at, wait = spec.switches.partition("@")
    try:
        return min(parse_seconds(wait), 300) if at else 300
    except TimeLimitError:
        return 300


# --- paths -----------------------------------------------------------------------------------------------


def expand_path(pattern: str, job: Job) -> str:
    """Expand a pattern of -o, -e or -i to a path.

    ``%N`` stays until the first node is known.

    Source: print_fields.c expand_stdio_fields.
    """
    if not pattern:
        return ""
    if not pattern.startswith("/"):
        pattern = job.work_dir.rstrip("/") + "/" + pattern
    if "%" not in pattern and "\\" not in pattern:
        return pattern
    if not job.batch_host:
        pattern = _NODE_NAME.sub(r"%%\1", pattern)
    return filename.expand(
        pattern,
        filename.FilenameValues(
            job.job_id,
            user=job.user,
            job_name=job.name,
            array_job_id=job.array_job_id or None,
            array_task_id=job.array_task_id,
            node=job.batch_host,
            restart_count=job.restarts,
            sluid=sluid(job.submit_time, job.job_id),
        ),
    )


_NODE_NAME = re.compile(r"(?<!%)%([0-9]*N)")


def stderr_pattern(job: Job) -> str:
    """Path pattern of --error, or "". Source: info_job.c of 25.11."""
    return job.stderr
