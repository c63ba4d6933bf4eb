"""JSON records of sacct. The parsers JOB and STEP of 25.11's data parser v0.0.44 define the layout."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Optional, Union

from slurmsky.model.job import Job, Step, Usage

from ..fields import derived, tres_texts
from ..fields.sacct_fields import (
    KILLED,
    SacctRow,
    accounted_reason,
    elapsed,
    ever_had_nodes,
    has_ended,
    planned_seconds,
)
from ..report_context import ReportContext
from .job_records import Record as Object
from .job_records import exit_code, number, stamp

# TRES ids of the accounting database
_TRES_IDS = {"cpu": 1, "mem": 2, "energy": 3, "node": 4, "billing": 5, "fs/disk": 6, "vmem": 7, "pages": 8}


def _tres(parts: Iterable[tuple[str, Union[str, float]]]) -> list[Object]:
    result = []
    for name, count in parts:
        kind, _, what = name.partition("/")
        result.append({"type": kind, "name": what, "id": _TRES_IDS.get(name, 1001), "count": int(count)})
    return result


def _time(seconds: float) -> Object:
    whole = int(seconds)
    return {"seconds": whole, "microseconds": round((seconds - whole) * 1_000_000)}


def _cpu_times(steps: Iterable[Step]) -> dict[str, Object]:
    over = [step.usage for step in steps if step.state.finished]
    user, system = sum(usage.user_s for usage in over), sum(usage.system_s for usage in over)
    return {"system": _time(system), "total": _time(user + system), "user": _time(user)}


def accounting_record(job: Job, context: ReportContext) -> Object:
    """Record of a job with its steps, as in sacct."""
    spec, ran = job.spec, ever_had_nodes(job)
    kind, memory = derived.min_memory(spec)
    stdout, stderr = job.stdout, derived.stderr_pattern(job)
    memory_held = sum(share.memory_mib for share in job.shares)
    held: list[tuple[str, Union[str, float]]] = [
        ("cpu", job.num_cpus),
        *([("mem", memory_held)] if memory_held else []),
        ("node", len(job.shares)),
        ("billing", job.num_cpus),
        *tres_texts.allocated_gres(job, context),
    ]
    requested = tres_texts.requested_cpus(job)
    limit = job.time_limit_min
    ended = job.end_time if has_ended(job) else 0
    return {
        "account": job.account,
        "comment": {"administrator": job.admin_comment, "job": job.comment, "system": job.system_comment},
        "allocation_nodes": len(job.shares) if ran else 0,
        "array": {
            "job_id": job.array_job_id,
            "limits": {"max": {"running": {"tasks": job.array_max_running or 0}}},
            "task_id": number(job.array_task_id),
            "task": derived.array_tasks(job, 0) or "",
        },
        "association": {
            "account": job.account,
            "cluster": job.cluster,
            "partition": "",
            "user": job.user,
            "id": 0,
        },
        "block": "",
        "cluster": job.cluster,
        "constraints": spec.constraint or "",
        "container": spec.container or "",
        "derived_exit_code": exit_code(job.derived_exit_code, job.derived_exit_signal),
        "time": {
            "elapsed": elapsed(SacctRow(job), context.now),
            "eligible": int(job.eligible_time),
            "end": int(ended),
            "planned": number(planned_seconds(job, context.now)),
            "start": int(job.start_time) if ran else 0,
            "submission": int(job.submit_time),
            "suspended": int(job.suspended_s),
            "limit": number(limit),
            **_cpu_times(job.steps.values()),
        },
        "exit_code": exit_code(job.exit_code, 0 if job.state in KILLED else job.exit_signal),
        "extra": spec.extra or "",
        "failed_node": job.failed_node,
        "flags": ["STARTED_ON_SCHEDULE" if job.sched_main else "STARTED_ON_BACKFILL", "START_RECEIVED"]
        if ran
        else ["START_RECEIVED"],
        "group": job.group,
        "het": {"job_id": job.het_job_id, "job_offset": number(job.het_offset if job.het_job_id else None)},
        "job_id": job.job_id,
        "name": job.name,
        "licenses": spec.licenses or "",
        "mcs": {"label": spec.mcs_label or ""},
        "nodes": derived.node_list(job.nodes) or "None assigned",
        "partition": job.partition,
        "hold": job.priority == 0,
        "priority": number(job.priority),
        "qos": job.qos,
        "qosreq": spec.qos or "",
        "required": {
            "CPUs": requested,
            "memory_per_cpu": number(memory if kind == "CPU" else None),
            "memory_per_node": number(memory if kind == "Node" else None),
        },
        "kill_request_user": "" if job.cancelled_by is None else _user(job, context),
        "restart_cnt": job.restarts,
        "reservation": {"id": 0, "name": spec.reservation or "", "requested": spec.reservation or ""},
        "script": "",
        "segment_size": spec.segment or 0,
        "stdin_expanded": derived.expand_path(job.stdin, job),
        "stdout_expanded": derived.expand_path(stdout, job),
        "stderr_expanded": derived.expand_path(stderr, job),
        "stdout": stdout,
        "stderr": stderr,
        "stdin": job.stdin,
        "state": {"current": derived.state_names(job), "reason": accounted_reason(job)},
        "steps": [_step_record(job, record.step, context) for record in _steps(job) if record.step],
        "submit_line": job.submit_line,
        "tres": {
            "allocated": _tres(held) if ran else [],
            "requested": _tres(
                [
                    ("cpu", requested),
                    ("mem", tres_texts.requested_memory_mib(job, context)),
                    ("node", derived.min_nodes_requested(spec)),
                    ("billing", requested),
                    *tres_texts.requested_gres(job, context),
                ]
            ),
        },
        "used_gres": "",
        "user": job.user,
        "wckey": {"wckey": spec.wckey or "", "flags": []},
        "working_directory": job.work_dir,
    }


def _user(job: Job, context: ReportContext) -> str:
    if job.cancelled_by == job.uid:
        return job.user
    names = {uid: name for name, uid in context.uids.items()}
    return names.get(job.cancelled_by or 0, str(job.cancelled_by))


def _steps(job: Job) -> Iterable[SacctRow]:
    order = {"batch": -3, "extern": -2, "interactive": -1}
    steps = sorted(job.steps.values(), key=lambda step: order.get(step.step_id) or int(step.step_id))
    return [SacctRow(job, step) for step in steps]


def _step_record(job: Job, step: Step, context: ReportContext) -> Object:
    usage: Optional[Usage] = step.usage if step.usage.tasks and step.state.finished else None
    tasks = step.usage.tasks or 1
    incoming: list[tuple[str, float]] = (
        []
        if usage is None
        else [
            ("cpu", usage.ave_cpu_s),
            ("mem", usage.ave_rss),
            ("energy", 0),
            ("fs/disk", usage.disk_read / tasks),
            ("vmem", usage.ave_vmsize),
            ("pages", usage.ave_pages),
        ]
    )
    outgoing: list[tuple[str, float]] = [] if usage is None else [("energy", 0), ("fs/disk", usage.disk_write / tasks)]
    return {
        "time": {
            "elapsed": elapsed(SacctRow(job, step), context.now),
            "end": stamp(step.end_time),
            "start": stamp(step.start_time),
            "suspended": int(step.suspended_s),
            "limit": number(step.time_limit_min),
            **_cpu_times([step]),
        },
        "exit_code": exit_code(step.exit_code, step.exit_signal),
        "nodes": {"count": len(step.nodes), "range": derived.node_list(step.nodes), "list": list(step.nodes)},
        "tasks": {"count": step.ntasks},
        "pid": "",
        "CPU": {"requested_frequency": {"min": number(0), "max": number(0)}, "governor": "0"},
        "kill_request_user": "",
        "state": [step.state.name],
        "statistics": {"CPU": {"actual_frequency": 0}, "energy": {"consumed": number(0)}},
        "step": {
            "id": "%d.%s" % (job.job_id, step.step_id),
            "name": step.name,
            "stderr": "",
            "stdin": "",
            "stdout": "",
            "stderr_expanded": "",
            "stdin_expanded": "",
            "stdout_expanded": "",
        },
        "task": {"distribution": step.distribution or "Unknown"},
        "tres": {
            "requested": {
                "max": _peaks(usage, True),
                "min": [],
                "average": _tres(incoming),
                "total": _tres((name, count * tasks) for name, count in incoming),
            },
            "consumed": {
                "max": _peaks(usage, False),
                "min": [],
                "average": _tres(outgoing),
                "total": _tres((name, count * tasks) for name, count in outgoing),
            },
            "allocated": _tres(
                [
                    ("cpu", step.cpus),
                    ("mem", step.memory_mib),
                    ("node", len(step.nodes)),
                    *tres_texts.step_gres(step, context),
                ]
            ),
        },
    }


def _peaks(usage: Optional[Usage], incoming: bool) -> list[Object]:
    """Maximum values, with the node and task of each."""
    if usage is None:
        return []
    rows: list[tuple[str, float, str, int]] = [
        ("fs/disk", usage.max_disk_write, usage.max_disk_write_node, usage.max_disk_write_task)
    ]
    if incoming:
        rows = [
            ("mem", usage.max_rss, usage.max_rss_node, usage.max_rss_task),
            ("fs/disk", usage.max_disk_read, usage.max_disk_read_node, usage.max_disk_read_task),
            ("vmem", usage.max_vmsize, usage.max_vmsize_node, usage.max_vmsize_task),
            ("pages", usage.max_pages, usage.max_pages_node, usage.max_pages_task),
        ]
    return [
        {**item, "task": task, "node": node}
        for item, (_, _, node, task) in zip(_tres((name, count) for name, count, _, _ in rows), rows)
    ]
