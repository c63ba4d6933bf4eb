"""Computes a job's size: nodes, tasks, and each node's resources.

Slurm places tasks on existing nodes; SkyPilot creates nodes of the requested size. So a job that does not specify
nodes gets one node for all its tasks, unless the partition's limits (max_cpus_per_node) or the number of GPUs (at most
eight per node) require more.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...language import hostlist
from ...language.syntax_errors import GresError
from ...model.cluster import PartitionConfig
from ...model.spec import INFINITE, JobSpec
from ...options import device_counts
from .translation_notes import GRES, NODE_CONFIG, NODE_COUNT, Refused

GPUS_PER_NODE = 8  # maximum of most clouds' nodes
MOST_CPUS = 192  # maximum of most clouds' nodes
MOST_GPUS = 16  # maximum of any node (A100:16 in SkyPilot's catalogs)


@dataclass(frozen=True)
class Geometry:
    """Size of a job. ``cpus`` and ``memory_mib`` are per node, and None if the job does not specify them."""

    nodes: int
    ntasks: int
    cpus: int | None
    memory_mib: int | None
    gpus: int  # GPUs per node
    gpu_type: str  # Slurm's type of the GPUs, "" if untyped
    other_gres: tuple[str, ...] = ()

    @property
    def tasks_per_node(self) -> int:
        """The largest number of tasks on one node."""
        return -(-self.ntasks // self.nodes)


def gres_items(text: str | None) -> list[tuple[str, str, int]]:
    """Parse ``[gres/]name[[:type]:count]`` or ``name=count`` items.

    Returns (name, type, count). Counts may end in k, m, g (1024s).

    Source: slurm gres.c, _get_gres_cnt.
    """
    found = []
    for word in (text or "").split(","):
        word = word.strip().removeprefix("gres/").removeprefix("gres:")
        if not word or word.lower() == "none":
            continue
        name, *rest = word.replace("=", ":").split(":")
        count = 1
        if rest and rest[-1][:1].isdecimal():
            digits = rest.pop().lower()
            scale = {"k": 1024, "m": 1024**2, "g": 1024**3}.get(digits[-1], 1)
            try:
                count = int(digits if scale == 1 else digits[:-1]) * scale
            except ValueError:
                raise Refused(GRES, "gres", f"{word} is not a count") from None
        found.append((name, rest[0] if rest else "", count))
    return found


def typed_count(text: str | None, option: str) -> tuple[str, int]:
    """Parse ``[type:]count`` of --gpus options to (type, count). Several types cannot share a SkyPilot node."""
    kinds = [
        (kind if kind else name, kind, count)
        for name, kind, count in gres_items(
            ",".join(word if ":" in word or "=" in word else f"gpu:{word}" for word in (text or "").split(",") if word)
        )
    ]
    if len(kinds) > 1:
        raise Refused(NODE_CONFIG, option, "nodes with GPUs of several types do not exist on SkyPilot")
    if not kinds:
        return "", 0
    name, _, count = kinds[0]
    return ("" if name == "gpu" else name), count


def geometry(spec: JobSpec, partition: PartitionConfig | None = None) -> Geometry:
    """Compute the size of a job. Raises Refused if no number of nodes can hold it."""
    gpus = _Gpus.of(spec)
    try:
        numbers = device_counts.resolved(spec).numbers
    except GresError as fault:
        raise Refused(GRES, "gres", f"{fault.text} is not a count of devices") from None
    cpt = spec.cpus_per_task or 1
    nodes = numbers.least or 0
    if not nodes and spec.nodelist:
        nodes = len(set(hostlist.expand(spec.nodelist)))
    tpn = numbers.tasks_per_node or 0
    ntasks = numbers.tasks or 0
    if not nodes:
        nodes = _open_nodes(spec, partition, gpus, ntasks, tpn, cpt)
    if nodes > (partition.max_nodes if partition else INFINITE):
        raise Refused(NODE_COUNT, "nodes", f"partition {partition.name if partition else ''} allows fewer nodes")
    if not ntasks:
        ntasks = nodes * (tpn or 1)
    if ntasks < nodes and spec.ntasks:
        nodes = ntasks  # slurm: at most one node per task (sbatch reduces -N)
    tasks_on_node = max(tpn, -(-ntasks // nodes))  # as in Slurm, even with fewer tasks
    on_node = gpus.per_node(nodes, tasks_on_node, spec)
    if on_node > MOST_GPUS:
        raise Refused(NODE_CONFIG, "gpus-per-node", f"no cloud has nodes with {on_node} GPUs")
    cpus: int | None = tasks_on_node * cpt
    states_cpus = any(
        value is not None
        for value in (
            spec.cpus_per_task,
            spec.ntasks,
            spec.ntasks_per_node,
            spec.mincpus,
            spec.cpus_per_gpu,
            spec.mem_per_cpu_mib,
        )
    )
    cpus = max(cpus or 1, spec.mincpus or 0, (spec.cpus_per_gpu or 0) * on_node, _sockets(spec))
    if spec.threads_per_core is not None and spec.cores_per_socket is not None:
        cpus = max(cpus, spec.cores_per_socket * (spec.sockets_per_node or 1) * spec.threads_per_core)
    if spec.overcommit and spec.cpus_per_task is None:
        cpus = max(1, spec.mincpus or 0)
    if on_node and not states_cpus:
        cpus = None  # SkyPilot's default CPUs for these GPUs
    return Geometry(
        nodes=nodes,
        ntasks=ntasks,
        cpus=cpus,
        memory_mib=_memory(spec, partition, cpus or 1, on_node),
        gpus=on_node,
        gpu_type=gpus.kind,
        other_gres=tuple(sorted({name for name, _, _ in gres_items(spec.gres) if name != "gpu"})),
    )


def _open_nodes(spec: JobSpec, partition: PartitionConfig | None, gpus: _Gpus, ntasks: int, tpn: int, cpt: int) -> int:
    """Number of nodes for a job without -N."""
    if ntasks and tpn:
        return -(-ntasks // tpn)
    if gpus.each_node:
        return max(1, -(-gpus.total // gpus.each_node)) if gpus.total else 1
    if gpus.total > GPUS_PER_NODE:
        return -(-gpus.total // GPUS_PER_NODE)
    if gpus.each_task and ntasks * gpus.each_task > GPUS_PER_NODE:
        return -(-ntasks // max(1, GPUS_PER_NODE // gpus.each_task))
    limit = partition.max_cpus_per_node if partition else INFINITE
    most = MOST_CPUS if limit == INFINITE else limit
    if ntasks and ntasks * cpt > most:
        if cpt > limit != INFINITE:
            raise Refused(NODE_CONFIG, "cpus-per-task", f"a node of this partition has at most {most} CPUs")
        return -(-ntasks // max(1, most // cpt))
    return 1


def _sockets(spec: JobSpec) -> int:
    return (spec.sockets_per_node or 0) * (spec.cores_per_socket or 1)


def _memory(spec: JobSpec, partition: PartitionConfig | None, cpus: int, gpus: int) -> int | None:
    """Memory per node in MiB; None for the node's whole memory."""
    if spec.mem_mib is not None:
        return spec.mem_mib or None  # --mem=0: all of the node's memory
    if spec.mem_per_cpu_mib is not None:
        return spec.mem_per_cpu_mib * cpus or None
    if spec.mem_per_gpu_mib is not None:
        return spec.mem_per_gpu_mib * gpus or None
    if partition and partition.def_mem_per_node_mib:
        return partition.def_mem_per_node_mib
    if partition and partition.def_mem_per_cpu_mib:
        return partition.def_mem_per_cpu_mib * cpus
    return None


@dataclass(frozen=True)
class _Gpus:
    """A job's GPU options, in all their spellings."""

    kind: str = ""
    total: int = 0
    each_node: int = 0
    each_task: int = 0
    each_socket: int = 0

    @classmethod
    def of(cls, spec: JobSpec) -> _Gpus:
        kinds, counts = [], {}
        for field in ("gpus", "gpus_per_node", "gpus_per_task", "gpus_per_socket"):
            kind, count = typed_count(getattr(spec, field), field.replace("_", "-"))
            kinds.append(kind)
            counts[field] = count
        of_gres = [(kind, count) for name, kind, count in gres_items(spec.gres) if name == "gpu"]
        kinds += [kind for kind, _ in of_gres]
        counts["gpus_per_node"] = max(counts["gpus_per_node"], sum(count for _, count in of_gres))
        named = {kind for kind in kinds if kind}
        if len(named) > 1:
            raise Refused(
                NODE_CONFIG,
                "gres",
                f"a SkyPilot node has GPUs of one type, not {' and '.join(sorted(named))}",
            )
        return cls(
            "".join(named),
            counts["gpus"],
            counts["gpus_per_node"],
            counts["gpus_per_task"],
            counts["gpus_per_socket"],
        )

    def per_node(self, nodes: int, tasks_on_node: int, spec: JobSpec) -> int:
        """GPUs that every node needs."""
        if self.each_node:
            return self.each_node
        if self.total:
            if self.total < nodes:
                raise Refused(NODE_CONFIG, "gpus", f"{self.total} GPUs do not reach {nodes} nodes")
            return -(-self.total // nodes)  # nodes have equal sizes: a remainder is rounded up
        if self.each_task:
            return self.each_task * tasks_on_node
        return self.each_socket * (spec.sockets_per_node or 1)
