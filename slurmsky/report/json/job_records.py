"""Job records of --json and --yaml: the layout of Slurm 25.11's data parser v0.0.44.

Keys and nesting follow plugins/data_parser/v0.0.44/parsers.c, where ``/`` in a path means a nested object. A number
that may be unset or infinite is ``{"set": ..., "infinite": ..., "number": ...}``.
"""

from __future__ import annotations

import json
from typing import Any, Optional

from slurmsky.language.signalspec import name_of
from slurmsky.model.job import Job
from slurmsky.model.spec import INFINITE, JobSpec
from slurmsky.model.states import JobFlag, JobState

from ..fields import derived, tres_texts
from ..report_context import ReportContext
from ..text.show_job import mail_types

Record = dict[str, Any]


class Number(dict[str, Any]):
    """The JSON object for a number that is set and finite."""


class Constant(Number):
    """An object that many records share; its text is encoded once."""

    text = ""


def _constant(**items: Any) -> Constant:
    shared = Constant(items)
    shared.text = json.dumps(items)
    return shared


UNSET = _constant(set=False, infinite=False, number=0)
ENDLESS = _constant(set=False, infinite=True, number=0)
ZERO = _constant(set=True, infinite=False, number=0)
UNSET_REAL = _constant(set=False, infinite=False, number=0.0)
ENDLESS_REAL = _constant(set=False, infinite=True, number=0.0)
SUCCESS = _constant(status=["SUCCESS"], return_code=ZERO, signal={"id": UNSET, "name": ""})


def number(value: Optional[float]) -> Number:
    """A number that may be unset (None) or INFINITE."""
    if value is None:
        return UNSET
    if value == 0:
        return ZERO
    return ENDLESS if value == INFINITE else Number(set=True, infinite=False, number=value)


def real(value: Optional[float]) -> Number:
    """A floating-point number that may be unset."""
    return UNSET_REAL if value is None else Number(set=True, infinite=False, number=float(value))


def stamp(time: Optional[float]) -> Number:
    """A time in epoch seconds; 0 stays 0."""
    return Number(set=True, infinite=False, number=int(time)) if time else ZERO


def exit_code(code: int, signal: int, waiting: bool = False) -> Record:
    """Exit code and signal of a process."""
    if waiting:
        return {"status": ["PENDING"], "return_code": number(0), "signal": {"id": UNSET, "name": ""}}
    if signal:
        return {"status": ["SIGNALED"], "return_code": UNSET, "signal": {"id": number(signal), "name": name_of(signal)}}
    if not code:
        return SUCCESS
    return {"status": ["ERROR"], "return_code": number(code), "signal": {"id": UNSET, "name": ""}}


def states(job: Job) -> list[str]:
    """Names of the base state and the flags."""
    if not job.flags:
        return [job.state.name]
    flags = [flag.name for flag in JobFlag if flag in job.flags and flag.name]
    return [job.state.name, *(name for name in flags if name not in ("NONE", None))]


_SHARED = {
    "NO": ["none"],
    "YES": ["oversubscribe"],
    "USER": ["user"],
    "MCS": ["mcs"],
    "TOPO": ["topo"],
    "OK": [],
}


#: keys of a job in the parser's order
_LAYOUT = """
    account accrue_time admin_comment allocating_node array_job_id array_task_id array_max_tasks
    array_task_string association_id batch_features batch_flag batch_host flags burst_buffer burst_buffer_state
    cluster cluster_features command comment container container_id contiguous core_spec thread_spec
    cores_per_socket billable_tres cpus_per_task cpu_frequency_minimum cpu_frequency_maximum
    cpu_frequency_governor cpus_per_tres cron deadline delay_boot dependency derived_exit_code eligible_time
    end_time excluded_nodes exit_code extra failed_node features federation_origin federation_siblings_active
    federation_siblings_viable gres_detail group_id group_name het_job_id het_job_id_set het_job_offset job_id
    job_resources job_size_str job_state last_sched_evaluation licenses licenses_allocated mail_type mail_user
    max_cpus max_nodes mcs_label memory_per_tres name network nodes nice tasks_per_core tasks_per_tres
    tasks_per_node tasks_per_socket tasks_per_board cpus node_count tasks partition prefer memory_per_cpu
    memory_per_node minimum_cpus_per_node minimum_tmp_disk_per_node power preempt_time preemptable_time
    pre_sus_time hold priority priority_by_partition profile qos reboot required_nodes required_switches requeue
    resize_time restart_cnt resv_name scheduled_nodes segment_size selinux_context shared step_id sockets_per_board
    sockets_per_node start_time state_description state_reason standard_input standard_output standard_error
    stdin_expanded stdout_expanded stderr_expanded submit_time submit_line suspend_time system_comment
    time_limit time_minimum threads_per_core tres_bind tres_freq tres_per_job tres_per_node tres_per_socket
    tres_per_task tres_req_str tres_alloc_str user_id user_name maximum_switch_wait_time wckey
    current_working_directory
""".split()  # noqa: SIM905  # read as a list of words


class JobRecords:
    """Builds the records of jobs; values that depend on the spec alone are computed once per spec."""

    def __init__(self, context: ReportContext) -> None:
        self._context = context
        self._forms: dict[int, tuple[JobSpec, Record]] = {}

    def __call__(self, job: Job) -> Record:
        """The record of a job as squeue and scontrol show job print it."""
        spec, form = self._forms.get(id(job.spec), (None, {}))
        if spec is not job.spec:
            form = dict.fromkeys(_LAYOUT)
            form.update(_of_spec(job.spec))
            self._forms[id(job.spec)] = job.spec, form
        record = form.copy()
        record.update(_shared_values(job, self._context))
        record.update(own_values(job))
        return record


def job_record(job: Job, context: ReportContext) -> Record:
    """The record of a job as squeue and scontrol show job print it."""
    return JobRecords(context)(job)


def _of_spec(spec: JobSpec) -> Record:
    kind, memory = derived.min_memory(spec)
    # scontrol's text follows the recorded answers ("gres:gpu:1"); this layout has "gres/gpu:1", as Slurm since 23.11.
    per = {key: text.replace("gres:", "gres/") for key, text in tres_texts.tres_per(spec).items()}
    return {
        "association_id": 0,
        "batch_features": spec.batch_features or "",
        "burst_buffer": "",
        "burst_buffer_state": "",
        "cluster_features": spec.cluster_constraint or "",
        "container": spec.container or "",
        "container_id": spec.container_id or "",
        "contiguous": spec.contiguous,
        "core_spec": spec.core_spec or 0,
        "thread_spec": spec.thread_spec if spec.thread_spec is not None else 32766,
        "cores_per_socket": number(spec.cores_per_socket),
        "cpus_per_task": number(spec.cpus_per_task or 1),
        "cpu_frequency_minimum": UNSET,
        "cpu_frequency_maximum": UNSET,
        "cpu_frequency_governor": UNSET,
        "cpus_per_tres": per.get("CpusPerTres", ""),
        "deadline": stamp(spec.deadline),
        "delay_boot": number((spec.delay_boot_min or 0) * 60),
        "excluded_nodes": spec.exclude or "",
        "features": spec.constraint or "",
        "federation_origin": "",
        "federation_siblings_active": "",
        "federation_siblings_viable": "",
        "job_size_str": [],
        "licenses": spec.licenses or "",
        "mail_type": [word for word in mail_types(spec).split(",") if word] if spec.mail_type else [],
        "mcs_label": spec.mcs_label or "",
        "memory_per_tres": per.get("MemPerTres", ""),
        "network": spec.network or "",
        "tasks_per_core": number(spec.ntasks_per_core),
        "tasks_per_tres": number(spec.ntasks_per_gpu or 0),
        "tasks_per_node": number(spec.ntasks_per_node or 0),
        "tasks_per_socket": number(spec.ntasks_per_socket),
        "tasks_per_board": number(spec.ntasks_per_board or 0),
        "prefer": spec.prefer or "",
        "memory_per_cpu": number(memory if kind == "CPU" else None),
        "memory_per_node": number(memory if kind == "Node" else None),
        "minimum_cpus_per_node": number(derived.min_cpus_per_node(spec)),
        "minimum_tmp_disk_per_node": number(spec.tmp_mib or 0),
        "power": {"flags": []},
        "preemptable_time": stamp(0),
        "priority_by_partition": [],
        "profile": ["NOT_SET"],
        "reboot": spec.reboot,
        "required_nodes": spec.nodelist or "",
        "required_switches": int((spec.switches or "0").partition("@")[0] or 0),
        "requeue": spec.requeue is not False,
        "resv_name": spec.reservation or "",
        "segment_size": spec.segment or 0,
        "selinux_context": "",
        "shared": _SHARED[derived.share_word(spec)],
        "sockets_per_board": 0,
        "sockets_per_node": number(spec.sockets_per_node),
        "time_minimum": number(spec.time_min_min or 0),
        "threads_per_core": number(spec.threads_per_core),
        "tres_bind": per.get("TresBind", ""),
        "tres_freq": per.get("TresFreq", ""),
        "tres_per_job": per.get("TresPerJob", ""),
        "tres_per_node": per.get("TresPerNode", ""),
        "tres_per_socket": per.get("TresPerSocket", ""),
        "tres_per_task": per.get("TresPerTask", ""),
        "maximum_switch_wait_time": derived.switch_wait_s(spec),
        "wckey": spec.wckey or "",
    }


def own_values(job: Job) -> Record:
    """Values that differ between jobs of one record class (``kinds``)."""
    stdout, stderr = job.stdout, derived.stderr_pattern(job)
    stdout_path = derived.expand_path(stdout, job)
    stderr_path = stdout_path if stderr == stdout else derived.expand_path(stderr, job)
    return {
        "accrue_time": stamp(job.accrue_time),
        "array_task_id": number(job.array_task_id),
        "array_task_string": derived.array_tasks(job, 0) or "",
        "flags": _job_flags(job),
        "command": "" if not job.command else derived.command(job),
        "comment": job.comment,
        "dependency": job.dependency_shown or job.dependency,
        "eligible_time": stamp(job.eligible_time),
        "end_time": stamp(job.end_time),
        "job_id": job.job_id,
        "last_sched_evaluation": stamp(job.last_sched_eval),
        "name": job.name,
        "preempt_time": stamp(job.preempt_time),
        "pre_sus_time": stamp(job.pre_suspend_s),
        "hold": job.priority == 0,
        "priority": number(job.priority),
        "resize_time": stamp(job.resize_time),
        "step_id": {"sluid": "", "job_id": number(job.job_id), "step_het_component": UNSET, "step_id": "TBD"},
        "start_time": stamp(job.start_time),
        "standard_input": job.stdin,
        "standard_output": stdout,
        "standard_error": stderr,
        "stdin_expanded": derived.expand_path(job.stdin, job),
        "stdout_expanded": stdout_path,
        "stderr_expanded": stderr_path,
        "submit_time": stamp(job.submit_time),
        "submit_line": job.submit_line,
        "suspend_time": stamp(job.suspend_time),
        "system_comment": job.system_comment,
        "current_working_directory": job.work_dir,
        "extra": job.spec.extra or "",
    }


def _shared_values(job: Job, context: ReportContext) -> Record:
    """Values that are equal for jobs of one record class, and depend on more than the spec."""
    spec, waiting = job.spec, job.state is JobState.PENDING
    limit = context.time_limit(job)
    return {
        "account": job.account,
        "admin_comment": job.admin_comment,
        "allocating_node": job.alloc_node,
        "array_job_id": number(job.array_job_id),
        "array_max_tasks": number(job.array_max_running or 0),
        "batch_flag": job.is_batch,
        "batch_host": job.batch_host,
        "cluster": job.cluster,
        "cron": job.cron,
        "billable_tres": real(job.num_cpus if job.shares else None),
        "derived_exit_code": exit_code(job.derived_exit_code, job.derived_exit_signal),
        "exit_code": exit_code(job.exit_code, job.exit_signal),
        "failed_node": job.failed_node,
        "gres_detail": [
            ",".join(tres_texts.device_text(*item) for item in share.gres.items() if item[1])
            for share in job.shares
            if share.gres
        ],
        "group_id": job.gid,
        "group_name": job.group,
        "het_job_id": number(job.het_job_id),
        "het_job_id_set": tres_texts.index_list(job.het_ids),
        "het_job_offset": number(job.het_offset),
        "job_resources": _resources(job),
        "job_state": states(job),
        "licenses_allocated": (job.licenses_alloc or spec.licenses or "") if job.shares else "",
        "mail_user": spec.mail_user or job.user,
        "max_nodes": number(job.max_nodes if waiting else 0),
        "nodes": derived.node_list(job.nodes),
        "nice": job.nice,
        "cpus": number(job.num_cpus),
        "max_cpus": number(job.max_cpus),
        "node_count": number(job.num_nodes),
        "tasks": number(job.num_tasks),
        "partition": derived.partition(job),
        "qos": job.qos,
        "restart_cnt": job.restarts,
        "scheduled_nodes": derived.node_list(job.planned_nodes),
        "state_description": job.reason_desc,
        "state_reason": job.reason,
        "time_limit": number(limit),
        "tres_req_str": tres_texts.tres(tres_texts.requested(job, context)),
        "tres_alloc_str": tres_texts.tres(tres_texts.allocated(job, context)),
        "user_id": job.uid,
        "user_name": job.user,
    }


def _job_flags(job: Job) -> list[str]:
    spec = job.spec
    words = (
        ("KILL_INVALID_DEPENDENCY", spec.kill_on_invalid_dep is True),
        ("NO_KILL_INVALID_DEPENDENCY", spec.kill_on_invalid_dep is False),
        ("SPREAD_JOB", spec.spread_job),
        ("PREFER_MINIMUM_NODE_COUNT", spec.use_min_nodes),
        ("HETEROGENEOUS_JOB", bool(job.het_job_id)),
        ("EXACT_TASK_COUNT_REQUESTED", spec.ntasks is not None),
        ("EXACT_CPU_COUNT_REQUESTED", spec.cpus_per_task is not None),
        ("CRON_JOB", bool(job.cron)),
        ("EXACT_MEMORY_REQUESTED", spec.mem_mib is not None or spec.mem_per_cpu_mib is not None),
        ("USING_DEFAULT_ACCOUNT", spec.account is None),
        ("USING_DEFAULT_PARTITION", spec.partition is None),
        ("USING_DEFAULT_QOS", spec.qos is None),
        ("USING_DEFAULT_WCKEY", spec.wckey is None),
        ("DEPENDENT", bool(job.dependency) and job.state is JobState.PENDING),
        ("PARTITION_ASSIGNED", bool(job.shares)),
        ("BACKFILL_ATTEMPTED", not job.sched_main),
        ("STEPMGR_ENABLED", spec.stepmgr),
    )
    return [word for word, there in words if there]


def _resources(job: Job) -> Optional[Record]:
    if not job.shares:
        return None
    return {
        "select_type": ["CORE", "MEMORY"] if any(share.memory_mib for share in job.shares) else ["CORE"],
        "nodes": {
            "count": len(job.shares),
            "select_type": [
                "RESERVED"
                if job.spec.exclusive is not None
                else "AVAILABLE"
                if derived.share_word(job.spec) == "YES"
                else "ONE_ROW"
            ],
            "list": derived.node_list(job.nodes),
            "whole": job.spec.exclusive is not None,
            "allocation": [
                {
                    "index": index,
                    "name": share.name,
                    "cpus": {"count": share.cpus, "used": 0},
                    "memory": {"used": 0, "allocated": share.memory_mib},
                    "sockets": [
                        {
                            "index": 0,
                            "cores": [{"index": cpu, "status": ["ALLOCATED"]} for cpu in share.cpu_ids],
                        }
                    ],
                }
                for index, share in enumerate(job.shares)
            ],
        },
        "cpus": job.num_cpus,
        "threads_per_core": number(job.spec.threads_per_core),
    }
