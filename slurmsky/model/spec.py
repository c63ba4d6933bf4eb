"""JobSpec: the options of a job, one field per option.

A field has the option's name with its unit. Values are plain (str, int, bool, tuple of str), validated by the option
table and in canonical text, so that a spec can be stored and sent as JSON. None means "not given": Slurm's defaults are
applied where the value is used, because most of them depend on partition or node. ``step_spec`` has the options of a
step.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Optional

INFINITE = 0xFFFFFFFF
NO_VAL = 0xFFFFFFFE
#: set by the controller for an srun with its own allocation; removed from the tasks' environment
ALLOCATED_VARIABLE = "SLURMSKY_ALLOCATED"

OptInt = Optional[int]
OptStr = Optional[str]


@dataclass(frozen=True)
class DeclaredOption:
    """A site's own option of sbatch, salloc and srun. SPANK plugins add such options."""

    name: str
    argument: str = "none"  # none | required | optional
    policy: str = "recorded"  # recorded | environment | refused
    help: str = ""
    environment: str = ""  # of the policy "environment": the job's variable with the value


@dataclass(frozen=True)
class JobSpec:
    """Options of sbatch, salloc and srun for a job or component."""

    # --- names, owner and purpose
    job_name: OptStr = None
    account: OptStr = None
    partition: OptStr = None  # comma list allowed
    qos: OptStr = None
    reservation: OptStr = None
    wckey: OptStr = None
    comment: OptStr = None
    admin_comment: OptStr = None
    extra: OptStr = None
    mcs_label: OptStr = None
    clusters: OptStr = None
    cluster_constraint: OptStr = None
    container: OptStr = None
    container_id: OptStr = None
    gid: OptStr = None
    uid: OptStr = None
    # --- size
    nodes: OptStr = None  # canonical node count text: "2", "2-4"
    nodes_min: OptInt = None
    nodes_max: OptInt = None
    ntasks: OptInt = None
    ntasks_per_node: OptInt = None
    ntasks_per_core: OptInt = None
    ntasks_per_socket: OptInt = None
    ntasks_per_gpu: OptInt = None
    ntasks_per_board: OptInt = None
    cpus_per_task: OptInt = None
    cpus_per_gpu: OptInt = None
    mincpus: OptInt = None
    sockets_per_node: OptInt = None
    cores_per_socket: OptInt = None
    threads_per_core: OptInt = None
    core_spec: OptInt = None
    thread_spec: OptInt = None
    mem_mib: OptInt = None  # per node; 0 = all memory of each node
    mem_per_cpu_mib: OptInt = None
    mem_per_gpu_mib: OptInt = None
    memory_by_default: bool = False  # DefMemPerCPU or DefMemPerNode
    tmp_mib: OptInt = None
    gres: OptStr = None
    gpus: OptStr = None
    gpus_per_node: OptStr = None
    gpus_per_socket: OptStr = None
    gpus_per_task: OptStr = None
    tres_per_task: OptStr = None
    gres_flags: OptStr = None
    licenses: OptStr = None
    # --- where
    constraint: OptStr = None
    prefer: OptStr = None
    batch_features: OptStr = None  # --batch
    nodelist: OptStr = None
    nodefile: OptStr = None  # path as given; its content is in nodelist
    exclude: OptStr = None
    exclusive: OptStr = None  # value given: "" | user | mcs | topo; "" for a bare --exclusive
    oversubscribe: bool = False
    overcommit: bool = False
    contiguous: bool = False
    spread_job: bool = False
    use_min_nodes: bool = False
    switches: OptStr = None
    segment: OptInt = None
    distribution: OptStr = None
    network: OptStr = None
    power: OptStr = None
    # --- when
    time_limit_min: OptInt = None  # INFINITE for none
    time_min_min: OptInt = None  # --time-min
    begin: OptInt = None  # epoch seconds
    deadline: OptInt = None  # epoch seconds
    delay_boot_min: OptInt = None
    immediate_s: OptInt = None
    hold: bool = False
    priority: OptInt = None
    nice: OptInt = None
    dependency: OptStr = None  # canonical text
    kill_on_invalid_dep: Optional[bool] = None
    array: OptStr = None  # as given, validated; language.arrayspec parses it
    requeue: Optional[bool] = None
    expedited_requeue: bool = False  # --requeue=expedite, which needs an epilog
    reboot: bool = False
    signal: OptStr = None  # canonical: [R][B]:NAME@SEC
    # --- files and environment
    chdir: OptStr = None  # absolute
    input: OptStr = None  # pattern as given
    output: OptStr = None
    error: OptStr = None
    open_mode: OptStr = None  # "append" | "truncate"
    export: OptStr = None
    export_file: OptStr = None
    get_user_env: OptStr = None
    propagate: OptStr = None
    wrap: OptStr = None
    # --- in the job
    cpu_bind: OptStr = None
    mem_bind: OptStr = None
    gpu_bind: OptStr = None
    gpu_freq: OptStr = None
    tres_bind: OptStr = None
    hint: OptStr = None
    cpu_freq: OptStr = None
    profile: OptStr = None
    acctg_freq: OptStr = None
    no_kill: bool = False
    kill_on_bad_exit: OptInt = None
    wait_all_nodes: OptInt = None
    oom_kill_step: OptInt = None
    resv_ports: OptInt = None
    stepmgr: bool = False
    x11: OptStr = None
    mpi: OptStr = None
    # --- mail
    mail_type: tuple[str, ...] = ()
    mail_user: OptStr = None
    # --- options that are stored and shown but have no effect, and site-defined options: long name -> text
    recorded: tuple[tuple[str, str], ...] = ()
    site_options: tuple[tuple[str, str], ...] = ()

    @property
    def whole_nodes(self) -> bool:
        """True if the job shares its nodes with no other job."""
        return self.reboot or (self.exclusive is not None and self.exclusive not in ("user", "mcs"))

    @property
    def threads_requested(self) -> OptInt:
        """Return --threads-per-core, which most values of --hint imply.

        Source: proc_args.c verify_hint.
        """
        hinted = self.hint in ("compute_bound", "memory_bound", "nomultithread")
        return 1 if self.threads_per_core is None and hinted else self.threads_per_core

    @property
    def cores_requested(self) -> OptInt:
        """--cores-per-socket, which --hint=memory_bound implies."""
        return 1 if self.cores_per_socket is None and self.hint == "memory_bound" else self.cores_per_socket

    @property
    def tres_of_task(self) -> OptStr:
        """Return --tres-per-task, else its value from other options.

        From -c and --gpus-per-task. Source: slurm_opt.c _validate_tres_per_task.
        """
        if self.tres_per_task is not None:
            return self.tres_per_task or None
        gpus = (item.replace("=", ":").rpartition(":") for item in (self.gpus_per_task or "").split(",") if item)
        counted = [f"gres/gpu{colon}{kind}={count}" for kind, colon, count in gpus][::-1]
        return ",".join([f"cpu={self.cpus_per_task}"] * bool(self.cpus_per_task) + counted) or None

    def evolve(self, **changes: Any) -> JobSpec:
        """Copy the spec with some fields replaced."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready dict of the fields that differ from their default."""
        return {name: value for name, value in self.__dict__.items() if value != _DEFAULTS[name]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> JobSpec:
        """Inverse of to_dict. Raises TypeError for an unknown field. JSON lists become tuples again."""
        for name in data:
            if name not in _DEFAULTS:
                raise TypeError(f"{name} is no field of a spec")
        # A queue has thousands of specs, and a constructor call with a hundred arguments would take most of the time
        # to read a job. So the constructor is bypassed; fields with their default are found as class attributes.
        spec = object.__new__(cls)
        spec.__dict__.update({key: _tuples(value) if isinstance(value, list) else value for key, value in data.items()})
        return spec


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


_DEFAULTS: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(JobSpec)}
