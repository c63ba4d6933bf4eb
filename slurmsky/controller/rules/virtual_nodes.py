"""Virtual nodes: run a job that is larger than this machine.

The job sees nodes of the requested size, and holds at most the resources of the real machine. So the real CPUs limit
how many such jobs run at once, and no job is refused for its size. Virtual nodes exist only in an open cluster
(``ClusterConfig.open``), which no site file describes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ...model.allocation import NodeShare
from ...model.cluster import ClusterConfig, NodeConfig
from ...model.job import Job, Node
from ...model.spec import INFINITE, JobSpec
from ...model.states import JobState, NodeState
from .demand import Demand, demand_of
from .job_feasibility import impossible
from .job_placement import consumes_memory, place
from .node_use import NodeUse
from .provisional_shares import cloud_shares

GPU = "gpu"


@dataclass(frozen=True)
class Fit:
    """A demand on this machine: the real request, and the job's shares."""

    demand: Demand
    shares: tuple[NodeShare, ...] = ()  # () = the demand fits: the job gets a part of the real node

    @property
    def gpus_absent(self) -> bool:
        """True if the job runs without the GPUs that it requests."""
        return any(share.gpus_absent and any(map(_is_gpu, share.gres)) for share in self.shares)


class VirtualNodes:
    """Virtual nodes of the real node of an open cluster."""

    def __init__(self, cluster: ClusterConfig) -> None:
        self.machine: NodeConfig | None = cluster.nodes[0] if cluster.open and cluster.nodes else None
        self._real = list(cluster.nodes)
        self._consume = consumes_memory(cluster)
        self._held: dict[int, list[NodeShare]] = {}  # entries that differ from the job's shares

    def fit(self, demand: Demand) -> Fit:
        """Reduce a demand to the resources of the real node."""
        machine = self.machine
        if machine is None:
            return Fit(demand)
        plain = self._without_unknown_names(demand, machine)
        if impossible(plain, self._real, self._consume) is None and plain.num_cpus <= machine.cpus:
            return Fit(plain)
        shares = self._with_devices(_virtual_shares(demand, machine), machine)
        return Fit(self._held_demand(shares, machine, demand.exclusive), tuple(shares))

    def fit_components(self, demands: Sequence[Demand]) -> list[Fit] | None:
        """Virtual nodes for the components of a het job.

        None: the machine is large enough. The first component's demand represents all components on the real node.
        """
        machine = self.machine
        alone = [self.fit(demand) for demand in demands]
        if len(alone) == 1 and alone[0].shares:
            return alone
        if machine is None or (
            not any(fit.shares for fit in alone) and sum(fit.demand.num_cpus for fit in alone) <= machine.cpus
        ):
            return None
        fits, names = [], frozenset[str]()
        for demand in demands:
            shares = [
                replace(share, virtual=True, gpus_absent=True)
                for share in _virtual_shares(replace(demand, excluded=demand.excluded | names), machine)
            ]
            names |= {share.name for share in shares}
            fits.append(Fit(self._held_demand(shares, machine, False), tuple(shares)))
        every = [share for fit in fits for share in fit.shares]
        exclusive = any(demand.exclusive for demand in demands)
        fits[0] = replace(fits[0], demand=self._held_demand(every, machine, exclusive))
        return fits

    def _held_demand(self, shares: Sequence[NodeShare], machine: NodeConfig, exclusive: bool) -> Demand:
        """Return the real node's resources for virtual shares, as a demand."""
        held = _sum(shares)
        gpus = () if not held[GPU] or any(share.gpus_absent for share in shares) else ((GPU, "", held[GPU]),)
        return replace(
            _ONE_TASK,
            cpus_per_task=max(1, min(held["cpus"], machine.cpus)),
            mem_node_mib=min(held["mem"], machine.memory_mib),
            exclusive=exclusive,
            gres_node=gpus,
        )

    def _without_unknown_names(self, demand: Demand, machine: NodeConfig) -> Demand:
        """Remove names from a demand that this machine may lack.

        These are features, GPU types, other generic resources, and hosts.
        """
        have = {(name, kind) for name, kind, _ in machine.gres}
        names = {name for name, _ in have} | {GPU}

        def known(requested: tuple[tuple[str, str, int], ...]) -> tuple[tuple[str, str, int], ...]:
            kept = [
                (name, kind if (name, kind) in have else "", count) for name, kind, count in requested if name in names
            ]
            total: dict[tuple[str, str], int] = {}
            for name, kind, count in kept:
                total[name, kind] = total.get((name, kind), 0) + count
            return tuple((name, kind, count) for (name, kind), count in total.items())

        return replace(
            demand,
            features="",
            prefer="",
            batch_features="",
            gres_node=known(demand.gres_node),
            gpus_total=known(demand.gpus_total),
            gpus_task=known(demand.gpus_task),
        )

    def _with_devices(self, shares: list[NodeShare], machine: NodeConfig) -> list[NodeShare]:
        """Mark GPUs as absent if the machine has too few."""
        have = sum(count for name, _, count in machine.gres if name == GPU)
        requested = _sum(shares)[GPU]
        return [replace(share, virtual=True, gpus_absent=requested > have) for share in shares]

    # --- booked resources of the real node

    def placed(self, fit: Fit, real: list[NodeShare]) -> list[NodeShare]:
        """Return the virtual shares of a job on ``real``, with real devices."""
        if not fit.shares:
            return real
        devices = [(key, index) for share in real for key, ids in share.gres.items() for index in ids]
        shares = []
        for share in fit.shares:
            gres = dict(share.gres)
            if not share.gpus_absent and any(_is_gpu(key) for key in gres):
                count = sum(len(ids) for key, ids in gres.items() if _is_gpu(key))
                mine, devices = devices[:count], devices[count:]
                gres = {key: ids for key, ids in gres.items() if not _is_gpu(key)}
                for key, index in mine:
                    gres[key] = (*gres.get(key, ()), index)
            shares.append(replace(share, gres=gres))
        return shares

    def book_real_nodes(self, job: Job, uses: Mapping[str, NodeUse]) -> list[NodeShare]:
        """Record and return the real shares of an active job.

        A suspended job holds memory and devices. Source: job_res_rm_job of select/cons_tres (JOB_RES_ACTION_RESUME).
        """
        held = job.shares if self.machine is None else self.real_shares(job.shares, uses[self.machine.name])
        if job.state is JobState.SUSPENDED:
            held = [replace(share, cpu_ids=()) for share in held]
        if held is not job.shares:
            self._held[job.job_id] = held
        return held

    def real_shares(self, shares: list[NodeShare], use: NodeUse) -> list[NodeShare]:
        """Return the real shares that a job on ``shares`` would hold.

        Without virtual nodes these are its own shares.
        """
        if self.machine is None or not any(share.virtual for share in shares):
            return shares
        total = _sum(shares)
        free = [cpu for cpu in range(self.machine.cpus) if cpu not in use.cpu_ids]
        gres: dict[str, tuple[int, ...]] = {}
        for share in shares:
            for key, ids in share.gres.items():
                if _is_gpu(key) and not share.gpus_absent:
                    gres[key] = (*gres.get(key, ()), *ids)
        cores = -(-min(total["cpus"], self.machine.cpus) // self.machine.threads) * self.machine.threads
        held = NodeShare(
            self.machine.name,
            cpu_ids=tuple(free[:cores]),
            memory_mib=min(total["mem"], max(0, self.machine.memory_mib - use.memory_mib)),
            gres=gres,
        )
        return [held]

    def real_shares_of(self, job: Job) -> list[NodeShare]:
        """Return the real shares of a running job."""
        return self._held.get(job.job_id, job.shares)

    def release(self, job: Job) -> list[NodeShare]:
        """Remove and return the real shares of an ending job."""
        return self._held.pop(job.job_id, job.shares)

    # --- what users see

    def nodes(self, real: Mapping[str, Node], jobs: Iterable[Job], partitions: tuple[str, ...]) -> dict[str, Node]:
        """Real nodes, and virtual nodes of running jobs in allocated size."""
        shares = [(job, share) for job in jobs for share in job.shares if share.virtual]
        found = dict(real)
        if self.machine is None or not shares:
            return found
        model = real[self.machine.name]
        for name in dict.fromkeys(share.name for _, share in shares):
            here = [(job, share) for job, share in shares if share.name == name]
            found[name] = _shown(real.get(name) or _empty(name, model, partitions), here, self._held)
        return found


def cluster_of(cluster: ClusterConfig, nodes: Mapping[str, Node]) -> ClusterConfig:
    """Return the cluster with these nodes in every partition."""
    if len(nodes) == len(cluster.nodes) and all(nodes[node.name].config is node for node in cluster.nodes):
        return cluster
    names = tuple(nodes)
    return replace(
        cluster,
        nodes=tuple(node.config for node in nodes.values()),
        partitions=tuple(replace(part, nodes=names) for part in cluster.partitions),
    )


def _empty(name: str, model: Node, partitions: tuple[str, ...]) -> Node:
    config = replace(model.config, name=name, cpus=0, memory_mib=0, gres=())
    return replace(
        model, config=config, partitions=partitions, alloc_cpus=0, alloc_memory_mib=0, alloc_gres={},
        alloc_gres_ids={}, jobs=frozenset(),
    )  # fmt: skip


def _shown(node: Node, here: list[tuple[Job, NodeShare]], held: Mapping[int, list[NodeShare]]) -> Node:
    """Return a node sized for its real resources and virtual shares."""
    cpus, memory = node.alloc_cpus, node.alloc_memory_mib
    taken = dict(node.alloc_gres.items())
    for job, share in here:
        for booked in held.get(job.job_id, ()):
            if booked.name == node.config.name:  # subtract the real share, which counts in its virtual size
                cpus -= booked.cpus
                memory -= booked.memory_mib
                for key, ids in booked.gres.items():
                    taken[key] = taken.get(key, 0) - len(ids)
        cpus += share.cpus if job.state is not JobState.SUSPENDED else 0
        memory += share.memory_mib
        for key, ids in share.gres.items():
            taken[key] = taken.get(key, 0) + len(ids)
    taken = {key: count for key, count in taken.items() if count > 0}
    gres = {(name, kind): count for name, kind, count in node.config.gres}
    for key, count in taken.items():
        name, _, kind = key.partition(":")
        gres[name, kind] = max(count, gres.get((name, kind), 0))
    total = max(cpus, node.config.cpus)
    config = node.config
    if total != config.cpus:
        config = replace(config, cpus=total, boards=1, sockets=total, cores=1, threads=1)
    config = replace(
        config,
        memory_mib=max(memory, config.memory_mib, 1),
        gres=tuple((name, kind, count) for (name, kind), count in gres.items()),
    )
    return replace(
        node,
        config=config,
        alloc_cpus=cpus,
        alloc_memory_mib=memory,
        alloc_gres=taken,
        alloc_gres_ids={key: tuple(range(count)) for key, count in taken.items()},
        jobs=node.jobs | {job.job_id for job, _ in here},
        state=NodeState.ALLOCATED if cpus >= total else NodeState.MIXED if cpus else NodeState.IDLE,
    )


# --- nodes of a job's size

_ONE_TASK = demand_of(JobSpec(nodes_min=1, nodes_max=1, ntasks=1))


def node_names(machine: str, demand: Demand, count: int) -> list[str]:
    """Names of ``count`` nodes: requested, the machine's own, then numbered.

    >>> from slurmsky.controller.rules.demand import demand_of
    >>> from slurmsky.model.spec import JobSpec
    >>> node_names("laptop", demand_of(JobSpec(nodelist="gpu01")), 3)
    ['gpu01', 'laptop', 'laptop-2']
    """
    names = list(demand.required)
    number = 1
    while len(names) < count:
        name = machine if number == 1 else f"{machine}-{number}"
        if name not in names and name not in demand.excluded:
            names.append(name)
        number += 1
    return names


def _virtual_shares(demand: Demand, machine: NodeConfig) -> list[NodeShare]:
    """Return the shares on idle nodes of the requested size."""
    least = max(demand.min_nodes, len(demand.required), 1)
    if demand.tasks_per_node and demand.ntasks_given:
        least = max(least, -(-demand.ntasks // demand.tasks_per_node))
    count = max(least, demand.max_nodes) if demand.maximize_nodes and demand.max_nodes < INFINITE else least
    names = node_names(machine.name, demand, count)
    tasks = demand.tasks_per_node or -(-demand.ntasks // least)
    # The most tasks that one node can get: each of the other nodes has at least one.
    each = tasks if demand.exclusive else max(demand.ntasks - least + 1, tasks)
    gres: dict[tuple[str, str], int] = {}
    wanted = [
        *demand.gres_node,
        *((name, kind, number * each) for name, kind, number in demand.gpus_task),
        *((name, kind, -(-number // least)) for name, kind, number in demand.gpus_total),
    ]
    for name, kind, number in wanted:
        gres[name, kind] = gres.get((name, kind), 0) + number
    gpus = sum(number for (name, _), number in gres.items() if name == GPU)
    threads = max(1, demand.threads)
    sockets = max(1, demand.sockets, -(-each // demand.tasks_per_socket) if demand.tasks_per_socket else 1)
    cpus = max(
        machine.cpus,
        each * demand.cpus_per_task,
        demand.min_cpus_node,
        gpus * demand.cpus_per_gpu,
        demand.tasks_per_socket * demand.cpus_per_task,
        sockets * max(1, demand.cores) * threads,
    )
    cores = -(-cpus // (sockets * threads))
    cpus = sockets * cores * threads
    memory = max(machine.memory_mib, demand.mem_node_mib, demand.mem_cpu_mib * cpus, demand.mem_gpu_mib * max(gpus, 1))
    like = replace(
        machine,
        cpus=cpus,
        boards=1,
        sockets=sockets,
        cores=cores,
        threads=threads,
        memory_mib=memory,
        tmp_mib=max(machine.tmp_mib, demand.tmp_mib),
        gres=tuple((name, kind, number) for (name, kind), number in gres.items()),
        features=(),
    )
    plain = replace(demand, features="", prefer="", batch_features="")
    uses = [NodeUse(replace(like, name=name)) for name in names]
    shares = place(plain, uses)
    if shares is None:  # contradictory sizes: the same shares as on nodes that an engine creates
        shares = cloud_shares(plain, 0, len(names))
        for share, name in zip(shares, names, strict=False):
            share.name = name
    return shares


def _is_gpu(key: str) -> bool:
    return key.partition(":")[0] == GPU


def _sum(shares: Iterable[NodeShare]) -> dict[str, int]:
    found = {"cpus": 0, "mem": 0, GPU: 0}
    for share in shares:
        found["cpus"] += share.cpus
        found["mem"] += share.memory_mib
        found[GPU] += sum(len(ids) for key, ids in share.gres.items() if _is_gpu(key))
    return found


def note(fits: Sequence[Fit], machine: NodeConfig, job_id: int) -> str:
    """Return the message to the submitter about virtual nodes."""
    shares = [share for fit in fits for share in fit.shares]
    absent = any(fit.gpus_absent for fit in fits)
    gpus = sum(count for name, _, count in machine.gres if name == GPU)
    has = [f"{machine.cpus} CPU{'s' * (machine.cpus != 1)}"]
    if _sum(shares)["mem"] > machine.memory_mib:
        has.append(f"{machine.memory_mib >> 10} GiB of memory")
    if absent:
        has.append(f"only {gpus} GPU{'s' * (gpus != 1)}" if gpus else "no GPU")
    listed = has[0] if len(has) == 1 else f"{', '.join(has[:-1])} and {has[-1]}"
    count = len(shares)
    nodes = "1 virtual node that shares them" if count == 1 else f"{count} virtual nodes that share them"
    without = ", without GPUs" if absent and gpus else ""
    return f"this machine has {listed}: job {job_id} runs on {nodes}{without}"
