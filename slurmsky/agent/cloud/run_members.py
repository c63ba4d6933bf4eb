"""Jobs of a run on cloud nodes: records, shares and ends. A run has one job, or the elements of a packed array."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Callable

from ...model.allocation import Launch
from ...model.codec import job_from_dict
from ...model.job import Job
from ...model.states import JobFlag, JobState
from ...protocol.messages import Ended, StreamOpened
from ..job import output_files
from ..job.environment import VISIBLE, gpu_indices
from ..net import endpoints
from .cloud_node import CloudNode
from .job_log import JobLogWriter, LogTail
from .node_info import CloudNodeInfo


@dataclass
class WorkerNode:
    """One job of this run, or an element of a packed array."""

    launch: Launch
    shown: Launch  # with the paths of the submit host
    slot: int = -1  # -1: waiting for a slot
    tails: list[LogTail] = field(default_factory=list)
    ended: bool = False
    failed: bool = False  # its end is delayed, because a teardown may have caused the failure
    jobs: list[Job] = field(default_factory=list)  # the job's record, or the records of a het job's components


def records_of(launch: Launch) -> list[Job]:
    """Return the records shipped with a launch. An array element gets the first element's record, with its own ids."""
    jobs = [job_from_dict(dict(record), part.spec) for record, part in zip(launch.record, launch.parts)]
    if jobs and not launch.het:
        jobs[0].job_id, jobs[0].array_task_id = launch.job_id, launch.array_task_id
        jobs[0].restarts = launch.restart_count
    for job in jobs:
        job.state, job.flags, job.reason = JobState.PENDING, JobFlag.NONE, "JobArrayTaskLimit"
        job.pending_tasks, job.steps = (), {}
    return jobs


def assign_shares(
    member: WorkerNode, node: CloudNode, names: Sequence[str], node_info: Sequence[CloudNodeInfo], packed: bool
) -> None:
    """Assign nodes, CPUs and devices of a slot to a member's shares."""
    launch = member.launch
    if launch.het:
        launch.shares = launch.het[0].shares  # a copy of the same shares: here they must be one object
    for share, name, info in zip(launch.every_share, names, node_info):
        share.name = name
        share.address = endpoints.UNIX + node.socket if node.count == 1 else info.address
        if not share.cpu_ids:
            share.cpu_ids = tuple(range(info.cpus))
        elif packed:
            first = member.slot * len(share.cpu_ids)
            share.cpu_ids = tuple(range(first, first + len(share.cpu_ids)))
        share.cpus_on_node = max(info.cpus, len(share.cpu_ids))
        for kind, indices in share.gres.items():
            # A Slurm infra allocates some of a node's devices; a slot gets its part of those.
            devices = info.gpus or tuple(range(len(indices) * (member.slot + 1)))
            part = devices[member.slot * len(indices) :][: len(indices)]
            share.gres[kind] = part if len(part) == len(indices) else indices
    if launch.het and not gpu_indices(launch.shares[0].gres):
        # Nodes have the GPUs of the largest component: hide them from the leader's script, which has none.
        launch.environment.update({name: "" for name in VISIBLE if name in launch.environment})


def output_start(path: str, append: bool) -> int:
    """Return the offset at which the job's output begins. The file is truncated unless ``append``."""
    try:
        if append:
            return os.stat(path).st_size
        os.truncate(path, 0)
    except OSError:
        pass  # absent, or not a regular file; the agent reports an error
    return 0


def open_tails(member: WorkerNode, node: CloudNode, log: JobLogWriter, new_stream: Callable[[], int]) -> None:
    """Open the tails of a starting member's output files."""
    launch = member.launch
    pairs = ((launch.stdout, member.shown.stdout), (launch.stderr, member.shown.stderr))
    for number, (path, target) in enumerate(pairs):
        if not path or (number and path == launch.stdout):
            continue
        append = launch.spec.open_mode == "append"
        tail = LogTail(log, new_stream(), output_files.expand_node(path, node.name))
        if not node.same_files:
            # An earlier job's file, shipped with the submit folder: its bytes do not belong to this job.
            tail.position = output_start(tail.path, append)
        member.tails.append(tail)
        path = output_files.expand_node(target, node.name)
        log.event(
            StreamOpened(stream=tail.stream, path=path, same=node.same_files, append=append, job_id=launch.job_id)
        )


def end_event(job_id: int, state: str, reason: str) -> Ended:
    """Return the end event of a job for which no agent sends one."""
    return Ended(job_id=job_id, time=time.time(), state=state, reason=reason, seq=1 << 30)
