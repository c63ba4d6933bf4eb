"""Records of jobs and nodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional

from .allocation import NodeShare
from .cluster import NodeConfig
from .spec import JobSpec
from .states import JobFlag, JobState, NodeFlag, NodeState
from .step import Step as Step
from .step import Usage as Usage


@dataclass
class Job:
    """A job record.

    It is a job, an array's pending elements, a started array element, or a het component. Times are epoch seconds, 0.0
    = unknown. The record of an array's pending elements has the array's base id and ``pending_tasks``; each started
    element has its own Job with ``array_task_id``.
    """

    job_id: int
    spec: JobSpec
    name: str
    user: str
    uid: int
    gid: int
    group: str
    account: str
    partition: str  # the job's partition (comma list while pending in several)
    qos: str = "normal"
    cluster: str = "slurmsky"
    state: JobState = JobState.PENDING
    flags: JobFlag = JobFlag.NONE
    reason: str = "None"  # one of job_reasons.csv
    blocked_reason: str = ""  # the last pending reason except Priority and Resources (sacct)
    reason_desc: str = ""  # free text shown instead of the reason, like state_desc in slurmctld
    priority: int = 0  # 0 = held
    nice: int = 0
    dependency: str = ""  # unfulfilled dependencies, canonical text
    dependency_shown: str = ""  # with "(unfulfilled)"/"(failed)" marks, as scontrol prints
    submit_time: float = 0.0
    eligible_time: float = 0.0
    accrue_time: float = 0.0
    start_time: float = 0.0  # actual, or planned while pending (0.0 none)
    end_time: float = 0.0  # actual, or expected while running
    suspend_time: float = 0.0
    pre_suspend_s: float = 0.0  # run seconds before the last suspend
    suspended_s: float = 0.0  # total seconds spent suspended
    last_sched_eval: float = 0.0
    sched_main: bool = True  # Scheduler=Main | Backfill
    time_limit_min: Optional[int] = None  # effective limit in minutes; INFINITE; None = partition default
    preempt_time: float = 0.0
    resize_time: float = 0.0
    restarts: int = 0
    exit_code: int = 0
    exit_signal: int = 0
    derived_exit_code: int = 0
    derived_exit_signal: int = 0
    cancelled_by: Optional[int] = None  # uid, for sacct's "CANCELLED by UID"
    licenses_alloc: str = ""  # the license of "--licenses=a|b" that the job holds
    # size and place
    num_nodes: int = 1  # requested minimum while pending, actual number afterwards
    max_nodes: int = 0  # 0 = none given
    untested: bool = False  # no nodes were computed for the job: it was submitted held, or is too large
    num_cpus: int = 1
    max_cpus: int = 0  # 0 = none given
    num_tasks: int = 1
    shares: list[NodeShare] = field(default_factory=list)
    batch_host: str = ""
    planned_nodes: tuple[str, ...] = ()
    failed_node: str = ""
    # files
    is_batch: bool = True
    cron: str = ""  # times of its scrontab entry, at which the job is requeued
    command: str = ""  # script path, "" = (null)
    argv: tuple[str, ...] = ()
    work_dir: str = "/"
    submit_dir: str = "/"
    stdin: str = "/dev/null"
    stdout: str = ""
    stderr: str = ""
    submit_line: str = ""
    alloc_node: str = ""
    alloc_sid: int = 0
    alloc_pid: int = 0  # pid of salloc or srun: the allocation ends with that process
    # arrays
    array_job_id: int = 0  # 0 = not an array
    array_task_id: Optional[int] = None
    pending_tasks: tuple[range, ...] = ()  # elements without their own record; ascending, non-overlapping
    #: followers: (element, id of its job, id of the running job after which the agent starts it)
    followers: tuple[tuple[int, int, int], ...] = ()
    array_max_running: Optional[int] = None
    array_count: int = 0
    array_min: int = 0
    array_max: int = 0
    array_step: int = 1
    # het jobs
    het_job_id: int = 0  # leader's id; 0 = not a het job
    het_offset: int = 0
    het_ids: tuple[int, ...] = ()
    # SkyPilot
    engine: str = "local"
    awaits_nodes: bool = False  # started by an engine that is still creating its nodes; its state is PENDING
    managed_job_id: Optional[int] = None
    cost: float = 0.0  # dollars, from SkyPilot's cost report; of a running job: until now
    hourly_cost: float = 0.0  # dollars an hour for the whole job, 0.0 unknown
    comment: str = ""
    admin_comment: str = ""
    system_comment: str = ""
    steps: dict[str, Step] = field(default_factory=dict)

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of the allocated nodes, in the job's order; empty while an engine starts the nodes."""
        return () if self.awaits_nodes else tuple(share.name for share in self.shares)

    def copy(self, **changes: Any) -> Job:
        """Copy a job, ten times faster than dataclasses.replace."""
        job = object.__new__(Job)
        job.__dict__.update(self.__dict__, **changes)
        return job

    @property
    def pending_count(self) -> int:
        """Number of array elements without their own record."""
        return sum(len(part) for part in self.pending_tasks)


@dataclass
class Node:
    """A node and its current use."""

    config: NodeConfig
    state: NodeState = NodeState.IDLE
    flags: NodeFlag = NodeFlag.NONE
    reason: str = ""
    reason_time: float = 0.0
    reason_user: str = ""
    alloc_cpus: int = 0
    alloc_memory_mib: int = 0
    alloc_gres: dict[str, int] = field(default_factory=dict)  # "gpu:h100" -> devices in use
    alloc_gres_ids: dict[str, tuple[int, ...]] = field(default_factory=dict)
    load: float = 0.0
    free_mib: int = 0
    boot_time: float = 0.0
    agent_start_time: float = 0.0
    last_busy_time: float = 0.0
    version: str = ""
    comment: str = ""
    extra: str = ""
    partitions: tuple[str, ...] = ()
    reservation: str = ""  # names of the reservations of the node now
    instance_id: str = ""  # SkyPilot cluster of a warm node
    instance_type: str = ""  # instance type, place and price of a warm node, as SkyPilot reports them
    jobs: frozenset[int] = frozenset()
