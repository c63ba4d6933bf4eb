"""Checks at submit whether a cluster could ever run a job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...language import constraint
from ...model.cluster import NodeConfig, PartitionConfig
from ...model.spec import INFINITE
from .demand import Demand
from .job_placement import feature_choices, fits_shape, gpus_here, offer_of
from .node_use import NodeUse


@dataclass(frozen=True)
class Impossible:
    """Refusal of a job that no node could ever run. It has Slurm's detail line (may be empty) and its error text."""

    detail: str
    text: str = "Requested node configuration is not available"


def too_big(demand: Demand, partition: PartitionConfig, nodes: Sequence[NodeConfig]) -> str:
    """Return why a partition is too small for a job, or "".

    Source: job_mgr.c _part_access_check, by job_limits_check.
    """
    least = max(demand.min_nodes, partition.min_nodes)
    if least > min(partition.max_nodes, INFINITE) or demand.max_nodes < partition.min_nodes:
        return "PartitionNodeLimit"
    if demand.num_cpus > usable_cpus(partition, nodes):
        return "PartitionConfig"
    return "PartitionNodeLimit" if least > len(nodes) else ""


def usable_cpus(partition: PartitionConfig, nodes: Sequence[NodeConfig]) -> int:
    """CPUs of these nodes that one job in the partition can have."""
    return min(sum(node.cpus for node in nodes), partition.max_cpus_per_node * len(nodes))


def impossible(demand: Demand, nodes: Sequence[NodeConfig], consume_memory: bool = True) -> Impossible | None:
    """Return why even idle nodes could not run the job, or None.

    For jobs that are not ``too_big``. Source: node_scheduler.c _build_node_list and _set_err_msg: the last node's
    detail is reported.
    """
    usable = [node for node in nodes if node.name not in demand.excluded]
    checked = {node.name: _missing_property(node, demand) for node in usable}
    if checked and all(checked.values()):
        return Impossible([text for text in checked.values() if text][-1])
    refusals = [
        _impossible(demand, choice, [node for node in usable if not checked[node.name]], nodes, consume_memory)
        for choice in feature_choices(demand.features)
    ]
    return None if None in refusals else refusals[0]


def _impossible(
    demand: Demand,
    choice: constraint.Alternative,
    able: list[NodeConfig],
    nodes: Sequence[NodeConfig],
    consume_memory: bool,
) -> Impossible | None:
    fit = [node for node in able if choice.matches(node.active)]
    if choice.pick([(node.name, node.active) for node in fit]) is None:
        return Impossible("")
    names = {node.name for node in fit}
    if any(name not in names for name in demand.required):
        return Impossible("")
    idle = [NodeUse(node) for node in fit]
    most = sorted((offer.max_tasks for use in idle if (offer := offer_of(use, demand, consume_memory))), reverse=True)
    # slurmctld counts CPUs alone here: a job waits if the tasks of several CPUs do not fit the nodes.
    tasks = demand.ntasks if demand.ntasks <= sum(node.cpus // demand.cpus_per_task for node in nodes) else 0
    if len(most) < max(1, demand.min_nodes) or sum(most[: demand.max_nodes]) < tasks:
        return Impossible("")
    for name, kind, count in demand.gpus_total:
        offers = [offer for use in idle if (offer := offer_of(use, demand, consume_memory))]
        devices = sorted((gpus_here(offer, demand, name, kind) for offer in offers), reverse=True)
        if sum(devices[: demand.max_nodes]) < count:
            return Impossible("")
    return None


def _missing_property(node: NodeConfig, demand: Demand) -> str:
    """Return the node's insufficient property, in Slurm's words."""
    cpus = node.cpus
    if demand.tasks_per_core:
        cpus = max(cpus, node.sockets * node.boards * node.cores * demand.tasks_per_core * demand.cpus_per_task)
    if demand.least_cpus > cpus:
        return "CPU count per node can not be satisfied"
    if max(demand.mem_node_mib, demand.mem_cpu_mib) > node.memory_mib:
        return "Memory specification can not be satisfied"
    if demand.tmp_mib > node.tmp_mib:
        return "Temporary disk specification can not be satisfied"
    return "" if fits_shape(node, demand) else "Socket, core and/or thread specification can not be satisfied"
