"""Placement: a pure function from demand and node use to shares.

Nodes are chosen as by Slurm's select/cons_tres with CR_Core and no topology: nodes by weight, then as configured. Each
node takes as many tasks as it can, while one task is left for every further node that is needed ("-N2 -n4" gives 3,1).
Source: src/plugins/select/cons_tres/job_test.c and gres_sched.c.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from ...language import constraint
from ...model.allocation import NodeShare
from ...model.cluster import ClusterConfig, NodeConfig, PartitionConfig
from ...model.spec import INFINITE
from .demand import Demand
from .node_order import Candidate, node_order
from .node_use import DeviceSelection, NodeUse


@dataclass
class _Offer:
    """Resources of one node that a job could have."""

    use: NodeUse
    cores: list[list[int]]  # free cores, each its free CPU ids
    max_tasks: int


def _usable_threads(use: NodeUse, demand: Demand) -> int:
    """The CPUs of a core that the job may use."""
    return min(use.config.threads, demand.threads) if demand.threads else use.config.threads


def _free_cores(use: NodeUse, demand: Demand) -> list[list[int]]:
    """Cores without a used CPU, within the partition's share of the node."""
    threads, count = use.config.threads, use.config.cpus
    every = (list(range(start, min(start + threads, count))) for start in range(0, count, threads))
    cores = [ids for ids in every if use.cpu_ids.isdisjoint(ids)]
    if demand.cpus_of_partition < INFINITE:
        cores = cores[: max(0, demand.cpus_of_partition - use.partitions.get(demand.partition, 0)) // threads]
    return cores


def _is_too_small(use: NodeUse, demand: Demand, cpus: int) -> bool:
    """True if a node is too small for the job's request per node. ``cpus``: its free CPUs."""
    config = use.config
    return (
        cpus == 0
        or cpus < max(demand.tasks_per_node * demand.cpus_per_task, demand.min_cpus_node)
        or (demand.overcommit and cpus < demand.least_cpus)
        or (demand.mem_node_mib == -1 and use.memory_mib > 0)
        or demand.mem_node_mib > config.memory_mib - use.memory_mib
        or demand.tasks_per_socket > config.cores * config.threads
        or demand.mem_cpu_mib > config.memory_mib
        or any(len(use.free_devices(name, kind)) < count for name, kind, count in demand.gres_node)
        or not all(use.free_devices(name, kind) for name, kind, _ in demand.gpus_total)
    )


def offer_of(use: NodeUse, demand: Demand, consume_memory: bool = True) -> _Offer | None:
    """Return a node's offer; None for a node too small for one task."""
    config = use.config
    runs = use.cpu_ids or 0 in use.jobs  # a suspended job holds no CPU
    if use.exclusive or (demand.exclusive and runs) or config.tmp_mib < demand.tmp_mib:
        return None
    cores = _free_cores(use, demand)
    cpus = len(cores) * _usable_threads(use, demand)
    if _is_too_small(use, demand, cpus):
        return None
    tasks = INFINITE if demand.overcommit else cpus // demand.cpus_per_task
    if demand.tasks_per_socket and not demand.overcommit:
        tasks = min(tasks, demand.tasks_per_socket * config.sockets * config.boards)
    if demand.tasks_per_core and not demand.overcommit:
        tasks = min(tasks, demand.tasks_per_core * len(cores))
    if demand.mem_cpu_mib and consume_memory:
        most = (config.memory_mib - use.memory_mib) // demand.mem_cpu_mib
        if not demand.overcommit:
            tasks = min(tasks, most // demand.cpus_per_task)
        elif most < max(demand.least_cpus, demand.tasks_per_node):
            return None  # Overcommitted tasks share CPUs. Source: job_test.c _verify_node_state, pn_min_cpus.
    for name, kind, count in demand.gpus_task:
        tasks = min(tasks, len(use.free_devices(name, kind)) // max(1, count))
    # Each node must have this many CPUs, for any number of tasks. Source: topology/common/eval_nodes.c.
    if tasks < (demand.tasks_per_node or demand.tasks_per_socket or demand.tasks_per_core):
        return None
    if demand.tasks_per_node:
        tasks = min(tasks, demand.tasks_per_node)
    return _Offer(use, cores, tasks) if tasks > 0 else None


def gpus_here(offer: _Offer, demand: Demand, name: str, kind: str) -> int:
    """GPUs that a node's free CPUs and memory allow."""
    free = len(offer.use.free_devices(name, kind))
    if demand.cpus_per_gpu:
        free = min(free, len(offer.cores) * _usable_threads(offer.use, demand) // demand.cpus_per_gpu)
    if demand.mem_gpu_mib:
        free = min(free, (offer.use.config.memory_mib - offer.use.memory_mib) // demand.mem_gpu_mib)
    return free


def fits_shape(config: NodeConfig, demand: Demand) -> bool:
    """True if the node has the requested sockets, cores and threads."""
    return (
        config.sockets * config.boards >= demand.sockets
        and config.cores >= demand.cores
        and config.threads >= demand.threads
    )


def feature_choices(text: str) -> list[constraint.Alternative]:
    """Alternatives of --constraint, in the order in which they are tried."""
    return constraint.parse(text).choices() if text else [constraint.Alternative(())]


#: the signature of ``place``
Place = Callable[[Demand, Sequence[NodeUse], bool], "list[NodeShare] | None"]


def place(demand: Demand, nodes: Sequence[NodeUse], consume_memory: bool = True) -> list[NodeShare] | None:
    """Return shares for the job, in order; None: too few nodes.

    -N2-4 takes four nodes if they are free, --spread-job all, but at most one per task.
    """
    if demand.maximize_nodes:
        counted = demand.ntasks_given or demand.max_nodes >= INFINITE
        most = min(demand.max_nodes, len(nodes), demand.ntasks if counted else INFINITE)
        for count in range(most, demand.min_nodes, -1):
            ntasks = demand.ntasks if demand.ntasks_given else count * max(1, demand.tasks_per_node)
            shares = place(replace(demand, maximize_nodes=False, min_nodes=count, ntasks=ntasks), nodes, consume_memory)
            if shares is not None:
                return shares
    usable = [
        use
        for use in nodes
        if use.available and use.config.name not in demand.excluded and fits_shape(use.config, demand)
    ]
    offers = [offer for use in usable if (offer := offer_of(use, demand, consume_memory))]
    for text in filter(None, (demand.prefer, demand.features)):
        for choice in feature_choices(text):
            shares = _place(demand, choice, offers, nodes, consume_memory)
            if shares is not None:
                return shares
    return None if demand.features else _place(demand, constraint.Alternative(()), offers, nodes, consume_memory)


def _place(
    demand: Demand, choice: constraint.Alternative, able: list[_Offer], nodes: Sequence[NodeUse], consume_memory: bool
) -> list[NodeShare] | None:
    offers = [offer for offer in able if choice.matches(offer.use.config.active)]
    offered = {offer.use.config.name: offer for offer in offers}
    if any(name not in offered for name in demand.required):
        return None
    if choice.some:
        # The required nodes count first.
        first = sorted(offered, key=lambda name: name not in demand.required)
        counted = choice.pick([(name, offered[name].use.config.active) for name in first])
        if counted is None:
            return None
        demand = replace(demand, required=tuple(dict.fromkeys((*demand.required, *counted))))
    if demand.arbitrary:
        return _place_arbitrary(demand, offered, consume_memory)
    required = [offered[name] for name in demand.required]
    others = [offer for offer in offers if offer.use.config.name not in demand.required]
    order = {use.config.name: index for index, use in enumerate(nodes)}
    chosen = _spread(demand, len(required), _in_order(demand, required, others, order))
    if chosen is None and demand.max_nodes < INFINITE and not demand.contiguous:
        # In that order the nodes were too small for max_nodes: prefer those that take the most tasks.
        others.sort(key=lambda offer: -offer.max_tasks)
        chosen = _spread(demand, len(required), required + others)
    if chosen is None:
        return None
    batch = constraint.parse(demand.batch_features) if demand.batch_features else None
    # The script runs on the first node with the features of --batch.
    host = next((pair[0] for pair in chosen if batch and batch.matches(pair[0].use.config.active)), None)
    chosen.sort(key=lambda pair: (pair[0] is not host, order[pair[0].use.config.name]))
    return _shares(demand, chosen, consume_memory)


def _in_order(demand: Demand, required: list[_Offer], others: list[_Offer], order: dict[str, int]) -> Iterable[_Offer]:
    if len(required) + len(others) == 1:
        return required + others
    offers = {order[offer.use.config.name]: offer for offer in required + others}
    # GPUs per task also count for the whole job. Source: gres.c gres_job_state_validate.
    per_task = tuple((name, kind, count * demand.ntasks) for name, kind, count in demand.gpus_task)
    gpus_of_job = demand.gpus_total or per_task

    def candidate(offer: _Offer) -> Candidate:
        config = offer.use.config
        cpus = sum(map(len, offer.cores))
        if offer.max_tasks < INFINITE and not demand.exclusive:
            cpus = offer.max_tasks * demand.cpus_per_task
        free = sum(gpus_here(offer, demand, name, kind) for name, kind, _ in gpus_of_job)
        return Candidate(order[config.name], config.weight, cpus, free)

    found = node_order(
        [candidate(offer) for offer in required],
        [candidate(offer) for offer in others],
        demand.num_cpus,
        max(demand.min_nodes, len(required)),
        sum(count for _, _, count in gpus_of_job),
        demand.contiguous,
    )
    return (offers[one.position] for one in found)


def _spread(demand: Demand, required: int, queue: Iterable[_Offer]) -> list[tuple[_Offer, int]] | None:
    chosen: list[tuple[_Offer, int]] = []
    tasks = demand.ntasks
    gpus = sum(count for _, _, count in demand.gpus_total)
    nodes_needed = max(demand.min_nodes, required)
    for offer in queue:
        if len(chosen) >= demand.max_nodes:
            break
        later = max(0, nodes_needed - len(chosen) - 1)
        # Nodes without a limit, as for overcommitted tasks, get equal numbers.
        share = tasks - later if offer.max_tasks < INFINITE else -(-tasks // (later + 1))
        take = min(offer.max_tasks, max(1, share)) if tasks > 0 else 0
        if take <= 0 and len(chosen) >= nodes_needed and gpus <= 0:
            break
        if demand.tasks_per_node and demand.ntasks_given is False:
            take = min(demand.tasks_per_node, offer.max_tasks)
        chosen.append((offer, max(take, 0)))
        tasks -= take
        gpus -= sum(gpus_here(offer, demand, name, kind) for name, kind, _ in demand.gpus_total)
        if tasks <= 0 and len(chosen) >= nodes_needed and gpus <= 0:
            break
    if tasks > 0 or len(chosen) < nodes_needed or gpus > 0:
        return None
    return chosen


def _place_arbitrary(demand: Demand, offered: dict[str, _Offer], consume: bool) -> list[NodeShare] | None:
    counts = Counter(demand.arbitrary)
    chosen = [(offer, counts[name]) for name, offer in offered.items() if name in counts]
    if any(tasks > offer.max_tasks for offer, tasks in chosen):
        return None
    return _shares(demand, chosen, consume)


def _shares(demand: Demand, chosen: list[tuple[_Offer, int]], consume_memory: bool) -> list[NodeShare] | None:
    shares = []
    wanted_total = {(name, kind): count for name, kind, count in demand.gpus_total}
    for position, (offer, tasks) in enumerate(chosen):
        use, config = offer.use, offer.use.config
        share = NodeShare(config.name, config.address, tasks=tasks, cpus_on_node=config.cpus)
        devices = DeviceSelection(use)
        for name, kind, count in demand.gres_node:
            if not devices.select(name, kind, count):
                return None
        for name, kind, count in demand.gpus_task:
            if not devices.select(name, kind, count * tasks):
                return None
        for (name, kind), left in wanted_total.items():
            later = len(chosen) - position - 1
            count = min(gpus_here(offer, demand, name, kind), max(1, left - later)) if left > 0 else 0
            if not devices.select(name, kind, count):
                return None
            wanted_total[name, kind] = left - count
        if demand.exclusive:
            # A whole node includes all its devices. Source: gres.c, job_select_whole_node.
            for name in dict.fromkeys(name for name, _, _ in config.gres):
                devices.select(name, "", len(devices.free(name)))
        share.gres = devices.selected
        threads = _usable_threads(offer.use, demand)
        if demand.exclusive:
            cpus = config.cpus
        elif demand.overcommit:  # regardless of the number of tasks
            cpus = demand.cpus_per_task
        else:
            cpus = max(tasks * demand.cpus_per_task, demand.least_cpus, devices.gpus * demand.cpus_per_gpu, 1)
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


def consumes_memory(cluster: ClusterConfig) -> bool:
    """True if SelectTypeParameters makes memory a consumable resource."""
    return "MEMORY" in dict(cluster.parameters).get("SelectTypeParameters", "CR_Core_Memory").upper()


def partition_nodes(cluster: ClusterConfig, partition: PartitionConfig) -> list[NodeConfig]:
    """The partition's nodes in the cluster's order."""
    names = set(partition.nodes)
    return [node for node in cluster.nodes if node.name in names]
