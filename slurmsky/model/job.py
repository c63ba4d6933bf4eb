"""Job, step and node as the controller knows them; report renders these, store keeps them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from .allocation import NodeShare
from .cluster import NodeConfig
from .spec import JobSpec
from .states import JobFlag, JobState, NodeFlag, NodeState


@dataclass
class Usage:
    """Resources a step used. Times in seconds, sizes in bytes; maxima say on which node and task they occurred."""

    user_s: float = 0.0
    system_s: float = 0.0
    tasks: int = 0
    ave_cpu_s: float = 0.0
    min_cpu_s: float = 0.0
    min_cpu_node: str = ""
    min_cpu_task: int = 0
    max_rss: int = 0
    ave_rss: int = 0
    max_rss_node: str = ""
    max_rss_task: int = 0
    max_vmsize: int = 0
    ave_vmsize: int = 0
    max_vmsize_node: str = ""
    max_vmsize_task: int = 0
    max_pages: int = 0
    ave_pages: int = 0
    max_pages_node: str = ""
    max_pages_task: int = 0
    disk_read: int = 0  # total over tasks
    max_disk_read: int = 0
    max_disk_read_node: str = ""
    max_disk_read_task: int = 0
    disk_write: int = 0
    max_disk_write: int = 0
    max_disk_write_node: str = ""
    max_disk_write_task: int = 0
    gpu_s: Optional[float] = None  # GPU seconds busy, of all nodes; None: nobody looked
    #: over the step's life, in equal parts, all tasks together: "cpu" CPUs busy, "mem" MiB, and where GPUs
    #: are watched "gpu" GPUs busy and "gpumem" MiB; empty for a step too short to be looked at
    series: dict[str, list[float]] = field(default_factory=dict)


@dataclass
class Step:
    """A step of a job. ``step_id`` is the number, or "batch", "extern", "interactive"."""

    job_id: int
    step_id: str
    name: str
    state: JobState = JobState.RUNNING
    nodes: tuple[str, ...] = ()
    ntasks: int = 1
    cpus: int = 0
    memory_mib: int = 0
    gres: str = ""
    tasks_per_node: tuple[int, ...] = ()
    distribution: str = ""  # "Block" | "Cyclic" | "Plane" | "Arbitrary"; sacct Layout
    start_time: float = 0.0
    end_time: float = 0.0
    suspended_s: float = 0.0
    time_limit_min: Optional[int] = None
    exit_code: int = 0  # 0..255
    exit_signal: int = 0
    cancelled_by: Optional[int] = None
    usage: Usage = field(default_factory=Usage)
    submit_line: str = ""
    srun_host: str = ""
    srun_pid: int = 0
    container: str = ""
    tres: str = ""  # what srun asked for, as scontrol shows it: "CpusPerTres=gres/gpu:2 TresPerStep=cpu:4"


@dataclass
class Job:
    """One job record: a plain job, an array's pending rest or one of its elements, or a het component.

    Times are epoch seconds, 0.0 = unknown. An array job that still holds pending elements has ``pending_tasks``
    (its record carries the base id); a started element is a Job of its own with ``array_task_id``.
    """

    job_id: int
    spec: JobSpec
    name: str
    user: str
    uid: int
    gid: int
    group: str
    account: str
    partition: str  # the partition it runs or waits in (comma list while pending in several)
    qos: str = "normal"
    cluster: str = "slurmsky"
    state: JobState = JobState.PENDING
    flags: JobFlag = JobFlag.NONE
    reason: str = "None"  # one of job_reasons.csv
    blocked_reason: str = ""  # the last reason to wait but Priority and Resources (sacct)
    reason_desc: str = ""  # free text shown instead of the reason, as state_desc in slurmctld
    priority: int = 0  # 0 = held
    nice: int = 0
    dependency: str = ""  # what is still unfulfilled, canonical
    dependency_shown: str = ""  # with "(unfulfilled)"/"(failed)" marks, as scontrol prints
    submit_time: float = 0.0
    eligible_time: float = 0.0
    accrue_time: float = 0.0
    start_time: float = 0.0  # real, or planned while pending (0.0 none)
    end_time: float = 0.0  # real, or expected while running
    suspend_time: float = 0.0
    pre_suspend_s: float = 0.0  # run seconds before the last suspend
    suspended_s: float = 0.0  # seconds spent suspended in all
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
    licenses_alloc: str = ""  # of "--licenses=a|b" the one that the job took
    # size and place
    num_nodes: int = 1  # asked minimum while pending, real afterwards
    max_nodes: int = 0  # 0 = none given
    num_cpus: int = 1
    max_cpus: int = 0  # 0 = none given
    num_tasks: int = 1
    shares: list[NodeShare] = field(default_factory=list)
    batch_host: str = ""
    planned_nodes: tuple[str, ...] = ()
    failed_node: str = ""
    # files
    is_batch: bool = True
    cron: str = ""  # times of its scrontab entry; it comes back at these
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
    alloc_pid: int = 0  # of salloc or srun: the allocation lives as long as that process
    # arrays
    array_job_id: int = 0  # 0 = not an array
    array_task_id: Optional[int] = None
    pending_tasks: tuple[range, ...] = ()  # ascending, non-overlapping: elements without a record of their own
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
    launched: bool = False  # handed to an engine that brings its own nodes; they are not there yet
    managed_job_id: Optional[int] = None
    cost: float = 0.0  # dollars, as SkyPilot's cost report says; of one that runs: so far
    hourly_cost: float = 0.0  # dollars an hour for the whole job, 0.0 unknown
    comment: str = ""
    admin_comment: str = ""
    system_comment: str = ""
    steps: dict[str, Step] = field(default_factory=dict)

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of the allocated nodes, in the job's order; none while an engine is still making them."""
        return () if self.launched else tuple(share.name for share in self.shares)

    @property
    def pending_count(self) -> int:
        """Elements of an array that have no record of their own yet."""
        return sum(len(part) for part in self.pending_tasks)


@dataclass
class Node:
    """A node and its present use."""

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
    partitions: tuple[str, ...] = ()
    reservation: str = ""  # names of the reservations that hold it now
    instance_id: str = ""  # of a kept node: the SkyPilot cluster it belongs to
    instance_type: str = ""  # ... and what SkyPilot found, where and at which price
    jobs: frozenset[int] = frozenset()
