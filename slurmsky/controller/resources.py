"""Which nodes and CPUs a job gets: a pure function of its demand and the nodes' present use.

The order of choice is that of Slurm's select/cons_tres with CR_Core and no topology: nodes by weight, then
as configured; each node takes as many tasks as it can while one task is kept back for every further node that is
still needed ("-N2 -n4" gives 3,1). Source: src/plugins/select/cons_tres/job_test.c and gres_sched.c.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from ..language import constraint, gres, hostlist, nodecount
from ..model.allocation import NodeShare
from ..model.cluster import ClusterConfig, NodeConfig, PartitionConfig
from ..model.spec import INFINITE, JobSpec


@dataclass
class NodeUse:
    """What is taken on one node."""

    config: NodeConfig
    available: bool = True  # up and not drained
    cpu_ids: set[int] = field(default_factory=set)
    memory_mib: int = 0
    gres: dict[str, set[int]] = field(default_factory=dict)
    jobs: set[int] = field(default_factory=set)
    exclusive: bool = False  # held by a job that shares with nobody

    def copy(self) -> NodeUse:
        """An independent copy, for "what if"."""
        return NodeUse(
            self.config,
            self.available,
            set(self.cpu_ids),
            self.memory_mib,
            {key: set(ids) for key, ids in self.gres.items()},
            set(self.jobs),
            self.exclusive,
        )

    def take(self, job_id: int, share: NodeShare, exclusive: bool) -> None:
        """Book a job's share."""
        self.jobs.add(job_id)
        self.cpu_ids.update(share.cpu_ids)
        self.memory_mib += share.memory_mib
        for key, ids in share.gres.items():
            self.gres.setdefault(key, set()).update(ids)
        self.exclusive = self.exclusive or exclusive

    def give(self, job_id: int, share: NodeShare) -> None:
        """Free a job's share."""
        self.jobs.discard(job_id)
        self.cpu_ids.difference_update(share.cpu_ids)
        self.memory_mib = max(0, self.memory_mib - share.memory_mib)
        for key, ids in share.gres.items():
            self.gres.get(key, set()).difference_update(ids)
        if not self.jobs:
            self.exclusive = False


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
        if self.max_nodes < INFINITE:
            return self.min_nodes
        need = 1
        if self.cpus_per_task > 1 and self.ntasks_given:
            # slurmctld rounds up twice: three tasks where four fit on a node are shown as two nodes.
            fit = max(1, cpus_per_node // self.cpus_per_task)
            need = max(1, self.ntasks // fit) + (self.ntasks % fit > 0)
        elif self.ntasks_given:
            need = -(-self.ntasks // max(1, cpus_per_node))
        if self.tasks_per_node and self.ntasks_given:
            need = max(need, -(-self.ntasks // self.tasks_per_node))
        return max(self.min_nodes, need, 1)


def _gpu_list(text: str | None) -> tuple[tuple[str, str, int], ...]:
    if not text:
        return ()
    return tuple((item.name, item.type or "", item.count) for item in gres.parse_gpus(text))


def _gres_list(text: str | None) -> tuple[tuple[str, str, int], ...]:
    if not text or text.upper() == "NONE":
        return ()
    return tuple((item.name, item.type or "", item.count) for item in gres.parse(text))


def task_count(spec: JobSpec) -> int:
    """Tasks of a job: given, or per node times nodes, or one per node (slurm_opt.c, validate and defaults)."""
    nodes = spec.nodes_min or (len(hostlist.expand(spec.nodelist)) if spec.nodelist else 1) or 1
    if spec.ntasks is not None:
        return spec.ntasks
    if spec.ntasks_per_node:
        return spec.ntasks_per_node * nodes
    gpus = sum(count for _, _, count in _gpu_list(spec.gpus))
    if spec.ntasks_per_gpu and gpus:
        return spec.ntasks_per_gpu * gpus
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
    per_node = spec.ntasks_per_node or 0
    if per_node and spec.ntasks is not None:
        min_nodes = max(min_nodes, -(-ntasks // per_node)) if max_nodes == INFINITE else min_nodes
    gres_node = _gres_list(spec.gres) + _gpu_list(spec.gpus_per_node)
    if spec.gpus_per_socket:
        sockets = spec.sockets_per_node or 1
        gres_node += tuple(
            (name, kind, count * sockets) for name, kind, count in _gpu_list(spec.gpus_per_socket)
        )
    arbitrary: tuple[str, ...] = ()
    if spec.distribution and spec.distribution.startswith("arbitrary") and spec.nodelist:
        arbitrary = tuple(hostlist.expand(spec.nodelist))
    return Demand(
        ntasks=ntasks,
        ntasks_given=spec.ntasks is not None,
        min_nodes=min_nodes,
        max_nodes=max_nodes,
        cpus_per_task=spec.cpus_per_task or 1,
        tasks_per_node=per_node,
        min_cpus_node=spec.mincpus or 0,
        cpus_per_gpu=spec.cpus_per_gpu or 0,
        mem_node_mib=-1 if spec.mem_mib == 0 else spec.mem_mib or 0,
        mem_cpu_mib=spec.mem_per_cpu_mib or 0,
        mem_gpu_mib=spec.mem_per_gpu_mib or 0,
        tmp_mib=spec.tmp_mib or 0,
        gres_node=gres_node,
        gpus_total=_gpu_list(spec.gpus),
        gpus_task=_gpu_list(spec.gpus_per_task),
        exclusive=spec.whole_nodes,
        overcommit=spec.overcommit,
        required=required,
        excluded=frozenset(hostlist.expand(spec.exclude)) if spec.exclude else frozenset(),
        features=spec.constraint or "",
        sockets=spec.sockets_per_node or 0,
        cores=spec.cores_per_socket or 0,
        threads=spec.threads_per_core or (1 if spec.hint == "nomultithread" else 0),
        contiguous=spec.contiguous,
        arbitrary=arbitrary,
        wide=spec.spread_job or (not spec.use_min_nodes and min_nodes < max_nodes < INFINITE),
        tasks_per_socket=spec.ntasks_per_socket or 0,
        tasks_per_core=spec.ntasks_per_core or 0,
    )


def _free_devices(use: NodeUse, name: str, kind: str) -> list[tuple[str, int]]:
    """Free devices of a gres as (key, index), lowest index first; indices run over all types of the name."""
    free = []
    base = 0
    for gres_name, gres_type, count in use.config.gres:
        if gres_name != name:
            continue
        key = f"{gres_name}:{gres_type}" if gres_type else gres_name
        if not kind or kind == gres_type:
            taken = use.gres.get(key, set())
            free += [(key, index) for index in range(base, base + count) if index not in taken]
        base += count
    return free


class _Devices:
    """Devices picked on one node for one job."""

    def __init__(self, use: NodeUse) -> None:
        self._use = use
        self._ids: dict[str, list[int]] = {}
        self.gpus = 0

    def grab(self, name: str, kind: str, count: int) -> bool:
        """Pick the lowest free ones; False when there are too few."""
        free = self.left(name, kind)
        if len(free) < count:
            return False
        for key, index in free[:count]:
            self._ids.setdefault(key, []).append(index)
        self.gpus += count if name == "gpu" else 0
        return True

    def left(self, name: str, kind: str = "") -> list[tuple[str, int]]:
        """What could still be picked."""
        free = _free_devices(self._use, name, kind)
        return [(key, index) for key, index in free if index not in self._ids.get(key, [])]

    @property
    def taken(self) -> dict[str, tuple[int, ...]]:
        """Indices by gres key."""
        return {key: tuple(sorted(ids)) for key, ids in self._ids.items()}


@dataclass
class _Offer:
    """What one node could give."""

    use: NodeUse
    cores: list[list[int]]  # free cores, each its free CPU ids
    max_tasks: int


def _offer(use: NodeUse, demand: Demand, consume_memory: bool = True) -> _Offer | None:
    """A node's offer, or None when it cannot take one task of the job."""
    config = use.config
    if use.exclusive or (demand.exclusive and use.jobs):
        return None
    if config.tmp_mib < demand.tmp_mib:
        return None
    threads = config.threads
    every = (
        list(range(start, min(start + threads, config.cpus))) for start in range(0, config.cpus, threads)
    )
    cores = [ids for ids in every if use.cpu_ids.isdisjoint(ids)]
    usable = min(threads, demand.threads) if demand.threads else threads
    cpus = len(cores) * usable
    if cpus == 0 or cpus < demand.min_cpus_node:
        return None
    free_mib = config.memory_mib - use.memory_mib
    if demand.mem_node_mib == -1 and use.memory_mib:
        return None
    if demand.mem_node_mib > free_mib:
        return None
    tasks = INFINITE if demand.overcommit else cpus // demand.cpus_per_task
    if demand.tasks_per_socket and not demand.overcommit:
        tasks = min(tasks, demand.tasks_per_socket * config.sockets * config.boards)
    if demand.tasks_per_core and not demand.overcommit:
        tasks = min(tasks, demand.tasks_per_core * len(cores))
    if demand.mem_cpu_mib > config.memory_mib:
        return None
    if demand.mem_cpu_mib and consume_memory:
        tasks = min(tasks, free_mib // (demand.mem_cpu_mib * demand.cpus_per_task))
    for name, kind, count in demand.gres_node:
        if len(_free_devices(use, name, kind)) < count:
            return None
    for name, kind, count in demand.gpus_task:
        tasks = min(tasks, len(_free_devices(use, name, kind)) // max(1, count))
    for name, kind, _ in demand.gpus_total:
        if not _free_devices(use, name, kind):
            return None
    if demand.tasks_per_node:
        if tasks < min(demand.tasks_per_node, demand.ntasks):
            return None
        tasks = min(tasks, demand.tasks_per_node)
    return _Offer(use, cores, tasks) if tasks > 0 else None


def fits_shape(config: NodeConfig, demand: Demand) -> bool:
    """Whether the node's sockets, cores and threads satisfy the job's."""
    return (
        config.sockets * config.boards >= demand.sockets
        and config.cores >= demand.cores
        and config.threads >= demand.threads
    )


def has_features(config: NodeConfig, demand: Demand) -> bool:
    """Whether the node satisfies --constraint."""
    return not demand.features or constraint.parse(demand.features).matches(set(config.features))


def place(demand: Demand, nodes: Sequence[NodeUse], consume_memory: bool = True) -> list[NodeShare] | None:
    """Shares for the job on these nodes (the partition's, in order), or None when they do not suffice now.

    -N2-4 takes four nodes where they are free, --spread-job all, but never more than there are tasks.
    """
    if demand.wide:
        counted = demand.ntasks_given or demand.max_nodes >= INFINITE
        most = min(demand.max_nodes, len(nodes), demand.ntasks if counted else INFINITE)
        for count in range(most, demand.min_nodes, -1):
            by_node = not demand.ntasks_given and demand.ntasks == demand.min_nodes
            ntasks = count if by_node else demand.ntasks
            shares = place(replace(demand, wide=False, min_nodes=count, ntasks=ntasks), nodes, consume_memory)
            if shares is not None:
                return shares
    usable = [
        use
        for use in nodes
        if use.available
        and use.config.name not in demand.excluded
        and fits_shape(use.config, demand)
        and has_features(use.config, demand)
    ]
    by_name = {use.config.name: use for use in usable}
    if any(name not in by_name for name in demand.required):
        return None
    offers = [
        offer for use in sorted(usable, key=lambda u: u.config.weight) if (offer := _offer(use, demand, consume_memory))
    ]
    offered = {offer.use.config.name: offer for offer in offers}
    if any(name not in offered for name in demand.required):
        return None
    if demand.arbitrary:
        return _place_arbitrary(demand, offered, consume_memory)
    required = [offered[name] for name in demand.required]
    others = [offer for offer in offers if offer.use.config.name not in demand.required]
    chosen = _spread(demand, required, others)
    if chosen is None and demand.max_nodes < INFINITE:
        # In configured order the nodes were too small for max_nodes: prefer those that take most.
        others.sort(key=lambda offer: -offer.max_tasks)
        chosen = _spread(demand, required, others)
    if chosen is None:
        return None
    order = {use.config.name: index for index, use in enumerate(nodes)}
    chosen.sort(key=lambda pair: order[pair[0].use.config.name])
    return _shares(demand, chosen, consume_memory)


def _spread(demand: Demand, required: list[_Offer], others: list[_Offer]) -> list[tuple[_Offer, int]] | None:
    queue = required + others
    chosen: list[tuple[_Offer, int]] = []
    tasks = demand.ntasks
    gpus = sum(count for _, _, count in demand.gpus_total)
    nodes_needed = max(demand.min_nodes, len(required))
    for offer in queue:
        if len(chosen) >= demand.max_nodes:
            break
        later = max(0, nodes_needed - len(chosen) - 1)
        take = min(offer.max_tasks, max(1, tasks - later)) if tasks > 0 else 0
        if take <= 0 and len(chosen) >= nodes_needed and gpus <= 0:
            break
        if demand.tasks_per_node and demand.ntasks_given is False:
            take = min(demand.tasks_per_node, offer.max_tasks)
        chosen.append((offer, max(take, 0)))
        tasks -= take
        gpus -= sum(len(_free_devices(offer.use, name, kind)) for name, kind, _ in demand.gpus_total)
        if tasks <= 0 and len(chosen) >= nodes_needed and gpus <= 0:
            break
    if tasks > 0 or len(chosen) < nodes_needed or gpus > 0:
        return None
    return chosen


def _place_arbitrary(demand: Demand, offered: dict[str, _Offer], consume: bool) -> list[NodeShare] | None:
    chosen = [(offered[name], demand.arbitrary.count(name)) for name in dict.fromkeys(demand.arbitrary)]
    if any(tasks > offer.max_tasks for offer, tasks in chosen):
        return None
    return _shares(demand, chosen, consume)


def _shares(demand: Demand, chosen: list[tuple[_Offer, int]], consume_memory: bool) -> list[NodeShare] | None:
    shares = []
    wanted_total = {(name, kind): count for name, kind, count in demand.gpus_total}
    for position, (offer, tasks) in enumerate(chosen):
        use, config = offer.use, offer.use.config
        share = NodeShare(config.name, config.address, tasks=tasks, cpus_on_node=config.cpus)
        devices = _Devices(use)
        for name, kind, count in demand.gres_node:
            if not devices.grab(name, kind, count):
                return None
        for name, kind, count in demand.gpus_task:
            if not devices.grab(name, kind, count * tasks):
                return None
        for (name, kind), left in wanted_total.items():
            later = len(chosen) - position - 1
            count = min(len(_free_devices(use, name, kind)), max(1, left - later)) if left > 0 else 0
            if not devices.grab(name, kind, count):
                return None
            wanted_total[name, kind] = left - count
        if demand.exclusive:
            # A whole node comes with its devices, asked for or not. Source: gres.c, job_select_whole_node.
            for name in dict.fromkeys(name for name, _, _ in config.gres):
                devices.grab(name, "", len(devices.left(name)))
        share.gres = devices.taken
        threads = min(config.threads, demand.threads) if demand.threads else config.threads
        if demand.exclusive:
            cpus = config.cpus
        elif demand.overcommit:
            cpus = 1
        else:
            cpus = max(tasks * demand.cpus_per_task, demand.min_cpus_node, devices.gpus * demand.cpus_per_gpu, 1)
        cores = -(-cpus // threads)
        if cores > len(offer.cores):
            return None
        share.cpu_ids = tuple(cpu for core in offer.cores[:cores] for cpu in core[:threads])
        if consume_memory:
            share.memory_mib = _memory(demand, config, len(share.cpu_ids), devices.gpus)
            if share.memory_mib > config.memory_mib - use.memory_mib:
                return None
        shares.append(share)
    return shares


def _memory(demand: Demand, config: NodeConfig, cpus: int, gpus: int) -> int:
    if demand.mem_node_mib == -1:
        return config.memory_mib
    if demand.mem_node_mib:
        return demand.mem_node_mib
    return demand.mem_cpu_mib * cpus + demand.mem_gpu_mib * gpus


# --- checks at submit


@dataclass(frozen=True)
class Impossible:
    """Why no node could ever run the job: Slurm's detail line (may be empty) and its error text."""

    detail: str
    text: str = "Requested node configuration is not available"


def impossible(demand: Demand, nodes: Iterable[NodeConfig], consume_memory: bool = True) -> Impossible | None:
    """The reason why even these nodes, idle, could not run the job, or None.

    Only what concerns a single node is judged here; too many nodes or tasks wait with a reason of the partition.
    Source: job_scheduler/node_scheduler.c _build_node_list messages.
    """
    every = list(nodes)
    shaped = [node for node in every if fits_shape(node, demand)]
    if not shaped:
        return Impossible("Socket, core and/or thread specification can not be satisfied")
    per_node = max(demand.cpus_per_task, demand.min_cpus_node)
    if demand.tasks_per_node and not demand.overcommit:
        per_node = max(
            per_node,
            demand.tasks_per_node * demand.cpus_per_task if demand.ntasks >= demand.tasks_per_node else 0,
        )
    if all(node.cpus < max(demand.cpus_per_task, demand.min_cpus_node) for node in shaped):
        return Impossible("CPU count per node can not be satisfied")
    memory = max(
        demand.mem_node_mib, demand.mem_cpu_mib * (demand.cpus_per_task if consume_memory else 1)
    )
    if all(node.memory_mib < demand.mem_node_mib for node in shaped):
        return Impossible("Memory specification can not be satisfied")
    if all(node.tmp_mib < demand.tmp_mib for node in shaped):
        return Impossible("Temporary disk specification can not be satisfied")
    idle = [NodeUse(node) for node in shaped if node.cpus >= per_node and node.memory_mib >= memory]
    names = {use.config.name for use in idle}
    if any(name not in names for name in demand.required):
        return Impossible("")
    wide = [
        use for use in idle if use.config.name not in demand.excluded and has_features(use.config, demand)
    ]
    offers = [offer for use in wide if (offer := _offer(use, demand, consume_memory))]
    if not offers:
        return Impossible("")
    # Whoever asks for more nodes or CPUs than there are waits (PartitionConfig); for more than may be had of them
    # (-x, -N, the tasks that sockets, devices or memory bear) is refused.
    enough = demand.overcommit or demand.ntasks <= sum(node.cpus // demand.cpus_per_task for node in every)
    if enough and demand.min_nodes <= len(every):
        most = sorted((offer.max_tasks for offer in offers), reverse=True)
        if sum(most[: demand.max_nodes]) < demand.ntasks:
            return Impossible("")
    gpus = sum(count for _, _, count in demand.gpus_total)
    if gpus and gpus > sum(
        len(_free_devices(use, name, kind)) for use in wide for name, kind, _ in demand.gpus_total
    ):
        return Impossible("")
    return None


def consumes_memory(cluster: ClusterConfig) -> bool:
    """Whether jobs take memory away from each other: SelectTypeParameters names it."""
    return "MEMORY" in dict(cluster.parameters).get("SelectTypeParameters", "CR_Core_Memory").upper()


def partition_nodes(cluster: ClusterConfig, partition: PartitionConfig) -> list[NodeConfig]:
    """The partition's nodes in the cluster's order."""
    names = set(partition.nodes)
    return [node for node in cluster.nodes if node.name in names]


def node_range(spec: JobSpec) -> tuple[int, int]:
    """Smallest and largest node count asked (0 = no upper limit)."""
    if spec.nodes:
        count = nodecount.parse(spec.nodes)
        return count.min, count.max
    return spec.nodes_min or 1, spec.nodes_max or 0


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
