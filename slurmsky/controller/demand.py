"""What a job needs, in numbers: from its options, as slurmctld settles them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..language import gres, hostlist
from ..model.cluster import PartitionConfig
from ..model.spec import INFINITE, JobSpec


@dataclass(frozen=True)
class Demand:
    """A job's needs in numbers; gres maps are (name, type or "") -> count."""

    ntasks: int
    ntasks_given: bool
    min_nodes: int
    max_nodes: int
    cpus_per_task: int
    tasks_per_node: int  # 0: free
    min_cpus_node: int
    cpus_per_gpu: int
    mem_node_mib: int  # 0: not asked; -1: all memory of the node
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
    sockets: int
    cores: int
    threads: int
    contiguous: bool
    arbitrary: tuple[str, ...]  # --distribution=arbitrary: host of each task
    wide: bool = False  # of a range of nodes, as many as there are now
    tasks_per_socket: int = 0  # 0: free
    tasks_per_core: int = 0
    partition: str = ""
    cpus_of_partition: int = INFINITE  # MaxCPUsPerNode: of a node, for all jobs of the partition

    @property
    def least_cpus(self) -> int:
        """CPUs that every node must have. Source: job_mgr.c _copy_job_desc_to_job_record, pn_min_cpus."""
        tasks = 1 if self.overcommit or self.ntasks <= 1 else max(1, self.tasks_per_node)
        return max(self.min_cpus_node, self.cpus_per_task * tasks)

    def within(self, partition: PartitionConfig) -> Demand:
        """The same in a partition that gives its jobs only a part of every node."""
        if partition.max_cpus_per_node >= INFINITE:
            return self
        return replace(self, partition=partition.name, cpus_of_partition=partition.max_cpus_per_node)

    @property
    def num_cpus(self) -> int:
        """CPUs of the whole job, as a pending job shows them: --mincpus does not count, a node range neither."""
        if self.overcommit:
            return max(self.min_nodes, 1)
        if not self.ntasks_given and not self.tasks_per_node and self.min_nodes != self.max_nodes < INFINITE:
            return self.cpus_per_task
        return max(self.ntasks * self.cpus_per_task, self.min_nodes)

    def nodes_shown(self, cpus_per_node: int) -> int:
        """NumNodes of a pending job: at least as many as its tasks need. Source: job_mgr.c pack_pending_job_details."""
        need = 1
        if self.tasks_per_node and self.ntasks_given:
            need = -(-self.ntasks // self.tasks_per_node)
        elif self.max_nodes < INFINITE:
            return self.min_nodes
        elif self.cpus_per_task > 1 and self.ntasks_given:
            # slurmctld rounds up twice: three tasks where four fit on a node are shown as two nodes.
            fit = max(1, cpus_per_node // self.cpus_per_task)
            need = max(1, self.ntasks // fit) + (self.ntasks % fit > 0)
        elif self.ntasks_given:
            need = -(-self.ntasks // max(1, cpus_per_node))
        return max(self.min_nodes, need, 1)


def _gpu_list(text: str | None) -> tuple[tuple[str, str, int], ...]:
    if not text:
        return ()
    return tuple((item.name, item.type or "", item.count) for item in gres.parse_gpus(text))


def _gres_list(text: str | None) -> tuple[tuple[str, str, int], ...]:
    if not text or text.upper() == "NONE":
        return ()
    return tuple((item.name, item.type or "", item.count) for item in gres.parse(text))


def _nodes_of_devices(spec: JobSpec) -> int:
    """Nodes that follow from so many devices of a kind in all, so many on each; 0: none do. Source: gres.c."""
    per_node = {(name, kind): count for name, kind, count in (*_gpu_list(spec.gpus_per_node), *_gres_list(spec.gres))}
    return next(
        (count // per_node[name, kind] for name, kind, count in _gpu_list(spec.gpus) if per_node.get((name, kind))), 0
    )


def task_count(spec: JobSpec) -> int:
    """Tasks of a job: given, or per node times nodes, or one per node (slurm_opt.c, validate and defaults)."""
    named = len(hostlist.expand(spec.nodelist)) if spec.nodelist else 1
    nodes = _nodes_of_devices(spec) or spec.nodes_min or named or 1
    gpus = sum(count for _, _, count in _gpu_list(spec.gpus))
    if spec.ntasks_per_gpu and not gpus:
        per_node = (*_gres_list(spec.gres), *_gpu_list(spec.gpus_per_node))
        gpus = nodes * sum(count for name, _, count in per_node if name == "gpu")
    if spec.ntasks_per_gpu and gpus:
        return spec.ntasks_per_gpu * gpus
    if spec.ntasks is not None:
        return spec.ntasks
    if spec.ntasks_per_node:
        return spec.ntasks_per_node * nodes
    per_task = sum(count for _, _, count in _gpu_list(spec.gpus_per_task))
    if per_task and gpus:
        return max(1, gpus // per_task)
    return nodes


def demand_of(spec: JobSpec) -> Demand:
    """The numbers behind a spec."""
    required = tuple(dict.fromkeys(hostlist.expand(spec.nodelist))) if spec.nodelist else ()
    ntasks = task_count(spec)
    min_nodes = max(spec.nodes_min or 1, len(required) if spec.nodes_min is None else 1)
    max_nodes = spec.nodes_max if spec.nodes_max else INFINITE
    tasks_per_node = spec.ntasks_per_node or 0
    if tasks_per_node and spec.ntasks is not None and max_nodes == INFINITE:
        min_nodes = max(min_nodes, -(-ntasks // tasks_per_node))
    gres_node = _gres_list(spec.gres) + _gpu_list(spec.gpus_per_node)
    if spec.gpus_per_socket:
        sockets = spec.sockets_per_node or 1
        gres_node += tuple(
            (name, kind, count * sockets) for name, kind, count in _gpu_list(spec.gpus_per_socket)
        )
    gpus = _gpu_list(spec.gpus)
    if spec.ntasks_per_gpu and spec.ntasks and not (gpus or any(name == "gpu" for name, _, _ in gres_node)):
        gpus = (("gpu", "", spec.ntasks // spec.ntasks_per_gpu),)
    settled = _nodes_of_devices(spec)
    if settled:
        min_nodes = max_nodes = settled
        gpus = ()
    elif gpus:
        max_nodes = min(max_nodes, sum(count for _, _, count in gpus)) if max_nodes < INFINITE else max_nodes
    per_task = sum(count for _, _, count in _gpu_list(spec.gpus_per_task))
    least = spec.use_min_nodes or spec.whole_nodes or bool(gpus)  # seen: these get no more nodes than they need
    arbitrary: tuple[str, ...] = ()
    if spec.distribution and spec.distribution.startswith("arbitrary") and spec.nodelist:
        arbitrary = tuple(hostlist.expand(spec.nodelist))
    return Demand(
        ntasks=ntasks,
        ntasks_given=spec.ntasks is not None,
        min_nodes=min_nodes,
        max_nodes=max_nodes,
        cpus_per_task=spec.cpus_per_task or (spec.cpus_per_gpu or 0) * per_task or 1,
        tasks_per_node=tasks_per_node,
        min_cpus_node=spec.mincpus or 0,
        cpus_per_gpu=spec.cpus_per_gpu or 0,
        mem_node_mib=-1 if spec.mem_mib == 0 else spec.mem_mib or 0,
        mem_cpu_mib=spec.mem_per_cpu_mib or 0,
        mem_gpu_mib=spec.mem_per_gpu_mib or 0,
        tmp_mib=spec.tmp_mib or 0,
        gres_node=gres_node,
        gpus_total=gpus,
        gpus_task=_gpu_list(spec.gpus_per_task),
        exclusive=spec.whole_nodes,
        overcommit=spec.overcommit,
        required=required,
        excluded=frozenset(hostlist.expand(spec.exclude)) if spec.exclude else frozenset(),
        features=spec.constraint or "",
        sockets=spec.sockets_per_node or 0,
        cores=spec.cores_asked or 0,
        threads=spec.threads_asked or 0,
        contiguous=spec.contiguous,
        arbitrary=arbitrary,
        wide=spec.spread_job or (not least and min_nodes < max_nodes < INFINITE),
        tasks_per_socket=spec.ntasks_per_socket or 0,
        tasks_per_core=spec.ntasks_per_core or 0,
    )


def gres_names(spec: JobSpec) -> set[str]:
    """Names of the generic resources a spec asks for. Raises LanguageError."""
    lists = (
        _gres_list(spec.gres),
        _gpu_list(spec.gpus),
        _gpu_list(spec.gpus_per_node),
        _gpu_list(spec.gpus_per_task),
        _gpu_list(spec.gpus_per_socket),
    )
    return {name for items in lists for name, _, _ in items}
