"""A job's allocation, and the launch message for its agents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Optional, Union

from . import plain
from .spec import DeclaredOption, JobSpec


@dataclass
class NodeShare:
    """One node's part of an allocation; shares are in the order of the job's node list."""

    name: str
    address: str = ""  # address for other agents: "unix:/path" or "host:port"
    cpu_ids: tuple[int, ...] = ()  # logical CPU numbers on that node (abstract: core-major), ascending
    memory_mib: int = 0  # 0: not limited
    gres: dict[str, tuple[int, ...]] = field(default_factory=dict)  # "gpu:h100" or "gpu" -> device indices
    tasks: int = 0  # number of the job's tasks on this node
    cpus_on_node: int = 0  # node's configured CPUs
    virtual: bool = False  # a virtual node of a machine that is smaller than the job's request
    gpus_absent: bool = False  # the GPUs of ``gres`` are counted, but the machine does not have them

    @property
    def cpus(self) -> int:
        """Number of CPUs allocated on this node."""
        return len(self.cpu_ids)


@dataclass
class HetComponent:
    """Values of a het component that the other components need."""

    job_id: int
    name: str
    account: str
    partition: str
    qos: str
    spec: JobSpec
    shares: list[NodeShare]


@dataclass
class Launch:
    """A job's description, which the controller sends to its agents.

    Paths are absolute on the node. ``environment`` is the user's environment at submit after --export, without the
    SLURM_* variables of this job, which agent/job/environment.py adds. ``script`` None: no batch script (salloc, srun).
    Times are epoch seconds.
    """

    job_id: int
    name: str
    user: str
    uid: int
    gid: int
    group: str
    account: str
    partition: str
    qos: str
    cluster: str
    spec: JobSpec
    shares: list[NodeShare]
    ntasks: int
    submit_dir: str
    submit_host: str
    work_dir: str
    spool: str  # folder on the node for this job (journal, script copy), 0700
    script: Optional[str] = None  # path of the spooled script
    argv: tuple[str, ...] = ()  # arguments of the script
    environment: dict[str, str] = field(default_factory=dict)
    stdin: str = "/dev/null"  # the controller has expanded all patterns except those of node and task
    stdout: str = ""
    stderr: str = ""  # "" = same as stdout
    umask: int = 0o022
    rlimits: dict[str, tuple[int, int]] = field(default_factory=dict)
    start_time: float = 0.0
    time_limit_s: Optional[int] = None  # None: unlimited
    kill_wait_s: int = 30
    restart_count: int = 0
    array_job_id: int = 0
    array_task_id: Optional[int] = None
    array_count: int = 0
    array_min: int = 0
    array_max: int = 0
    array_step: int = 1
    het_job_id: int = 0
    het_offset: int = 0
    het: list[HetComponent] = field(default_factory=list)
    array_environment: dict[str, str] = field(default_factory=dict)
    reservation: str = ""
    task_prolog: str = ""
    task_epilog: str = ""
    exclusive: bool = False  # the job has whole nodes
    image: str = ""  # the nodes already run this image (SkyPilot's image_id)
    elastic: bool = False  # a step may request more CPUs than the job has, because the size of the nodes is unknown
    #: records (model.codec) of the job or of the het job's components; nodes answer queries about it from them
    record: list[dict[str, Any]] = field(default_factory=list)
    constrain_ram_space: bool = False  # the agent limits the job to the memory of its shares
    declared_options: tuple[DeclaredOption, ...] = ()  # the site's own options, which srun has in the job, too
    task_affinity: bool = False  # the agent binds the job to the CPUs of its shares (TaskPlugin=task/affinity)

    @property
    def parts(self) -> Sequence[Union[Launch, HetComponent]]:
        """The components of a het job, or the job itself."""
        return self.het or [self]

    @property
    def every_share(self) -> list[NodeShare]:
        """Return all nodes of the job or het job, the leader's first."""
        return [share for part in self.het for share in part.shares] if self.het else self.shares

    def memory_limit_mib(self, share: NodeShare) -> int:
        """Return the job's memory limit on a node; 0: no limit. --mem=0 sets no limit."""
        owner = next((part for part in self.parts if share in part.shares), self)
        return share.memory_mib if self.constrain_ram_space and owner.spec.mem_mib != 0 else 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return plain.write(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Launch:
        """Inverse of to_dict. Raises KeyError, TypeError or ValueError for other content."""
        return plain.read(cls, data)
