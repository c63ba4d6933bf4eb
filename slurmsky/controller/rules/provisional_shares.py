"""Provisional shares of a job whose nodes do not exist yet."""

from __future__ import annotations

from ...model.allocation import NodeShare
from ...model.cluster import PartitionConfig
from ...model.spec import JobSpec
from ...translate.sky_task.geometry import geometry
from ...translate.sky_task.translation_notes import Refused
from .demand import Demand


def ordered_shares(demand: Demand, spec: JobSpec, partition: PartitionConfig | None, job_id: int) -> list[NodeShare]:
    """Return ``cloud_shares`` for the number of nodes in SkyPilot's request.

    The number depends on the sizes that SkyPilot offers.
    """
    try:
        return cloud_shares(demand, job_id, geometry(spec, partition).nodes)
    except Refused:  # the request was changed after its validation; the launch will report the error
        return cloud_shares(demand, job_id)


def cloud_shares(demand: Demand, job_id: int, nodes: int = 0) -> list[NodeShare]:
    """Shares on nodes that do not exist yet: number and size.

    The engine adds names and addresses. ``nodes``: 0: the fewest that the job's request allows.
    """
    if not nodes:
        nodes = demand.min_nodes
        if demand.tasks_per_node and demand.ntasks_given:
            nodes = max(nodes, -(-demand.ntasks // demand.tasks_per_node))
    shares = []
    for index in range(nodes):
        tasks = demand.ntasks // nodes + (index < demand.ntasks % nodes)
        cpus = max(tasks * demand.cpus_per_task, demand.min_cpus_node, 1)
        gres: dict[str, tuple[int, ...]] = {}
        wanted = [
            *demand.gres_node,
            *((name, kind, count * tasks) for name, kind, count in demand.gpus_task),
            *((name, kind, -(-count // nodes)) for name, kind, count in demand.gpus_total),
        ]
        for name, kind, count in wanted:
            key = f"{name}:{kind}" if kind else name
            have = gres.get(key, ())
            gres[key] = (*have, *range(len(have), len(have) + count))
        shares.append(
            NodeShare(
                f"sky-{job_id}-{index}",
                cpu_ids=tuple(range(cpus)),
                memory_mib=max(demand.mem_node_mib, demand.mem_cpu_mib * cpus, 0),
                gres=gres,
                tasks=tasks,
                cpus_on_node=cpus,
            )
        )
    return shares
