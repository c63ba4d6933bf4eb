"""Registry of a job's values for squeue, sacct, JSON and scontrol. The rows are in ``data/job_fields.csv``."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from typing import Any, Callable, Optional

from slurmsky.language.hostlist import compress
from slurmsky.language.sluid import sluid
from slurmsky.model.allocation import NodeShare
from slurmsky.model.job import Job
from slurmsky.model.spec import INFINITE
from slurmsky.model.states import JobState

from ..report_context import ReportContext
from ..text.spending import dollars
from ..text.units import format_seconds, or_null
from . import derived, tres_texts
from .value_registry import Registry


def row_reader(
    value: str, context: ReportContext, form: Optional[Callable[[Any], Optional[str]]]
) -> Callable[[Any], Any]:
    """Function that reads a value from a row with a ``job``.

    ``form`` formats the value; without it the value is unchanged.
    """
    read = reader(value, context)
    if isinstance(read, attrgetter):
        found = attrgetter(*("job." + name for name in value.split("+")))
        return found if form is None else lambda row: form(found(row))
    return (lambda row: read(row.job)) if form is None else (lambda row: form(read(row.job)))


def _allocation(job: Job) -> list[str]:
    """JOB_GRES, and one line per run of similar nodes. Similar nodes have equal CPUs, memory and devices."""
    if not job.shares:
        return []
    lines = ["JOB_GRES=" + tres_texts.total_gres(job.shares)]
    for got, shares in groupby(job.shares, _share_text):
        lines.append("  Nodes=%s CPU_IDs=%s Mem=%d GRES=%s" % (compress([share.name for share in shares]), *got))
    return lines


def _share_text(share: NodeShare) -> tuple[str, int, str]:
    devices = ",".join(tres_texts.device_text(*item) for item in share.gres.items() if item[1])
    return tres_texts.index_list(share.cpu_ids), share.memory_mib, devices


def _array_element(job: Job, context: ReportContext) -> str:
    if not job.array_job_id:
        return ""
    return str(derived.shown_tasks(job, context) if job.array_task_id is None else job.array_task_id)


def _bits_requested(job: Job) -> str:
    spec = job.spec
    return "0:0:%s:%s" % (derived.or_star(spec.cores_requested), derived.or_star(spec.threads_requested))


def _container(job: Job) -> dict[str, str]:
    spec = job.spec
    if not (spec.container or spec.container_id):
        return {}
    return {"Container": or_null(spec.container), "ContainerID": or_null(spec.container_id)}


def _core_or_thread_spec(job: Job) -> str:
    spec = job.spec
    if spec.thread_spec is not None:
        return "%d Threads" % spec.thread_spec
    return "N/A" if spec.core_spec is None else str(spec.core_spec)


def _cpus_shown(job: Job) -> str:
    if job.state is JobState.PENDING and job.max_cpus:
        return "%d-%d" % (job.num_cpus, job.max_cpus)
    return str(job.num_cpus)


_GRES_FLAGS = {
    "allow-task-sharing": ("GresAllowTaskSharing", "Yes"),
    "disable-binding": ("GresEnforceBind", "No"),
    "enforce-binding": ("GresEnforceBind", "Yes"),
    "multiple-tasks-per-sharing": ("GresOneTaskPerSharing", "No"),
    "one-task-per-sharing": ("GresOneTaskPerSharing", "Yes"),
}


def _gres_flags(job: Job) -> dict[str, str]:
    given = (job.spec.gres_flags or "").split(",")
    return dict(word for flag, word in _GRES_FLAGS.items() if flag in given)


def _job_flags(job: Job) -> list[str]:
    spec = job.spec
    memory = spec.mem_mib is not None or spec.mem_per_cpu_mib is not None
    words = (
        ("KILL_INVALID_DEPENDENCY", spec.kill_on_invalid_dep is True),
        ("NO_KILL_INVALID_DEPENDENCY", spec.kill_on_invalid_dep is False),
        ("SPREAD_JOB", spec.spread_job),
        ("PREFER_MINIMUM_NODE_COUNT", spec.use_min_nodes),
        ("EXACT_TASK_COUNT_REQUESTED", spec.ntasks is not None),
        ("EXACT_CPU_COUNT_REQUESTED", spec.cpus_per_task is not None),
        ("JOB_WAS_RUNNING", job.state in (JobState.RUNNING, JobState.SUSPENDED)),
        ("CRON_JOB", bool(job.cron)),
        ("EXACT_MEMORY_REQUESTED", memory and not spec.memory_by_default),
        ("USING_DEFAULT_ACCOUNT", spec.account is None),
        ("USING_DEFAULT_PARTITION", spec.partition is None),
        ("USING_DEFAULT_QOS", spec.qos is None),
        ("USING_DEFAULT_WCKEY", spec.wckey is None),
        ("DEPENDENT", bool(job.dependency) and job.state is JobState.PENDING),
        ("PARTITION_ASSIGNED", spec.partition is None),
        ("BACKFILL_ATTEMPTED", not job.sched_main),
        ("STEPMGR_ENABLED", spec.stepmgr),
    )
    return [word for word, there in words if there]


def _cores(share: NodeShare, context: ReportContext) -> list[dict[str, Any]]:
    """Sockets of a node with the state of their cores, those of other jobs included."""
    node = context.node_configs.get(share.name)
    sockets, cores, threads = 1, node.cpus if node else max(share.cpu_ids, default=0) + 1, 1
    if node and node.boards * node.sockets * node.cores * node.threads == node.cpus:
        sockets, cores, threads = node.boards * node.sockets, node.cores, node.threads
    mine = {cpu // threads for cpu in share.cpu_ids}
    return [
        {
            "index": socket,
            "cores": [
                {"index": core, "status": ["ALLOCATED" if socket * cores + core in mine else "UNALLOCATED"]}
                for core in range(cores)
            ],
        }
        for socket in range(sockets)
    ]


def _job_resources(job: Job, context: ReportContext) -> Optional[dict[str, Any]]:
    if not job.shares:
        return None
    spec = job.spec
    whole = spec.exclusive is not None
    threads = {"set": spec.threads_per_core is not None, "infinite": False, "number": spec.threads_per_core or 0}
    return {
        "select_type": ["CORE"],
        "nodes": {
            "count": len(job.shares),
            "select_type": ["AVAILABLE" if derived.share_word(spec) == "YES" else "ONE_ROW"],
            "list": derived.node_list(job.nodes),
            "whole": whole,
            "allocation": [
                {
                    "index": index,
                    "name": share.name,
                    "cpus": {"count": share.cpus, "used": 0},
                    "memory": {"used": 0, "allocated": share.memory_mib},
                    "sockets": _cores(share, context),
                }
                for index, share in enumerate(job.shares)
            ],
        },
        "cpus": tres_texts.requested_cpus(job),
        "threads_per_core": threads,
    }


def _memory(*kinds: str) -> Callable[[Job], Optional[int]]:
    def read(job: Job) -> Optional[int]:
        found, memory = derived.min_memory(job.spec)
        return memory if found in kinds else None

    return read


def _nodes_shown(job: Job) -> str:
    if job.state is not JobState.PENDING:
        return str(job.num_nodes)
    sizes, most = job.spec.nodes or "", derived.most_nodes(job)
    if "," in sizes or ":" in sizes:
        return sizes
    return "%d-%d" % (min(job.num_nodes, most), most) if most else str(job.num_nodes)


def _tasks_shown(job: Job) -> str:
    # A default node count is hidden for a job that ended before it ran.
    gone = job.state.finished and not job.shares and job.spec.ntasks is None
    return "N/A" if gone else str(job.num_tasks)


def _or_endless(value: Optional[int]) -> int:
    return INFINITE if value is None else value


def _ntasks_per(job: Job) -> str:
    spec = job.spec
    return "%d:%d:%s:%s" % (
        derived.tasks_per_node(spec) or 0,
        spec.ntasks_per_board or 0,
        derived.or_star(spec.ntasks_per_socket),
        derived.or_star(spec.ntasks_per_core),
    )


def _pending_s(job: Job, context: ReportContext) -> int:
    end = job.start_time if 0 < job.start_time < context.now else context.now
    return int(end) - int(job.submit_time)


def _switches_shown(job: Job) -> str:
    count = _switches(job)
    return "" if count == "0" else "%s@%s" % (count, format_seconds(derived.switch_wait_s(job.spec)))


def _switches(job: Job) -> str:
    return (job.spec.switches or "0").partition("@")[0]


def _price(job: Job) -> dict[str, str]:
    # our own line of scontrol, shown only for jobs on paid nodes
    if job.managed_job_id is None and not job.hourly_cost:
        return {}
    return {"Cost": dollars(job.cost), "HourlyCost": dollars(job.hourly_cost)}


def _time_left_s(job: Job, context: ReportContext) -> Optional[int]:
    limit = context.time_limit(job)
    return None if limit == INFINITE else limit * 60 - derived.run_seconds(job, context.now)


def _tres_shown(job: Job, context: ReportContext) -> str:
    # Before the start squeue shows the request.
    return tres_texts.tres(tres_texts.allocated(job, context) or tres_texts.requested(job, context))


def _yes_no(flag: Optional[bool]) -> str:
    return "" if flag is None else "Yes" if flag else "No"


#: values that a job determines
_OF_JOB: dict[str, Callable[[Job], Any]] = {
    "allocation": _allocation,
    "alloc_node_sid": lambda job: "%s:%d" % (job.alloc_node or "(null)", job.alloc_sid),
    "array_or_job_id": lambda job: job.array_job_id or job.job_id,
    "array_tasks": lambda job: derived.array_tasks(job, 0),
    "batch_stderr": lambda job: "StdErr=" + derived.expand_path(job.stderr, job) if job.is_batch else "",
    "batch_stdin": lambda job: derived.expand_path(job.stdin or "/dev/null", job) if job.is_batch else "",
    "batch_stdout": lambda job: derived.expand_path(job.stdout, job) if job.is_batch else "",
    "batch_or_alloc_host": lambda job: (job.batch_host if job.is_batch else job.alloc_node) or "n/a",
    "bits_requested": _bits_requested,
    "burst_buffer": lambda job: dict(job.spec.recorded).get("bb") or "",
    # slurmdbd numbers the rows of its job table, one per run
    "run_index": lambda job: job.restarts << 32 | job.job_id,
    # slurmctld shows the request until the job starts: one of several QOS is then chosen
    "qos_shown": lambda job: (job.state is JobState.PENDING and job.spec.qos) or job.qos,
    # slurmctld sends the comment to slurmdbd when the job ends.
    "comment_at_end": lambda job: job.comment if job.state.finished else "",
    "container": _container,
    "core_or_thread_spec": _core_or_thread_spec,
    "cpu_frequency": lambda job: derived.cpu_frequency(job.spec.cpu_freq) if job.spec.cpu_freq else "",
    "cpus_billed": lambda job: job.num_cpus if job.shares else None,
    "cpus_shown": _cpus_shown,
    "dependency_left": lambda job: job.dependency_shown or job.dependency,
    "gres_detail": lambda job: [_share_text(share)[2] for share in job.shares if share.gres],
    "gres_flags": _gres_flags,
    "group_and_gid": lambda job: "%s(%d)" % (job.group, job.gid),
    "held": lambda job: job.priority == 0,
    "het_place": lambda job: str(job.het_offset) if job.het_job_id else None,
    "het_set": lambda job: tres_texts.index_list(job.het_ids) if job.het_job_id else None,
    "job_flags": _job_flags,
    "kill_on_invalid_dep": lambda job: _yes_no(job.spec.kill_on_invalid_dep),
    "licenses_held": derived.licenses_held,
    "mail_types": lambda job: derived.mail_types(job.spec),
    "mail_user": lambda job: job.spec.mail_user or job.user,
    "mail_user_shown": lambda job: (job.spec.mail_user or job.user) if derived.mail_types(job.spec) else "",
    "max_nodes_or_nodes": lambda job: derived.most_nodes(job) or job.num_nodes,
    "max_nodes_waiting": lambda job: derived.most_nodes(job) if job.state is JobState.PENDING else 0,
    "memory_per_cpu": _memory("CPU"),
    "memory_per_node": _memory("Node", "TRES"),
    "memory_of_node": _memory("Node"),
    "memory_of_gpu": _memory("TRES"),
    "min_cpus_per_node": lambda job: derived.min_cpus_per_node(job.spec),
    "min_memory": lambda job: derived.min_memory(job.spec)[1],
    "node_list": lambda job: derived.node_list(job.nodes),
    "nodes_shown": _nodes_shown,
    "ntasks_per": _ntasks_per,
    "oom_kill_step": lambda job: "" if job.spec.oom_kill_step is None else str(int(job.spec.oom_kill_step)),
    "oversubscribe": lambda job: derived.share_word(job.spec),
    "partitions": derived.partition,
    "planned_nodes": lambda job: derived.node_list(job.planned_nodes),
    "price": _price,
    "profile": lambda job: job.spec.profile or "NotSet",
    "reason_word": lambda job: derived.reason(job).replace(" ", "_"),
    "requeues": lambda job: job.spec.requeue is not False,
    "reservation_used": lambda job: job.spec.reservation if job.shares and job.state is not JobState.PENDING else None,
    "scheduler": lambda job: "Main" if job.sched_main else "Backfill",
    "sluid": lambda job: sluid(job.submit_time, job.job_id),
    "special_cores": lambda job: "" if job.spec.thread_spec is not None else derived.or_star(job.spec.core_spec),
    "state_compact": lambda job: derived.state_words(job)[1],
    "state_long": lambda job: derived.state_words(job)[0],
    "state_names": derived.state_names,
    "stderr_path": lambda job: derived.expand_path(derived.stderr_pattern(job), job),
    "stderr_pattern": derived.stderr_pattern,
    "stdin_path": lambda job: derived.expand_path(job.stdin, job),
    "stdout_path": lambda job: derived.expand_path(job.stdout, job),
    "tasks_per_core": lambda job: _or_endless(job.spec.ntasks_per_core),
    "tasks_per_socket": lambda job: _or_endless(job.spec.ntasks_per_socket),
    "step_selector": lambda job: {
        "sluid": sluid(job.submit_time, job.job_id),
        "job_id": {"set": True, "infinite": False, "number": job.job_id},
        "step_het_component": {"set": False, "infinite": False, "number": 0},
        "step_id": "entire",
    },
    "switch_wait_s": lambda job: derived.switch_wait_s(job.spec),
    "switches": _switches,
    "switches_shown": _switches_shown,
    "tasks_shown": _tasks_shown,
    "thread_spec": lambda job: 32766 if job.spec.thread_spec is None else job.spec.thread_spec,
    "tres_per": lambda job: tres_texts.tres_per(job.spec),
    "user_and_uid": lambda job: "%s(%d)" % (job.user, job.uid),
}
#: values that also depend on the time, the cluster or a setting
_IN_CONTEXT: dict[str, Callable[[Job, ReportContext], Any]] = {
    "array_element": _array_element,
    "end_expected": lambda job, context: derived.end_time(job, context.time_limit(job)),
    "job_resources": _job_resources,
    "pending_s": _pending_s,
    "preempt_eligible": lambda job, context: context.clock.text(job.start_time) if job.preempt_time else "",
    "run_s": lambda job, context: derived.run_seconds(job, context.now),
    "time_left_s": _time_left_s,
    "time_limit": lambda job, context: context.time_limit(job),
    "tres_allocated": lambda job, context: tres_texts.tres(tres_texts.allocated(job, context)),
    "tres_requested": lambda job, context: tres_texts.tres(tres_texts.requested(job, context)),
    "tres_shown": _tres_shown,
    "wckey_shown": lambda job, context: or_null(job.spec.wckey) if context.tracks_wckey else "",
}

_REGISTRY = Registry("job_fields", _OF_JOB, _IN_CONTEXT)
fields_of, reader = _REGISTRY.fields_of, _REGISTRY.reader
