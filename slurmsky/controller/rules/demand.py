"""A job's resource request in numbers, resolved as slurmctld does."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...language import hostlist
from ...model.cluster import PartitionConfig
from ...model.spec import INFINITE, JobSpec
from ...options import device_counts


@dataclass(frozen=True)
class Demand:
    """A job's request in numbers. The gres maps are (name, type or "") -> count."""

    ntasks: int
    ntasks_given: bool
    min_nodes: int
    max_nodes: int
    cpus_per_task: int
    tasks_per_node: int  # 0: free
    min_cpus_node: int
    cpus_per_gpu: int
    mem_node_mib: int  # 0: not requested; -1: all memory of the node
    mem_cpu_mib: int
    mem_gpu_mib: int
    tmp_mib: int
    gres_node: tuple[tuple[str, str, int], ...]
    gpus_total: tuple[tuple[str, str, int], ...]
    gpus_task: tuple[tuple[str, str, int], ...]
    exclusive: bool
    overcommit: bool
    required: tuple[str, ...]
    excluded: frozenset[str]
    features: str
    prefer: str
    batch_features: str
    sockets: int
    cores: int
    threads: int
    contiguous: bool
    arbitrary: tuple[str, ...]  # --distribution=arbitrary: host of each task
    maximize_nodes: bool = False  # take as many nodes of the range as are free now
    tasks_per_socket: int = 0  # 0: free
    tasks_per_core: int = 0
    partition: str = ""
    cpus_of_partition: int = INFINITE  # MaxCPUsPerNode: CPUs of a node that all jobs of the partition may hold

    @property
    def least_cpus(self) -> int:
        """CPUs that every node must have.

        Source: job_mgr.c _copy_job_desc_to_job_record, pn_min_cpus.
        """
        tasks = 1 if self.overcommit or self.ntasks <= 1 else max(1, self.tasks_per_node)
        return max(self.min_cpus_node, self.cpus_per_task * tasks)

    def limited_to(self, partition: PartitionConfig) -> Demand:
        """Apply the partition's CPUs per node and least number of nodes.

        Source: job_mgr.c _valid_job_part raises min_nodes.
        """
        limited = self
        if self.min_nodes < partition.min_nodes <= self.max_nodes:
            limited = replace(limited, min_nodes=partition.min_nodes)
        if partition.max_cpus_per_node < INFINITE:
            limited = replace(limited, partition=partition.name, cpus_of_partition=partition.max_cpus_per_node)
        return limited

    @property
    def least_memory_mib(self) -> int:
        """Memory that every node must have.

        Source: job_mgr.c _valid_pn_min_mem.
        """
        return max(self.mem_node_mib, self.mem_cpu_mib * self.least_cpus)

    @property
    def num_cpus(self) -> int:
        """CPUs of the whole job, as a pending job shows them. Neither --mincpus nor a node range counts."""
        if self.overcommit:
            return max(self.min_nodes, 1)
        if not self.ntasks_given and not self.tasks_per_node and self.min_nodes != self.max_nodes < INFINITE:
            return max(self.cpus_per_task, self._cpus_of_gpus)
        return max(self.ntasks * self.cpus_per_task, self.min_nodes, self._cpus_of_gpus)

    @property
    def _cpus_of_gpus(self) -> int:
        """CPUs of --cpus-per-gpu for all GPUs of the job."""
        counts = ((self.gpus_total, 1), (self.gres_node, self.min_nodes))
        gpus = sum(count * times for devices, times in counts for name, _, count in devices if name == "gpu")
        return self.cpus_per_gpu * gpus

    def nodes_shown(self, cpus_per_node: int) -> int:
        """NumNodes of an untested job: at least the nodes of its tasks.

        Source: job_mgr.c _pack_pending_job_details.
        """
        if self.tasks_per_node:
            need = self.ntasks // self.tasks_per_node
        elif self.cpus_per_task > 1:
            need = self.ntasks // max(1, cpus_per_node // self.cpus_per_task)
        else:
            tasks = -(-self.ntasks // self.tasks_per_core) if self.tasks_per_core else self.ntasks
            need = -(-tasks // max(1, cpus_per_node))
        return max(self.min_nodes, need)


def demand_of(spec: JobSpec) -> Demand:
    """Resolve a spec to numbers. Raises GresError."""
    request = device_counts.resolved(spec)
    numbers = request.numbers
    named = hostlist.expand(spec.nodelist) if spec.nodelist else []
    required = tuple(dict.fromkeys(named))
    min_nodes = numbers.fewest_nodes(len(required))
    max_nodes = numbers.most or INFINITE
    tasks_per_node = numbers.tasks_per_node or 0
    ntasks = numbers.tasks
    if ntasks is None:  # tasks per node, or one (slurm_opt.c, validate and defaults)
        ntasks = (tasks_per_node or 1) * (numbers.least or len(named) or 1)
    per_job = request.once("per_job")
    per_node = request.once("per_node") + tuple(
        (name, kind, count * (spec.sockets_per_node or 1)) for name, kind, count in request.counts("per_socket")
    )
    if per_job and max_nodes < INFINITE:
        max_nodes = min(max_nodes, sum(count for _, _, count in per_job))
    least = spec.use_min_nodes or bool(per_job)  # observed: these jobs get the fewest nodes
    arbitrary: tuple[str, ...] = ()
    if spec.distribution and spec.distribution.startswith("arbitrary") and spec.nodelist:
        arbitrary = tuple(named)
    return Demand(
        ntasks=ntasks,
        ntasks_given=numbers.tasks is not None,
        min_nodes=min_nodes,
        max_nodes=max_nodes,
        cpus_per_task=spec.cpus_per_task or (spec.cpus_per_gpu or 0) * request.gpus("per_task") or 1,
        tasks_per_node=tasks_per_node,
        min_cpus_node=spec.mincpus or 0,
        cpus_per_gpu=spec.cpus_per_gpu or 0,
        mem_node_mib=-1 if spec.mem_mib == 0 else spec.mem_mib or 0,
        mem_cpu_mib=spec.mem_per_cpu_mib or 0,
        mem_gpu_mib=spec.mem_per_gpu_mib or 0,
        tmp_mib=spec.tmp_mib or 0,
        gres_node=per_node,
        gpus_total=per_job,
        gpus_task=request.once("per_task"),
        exclusive=spec.whole_nodes,
        overcommit=spec.overcommit,
        required=required,
        excluded=frozenset(hostlist.expand(spec.exclude)) if spec.exclude else frozenset(),
        features=spec.constraint or "",
        prefer=spec.prefer or "",
        batch_features=spec.batch_features or "",
        sockets=spec.sockets_per_node or 0,
        cores=spec.cores_requested or 0,
        threads=spec.threads_requested or 0,
        contiguous=spec.contiguous,
        arbitrary=arbitrary,
        maximize_nodes=spec.spread_job or (not least and min_nodes < max_nodes < INFINITE),
        tasks_per_socket=spec.ntasks_per_socket or numbers.tasks_per_socket or 0,
        tasks_per_core=spec.ntasks_per_core or 0,
    )


def gres_names(spec: JobSpec) -> set[str]:
    """Names of the generic resources that a spec requests. Raises GresError."""
    return {name for (name, _), record in device_counts.resolved(spec).requested.items() if record.counted}
