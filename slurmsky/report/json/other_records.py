"""JSON records of reservations, steps, licenses, pings and processes."""

from __future__ import annotations

from collections.abc import Iterable

from slurmsky.language.hostlist import compress_sorted
from slurmsky.model.cluster import ClusterConfig
from slurmsky.model.job import Job, Step
from slurmsky.model.reservation import Reservation
from slurmsky.model.spec import INFINITE

from ..fields import derived, tres_texts
from ..fields.squeue_fields import step_id_text, step_seconds
from ..report_context import ReportContext
from ..text.show_reservations import core_ids
from .job_records import ENDLESS, UNSET, Record, number, stamp


def reservation_record(one: Reservation, context: ReportContext) -> Record:
    """RESERVATION_INFO: record of a reservation."""
    return {
        "accounts": ",".join(one.accounts),
        "burst_buffer": "",
        "core_count": one.cores,
        "core_specializations": [{"node": node, "core": cores} for node, cores in core_ids(one, context)],
        "end_time": stamp(one.end),
        "features": one.features,
        "flags": list(one.flags),
        "groups": ",".join(one.groups),
        "licenses": "",
        "max_start_delay": one.max_start_delay_s or 0,
        "name": one.name,
        "node_count": len(one.nodes),
        "node_list": compress_sorted(one.nodes),
        "partition": one.partition,
        "purge_completed": {"time": UNSET},
        "start_time": stamp(one.start),
        "watts": {},
        "tres": "cpu=%d" % one.cores,
        "users": ",".join(one.users),
    }


def step_record(job: Job, step: Step, context: ReportContext) -> Record:
    """STEP_INFO: a running step."""

    def text(value: str) -> str:
        return "" if value == "(null)" else value

    cpus = tres_texts.step_cpus_shown(step)
    limit = ENDLESS if step.time_limit_min in (None, INFINITE) else number(step.time_limit_min)
    return {
        "array": {"job_id": job.array_job_id, "task_id": job.array_task_id or 0},
        "cluster": job.cluster,
        "container": step.container,
        "container_id": "",
        "cpu": {"frequency": {"min": UNSET, "max": UNSET, "governor": UNSET}},
        "tres": {
            "per": {
                "cpu": "",
                "memory": "",
                "step": text(tres_texts.step_tres_per_step(step)),
                "node": text(tres_texts.step_tres_per_node(step)),
                "socket": "",
                "task": "",
            },
            "allocation": tres_texts.tres(tres_texts.step_tres(step, context)) if cpus else "",
            "binding": "",
            "frequency": "",
        },
        "name": step.name,
        "network": "",
        "nodes": derived.node_list(step.nodes),
        "number_cpus": cpus,
        "number_tasks": step.ntasks,
        "partition": job.partition,
        "reserved_ports": "",
        "time": {
            "running": number(step_seconds(step, context.now)),
            "start": stamp(step.start_time),
            "limit": limit,
        },
        "srun": {"host": step.srun_host, "pid": step.srun_pid},
        "state": [step.state.name],
        "id": step_id_text(job, step),
        "stderr": "",
        "stdin": "",
        "stdout": "",
        "stdin_expanded": "",
        "stdout_expanded": "",
        "stderr_expanded": "",
        "submit_line": step.submit_line,
        "task": {"distribution": step.distribution or "Unknown"},
        "user": job.user,
    }


def license_record(name: str, total: int, used: int) -> Record:
    """LICENSE: a license of the cluster."""
    return {
        "LicenseName": name,
        "Total": total,
        "Used": used,
        "Free": total - used,
        "Remote": False,
        "Reserved": 0,
        "LastConsumed": 0,
        "LastDeficit": 0,
        "LastUpdate": 0,
        "Nodes": "",
    }


def ping_records(host: str) -> Iterable[Record]:
    """CONTROLLER_PING: the controller that writes this record is up."""
    return [{"hostname": host, "pinged": "UP", "responding": True, "latency": 0, "mode": "primary", "primary": True}]


def state_records(jobs: Iterable[Job]) -> Iterable[Record]:
    """JOB_STATE_RESP_JOB: one record per pending element of an array."""
    for job in jobs:
        words = derived.state_names(job)
        if job.array_job_id and job.array_task_id is None:
            for part in job.pending_tasks:
                for task in part:
                    yield {"job_id": f"{job.array_job_id}_{task}", "state": words}
        elif job.array_job_id:
            yield {"job_id": f"{job.array_job_id}_{job.array_task_id}", "state": words}
        elif job.het_job_id:
            yield {"job_id": f"{job.job_id}+{job.job_id - job.het_job_id}", "state": words}
        else:
            yield {"job_id": str(job.job_id), "state": words}


def running_records(rows: Iterable[tuple[str, str]]) -> dict[str, list[Record]]:
    """LISTJOBS_INFO and LISTSTEPS_INFO by key. They have the jobs and steps that run on this machine."""
    known = list(rows)
    return {
        "jobs": [{"job_id": int(job)} for job in dict.fromkeys(job for job, _ in known)],
        "steps": [{"job_id": int(job), "step_id": step} for job, step in known],
    }


def process_record(pid: int, job: str, step: str, local: str, task: str) -> Record:
    """LISTPIDS_INFO: a process of a job. The process may belong to no task."""

    def which(text: str) -> Record:
        return number(int(text) if text.isdecimal() else None)

    return {
        "global_task_id": which(task),
        "local_task_id": which(local),
        "job_id": int(job),
        "pid": pid,
        "step_id": step,
    }


def resource_records(job: Job, cluster: ClusterConfig) -> list[Record]:
    """NODE_RESOURCE_LAYOUT: resources of a running job by node."""
    if job.state.finished:
        return []
    known = {node.name: node for node in cluster.nodes}
    return [{
        "node": share.name,
        "sockets_per_node": known[share.name].sockets * known[share.name].boards if share.name in known else 1,
        "cores_per_socket": known[share.name].cores if share.name in known else len(share.cpu_ids),
        "mem_alloc": share.memory_mib,
        "core_bitmap": tres_texts.index_list(share.cpu_ids),
        "channel": UNSET,
        "gres": [{"name": name.partition(":")[0], "type": name.partition(":")[2], "count": len(indices),
                  "index": tres_texts.index_list(indices)} for name, indices in share.gres.items() if indices],
    } for share in job.shares]  # fmt: skip
