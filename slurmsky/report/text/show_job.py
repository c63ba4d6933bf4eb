"""scontrol show job and show step.

A record is a list of lines, each of ``Key=value`` pairs; --oneliner joins them by a blank. Keys, order and
presence are those of Slurm 25.11: scontrol/info_job.c _sprint_job_info and _sprint_step_info.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Callable, Optional

from slurmsky.language import mailtype
from slurmsky.language.hostlist import compress
from slurmsky.model.job import Job, Step
from slurmsky.model.spec import JobSpec
from slurmsky.model.states import JobState

from ..fields import derived, tres_texts
from ..fields.squeue_fields import step_id_text
from ..report_context import ReportContext
from .spending import dollars
from .units import exit_pair, format_seconds, mebibytes, minutes_text, null_if_empty, or_null


def record_text(lines: list[str], oneliner: bool) -> str:
    """Format the lines of one record as scontrol does, with the separator before the next record."""
    return " ".join(lines) + "\n" if oneliner else "\n   ".join(lines) + "\n\n"


def show_job(job: Job, context: ReportContext, detail: bool = False, oneliner: bool = False) -> str:
    """``scontrol show job`` for one record; ``detail`` is -d, ``oneliner`` is -o."""
    return next(show_jobs([job], context, detail, oneliner))


def show_jobs(
    jobs: Iterable[Job], context: ReportContext, detail: bool = False, oneliner: bool = False
) -> Iterator[str]:
    """``scontrol show job`` for each record; lines shared by a record class (``kinds``) are formatted once."""
    separator, end = (" ", "\n") if oneliner else ("\n   ", "\n\n")
    groups = _job_groups(detail, "" if oneliner else "  ")
    own = [(at, lines) for at, (is_own, lines) in enumerate(groups) if is_own]
    known: dict[Hashable, list[str]] = {}
    for job in jobs:
        kind = context.kinds.of(job)
        parts = known.get(kind)
        if parts is None:
            parts = known[kind] = ["" if is_own else separator.join(lines(job, context)) for is_own, lines in groups]
        for at, lines in own:
            parts[at] = separator.join(lines(job, context))
        yield separator.join(filter(None, parts)).rstrip() + end


Lines = Callable[[Job, ReportContext], Iterable[str]]


def _job_groups(detail: bool, indent: str) -> tuple[tuple[bool, Lines], ...]:
    """Lines of a job in order, in groups; the flag is True for a group that differs within a record class."""
    details = ((False, lambda job, context: _allocation(job, indent)),) if detail else ()
    return (
        (True, _identity),
        (False, lambda job, context: _owner(job)),
        (True, _standing),
        (False, lambda job, context: _run(job, detail)),
        (True, _times),
        (False, _place),
        *details,
        (False, lambda job, context: _needs(job)),
        (True, lambda job, context: _texts(job)),
        (False, _options),
        (True, lambda job, context: _cost(job)),
    )


def _if_any(words: Iterator[str]) -> Iterator[str]:
    line = " ".join(words)
    if line:
        yield line


def _identity(job: Job, context: ReportContext) -> list[str]:
    if not (job.array_job_id or job.het_job_id or job.het_ids):
        return ["JobId=%d JobName=%s" % (job.job_id, job.name)]
    words = ["JobId=%d" % job.job_id]
    if job.array_job_id:
        tasks = derived.array_tasks(job, context.bitstr_len) if job.array_task_id is None else job.array_task_id
        words.append("ArrayJobId=%d ArrayTaskId=%s" % (job.array_job_id, tasks))
        if job.array_max_running:
            words.append("ArrayTaskThrottle=%d" % job.array_max_running)
    elif job.het_job_id:
        words.append("HetJobId=%d HetJobOffset=%d" % (job.het_job_id, job.het_offset))
    lines = [" ".join([*words, "JobName=" + job.name])]
    if job.het_ids:
        lines.append("HetJobIdSet=" + tres_texts.index_list(job.het_ids))
    return lines


def _owner(job: Job) -> Iterator[str]:
    yield "UserId=%s(%d) GroupId=%s(%d) MCS_label=%s" % (
        job.user,
        job.uid,
        job.group,
        job.gid,
        job.spec.mcs_label or "N/A",
    )


def _standing(job: Job, context: ReportContext) -> list[str]:
    failed = " FailedNode=" + job.failed_node if job.failed_node else ""
    return [
        "Priority=%d Nice=%d Account=%s QOS=%s%s"
        % (job.priority, job.nice, job.account or "(null)", job.qos or "(null)", _wckey(job, context)),
        "JobState=%s Reason=%s%s Dependency=%s"
        % (derived.state_words(job)[0], derived.reason(job).replace(" ", "_"), failed,
           job.dependency_shown or job.dependency or "(null)"),
    ]  # fmt: skip


def _wckey(job: Job, context: ReportContext) -> str:
    return " WCKey=" + or_null(job.spec.wckey) if context.tracks_wckey else ""


def _run(job: Job, detail: bool) -> Iterator[str]:
    yield "Requeue=%d Restarts=%d BatchFlag=%d Reboot=%d ExitCode=%s" % (
        job.spec.requeue is not False,
        job.restarts,
        job.is_batch,
        job.spec.reboot,
        exit_pair(job.exit_code, job.exit_signal),
    )
    if detail:
        yield "DerivedExitCode=" + exit_pair(job.derived_exit_code, job.derived_exit_signal)


def _times(job: Job, context: ReportContext) -> list[str]:
    text, spec, limit = context.clock.text, job.spec, context.time_limit(job)
    return [
        "RunTime=%s TimeLimit=%s TimeMin=%s"
        % (format_seconds(derived.run_seconds(job, context.now)), minutes_text(limit),
           minutes_text(spec.time_min_min) if spec.time_min_min else "N/A"),
        "SubmitTime=%s EligibleTime=%s" % (text(job.submit_time), text(job.eligible_time)),
        "AccrueTime=" + text(job.accrue_time),
        *(["ResizeTime=" + text(job.resize_time)] if job.resize_time else ()),
        "StartTime=%s EndTime=%s Deadline=%s"
        % (text(job.start_time), text(derived.end_time(job, limit)), text(spec.deadline) if spec.deadline else "N/A"),
        *(["PreemptEligibleTime=%s PreemptTime=%s" % (text(job.start_time), text(job.preempt_time))]
          if job.preempt_time else ()),
        "SuspendTime=%s SecsPreSuspend=%d LastSchedEval=%s Scheduler=%s"
        % (text(job.suspend_time) if job.suspend_time else "None", job.pre_suspend_s, text(job.last_sched_eval),
           "Main" if job.sched_main else "Backfill"),
    ]  # fmt: skip


def _place(job: Job, context: ReportContext) -> Iterator[str]:
    spec = job.spec
    yield "Partition=%s AllocNode:Sid=%s:%d" % (
        derived.partition(job),
        null_if_empty(job.alloc_node),
        job.alloc_sid,
    )
    yield "ReqNodeList=%s ExcNodeList=%s" % (or_null(spec.nodelist), or_null(spec.exclude))
    planned = derived.node_list(job.planned_nodes)
    yield "NodeList=" + derived.node_list(job.nodes) + (" SchedNodeList=" + planned if planned else "")
    host = [("BatchFeatures", spec.batch_features), ("BatchHost", job.batch_host)]
    yield from _if_any("%s=%s" % pair for pair in host if pair[1])
    if spec.stepmgr:
        yield "StepMgrEnabled=Yes"
    yield from _size(job, context)


def _size(job: Job, context: ReportContext) -> Iterator[str]:
    spec = job.spec
    nodes = str(job.num_nodes)
    if job.state is JobState.PENDING and job.max_nodes:
        nodes = "%d-%d" % (min(job.num_nodes, job.max_nodes), job.max_nodes)
    # A default node count is not shown for a job that ended before it ran.
    gone = job.state.finished and not job.shares and spec.ntasks is None
    tasks = "N/A" if gone else str(job.num_tasks)
    cpus = str(job.num_cpus)
    if job.state is JobState.PENDING and job.max_cpus:
        cpus = "%d-%d" % (job.num_cpus, job.max_cpus)
    yield "NumNodes=%s NumCPUs=%s NumTasks=%s CPUs/Task=%d ReqB:S:C:T=0:0:%s:%s" % (
        nodes,
        cpus,
        tasks,
        spec.cpus_per_task or 1,
        derived.or_star(spec.cores_asked),
        derived.or_star(spec.threads_asked),
    )
    yield "ReqTRES=" + tres_texts.tres(tres_texts.requested(job, context))
    yield "AllocTRES=" + (tres_texts.tres(tres_texts.allocated(job, context)) or "(null)")
    special = (
        "ThreadSpec=%d" % spec.thread_spec
        if spec.thread_spec is not None
        else "CoreSpec=" + derived.or_star(spec.core_spec)
    )
    yield "Socks/Node=%s NtasksPerN:B:S:C=%d:%d:%s:%s %s" % (
        derived.or_star(spec.sockets_per_node),
        spec.ntasks_per_node or 0,
        spec.ntasks_per_board or 0,
        derived.or_star(spec.ntasks_per_socket),
        derived.or_star(spec.ntasks_per_core),
        special,
    )


def _allocation(job: Job, indent: str) -> Iterator[str]:
    """JOB_GRES, and one line per run of nodes with equal CPUs, memory and devices."""
    if not job.shares:
        return
    yield "JOB_GRES=" + tres_texts.total_gres(job.shares)
    runs: list[tuple[tuple[str, int, str], list[str]]] = []
    for share in job.shares:
        devices = ",".join(tres_texts.device_text(*item) for item in share.gres.items() if item[1])
        got = (tres_texts.index_list(share.cpu_ids), share.memory_mib, devices)
        if not runs or runs[-1][0] != got:
            runs.append((got, []))
        runs[-1][1].append(share.name)
    for got, names in runs:
        yield "%sNodes=%s CPU_IDs=%s Mem=%d GRES=%s" % (indent, compress(names), *got)


def _needs(job: Job) -> Iterator[str]:
    spec = job.spec
    kind, memory = derived.min_memory(spec)
    yield "MinCPUsNode=%d MinMemory%s=%s MinTmpDiskNode=%s" % (
        derived.min_cpus_per_node(spec),
        kind,
        mebibytes(memory),
        mebibytes(spec.tmp_mib or 0),
    )
    yield "Features=%s DelayBoot=%s" % (or_null(spec.constraint), minutes_text(spec.delay_boot_min or 0))
    optional = (
        ("ClusterFeatures", spec.cluster_constraint),
        ("Prefer", spec.prefer),
        ("Reservation", spec.reservation),
    )
    yield from ("%s=%s" % pair for pair in optional if pair[1])
    yield "OverSubscribe=%s Contiguous=%d Licenses=%s LicensesAlloc=%s Network=%s" % (
        derived.share_word(spec),
        spec.contiguous,
        or_null(spec.licenses),
        or_null(derived.licenses_held(job)),
        or_null(spec.network),
    )


def _texts(job: Job) -> list[str]:
    lines = [
        "Command=" + derived.command(job),
        "SubmitLine=" + (job.submit_line or "(null)"),
        "WorkDir=" + job.work_dir,
    ]
    if job.admin_comment:
        lines.append("AdminComment=" + job.admin_comment)
    if job.system_comment:
        lines.append("SystemComment=" + job.system_comment)
    if job.comment:
        lines.append("Comment=" + job.comment)
    if job.spec.extra:
        lines.append("Extra=" + job.spec.extra)
    if job.is_batch:
        lines.append("StdErr=" + derived.expand_path(derived.stderr_pattern(job), job))
        lines.append("StdIn=" + derived.expand_path(job.stdin or "/dev/null", job))
        lines.append("StdOut=" + derived.expand_path(job.stdout, job))
    return lines


def _options(job: Job, context: ReportContext) -> Iterator[str]:
    spec = job.spec
    if spec.segment:
        yield "SegmentSize=%d" % spec.segment
    switches = (spec.switches or "0").partition("@")[0]
    if switches != "0":
        yield "Switches=%s@%s" % (switches, format_seconds(derived.switch_wait_s(spec)))
    recorded = dict(spec.recorded)
    if recorded.get("bb"):
        yield "BurstBuffer=" + recorded["bb"]
    if spec.cpu_freq:
        yield derived.cpu_frequency(spec.cpu_freq)
    gres_flags = (spec.gres_flags or "").split(",")
    words = [word for flag, word in _GRES_FLAGS if flag in gres_flags]
    if spec.kill_on_invalid_dep is not None:
        words.append("KillOnInvalidDependent=" + ("Yes" if spec.kill_on_invalid_dep else "No"))
    if spec.spread_job:
        words.append("SpreadJob=Yes")
    yield from _if_any(iter(words))
    if spec.oom_kill_step is not None:
        yield "OOMKillStep=%d" % spec.oom_kill_step
    yield from ("%s=%s" % pair for pair in tres_texts.tres_per(spec).items())
    mail = mail_types(spec)
    if mail:
        yield "MailUser=%s MailType=%s" % (spec.mail_user or job.user, mail)
    if spec.ntasks_per_gpu is not None:
        yield "NtasksPerTRES=%d" % spec.ntasks_per_gpu
    if spec.container or spec.container_id:
        yield "Container=%s ContainerID=%s" % (or_null(spec.container), or_null(spec.container_id))


def _cost(job: Job) -> tuple[str, ...]:
    # Our own line, shown only for jobs on paid nodes.
    if job.managed_job_id is None and not job.hourly_cost:
        return ()
    return ("Cost=%s HourlyCost=%s" % (dollars(job.cost), dollars(job.hourly_cost)),)


_GRES_FLAGS = (
    ("allow-task-sharing", "GresAllowTaskSharing=Yes"),
    ("disable-binding", "GresEnforceBind=No"),
    ("enforce-binding", "GresEnforceBind=Yes"),
    ("multiple-tasks-per-sharing", "GresOneTaskPerSharing=No"),
    ("one-task-per-sharing", "GresOneTaskPerSharing=Yes"),
)


def mail_types(spec: JobSpec) -> str:
    """Mail types as ``END,FAIL`` in Slurm's order; "" for none."""
    asked = {word.upper() for word in spec.mail_type}
    if "ALL" in asked:
        asked |= mailtype.ALL
    return ",".join(word for word in mailtype.EVENTS if word in asked)


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
    asked = tres_texts.step_asked(step)
    yield from ("%s=%s" % (key, asked[key]) for key in _STEP_TRES if key in asked)
    if step.container:
        yield "Container=%s ContainerID=(null)" % step.container


def resource_lines(job: Job) -> Iterator[str]:
    """``scontrol show resources``: cores, memory and devices of each node of a job."""
    for share in job.shares:
        yield f"Node={share.name} AbstractCores={tres_texts.index_list(share.cpu_ids)} Memory={share.memory_mib}"
        for name, indices in share.gres.items():
            if indices:
                what, _, kind = name.partition(":")
                typed = f" Type={kind}" if kind else ""
                yield f" Gres={what}{typed} Count={len(indices)} Index={tres_texts.index_list(indices)}"
