"""The expected nodes of a job before SkyPilot has started them: resources, under placeholder names."""

from __future__ import annotations

from ..model.allocation import NodeShare
from .task import SkyTask

PLACEHOLDER = "sky"


def shares(task: SkyTask) -> list[NodeShare]:
    """One share for each node, with tasks in blocks; the ``started`` event brings names and addresses.

    CPUs that the job does not specify stay empty until then. Block layout: slurm dist_tasks.c, SLURM_DIST_BLOCK over
    nodes of one size.
    """
    size = task.geometry
    base, more = divmod(size.ntasks, size.nodes)
    kind = f"gpu:{size.gpu_type}" if size.gpu_type else "gpu"
    return [
        NodeShare(
            name=f"{PLACEHOLDER}-{rank}",
            cpu_ids=tuple(range(size.cpus or 0)),
            memory_mib=size.memory_mib or 0,
            gres={kind: tuple(range(size.gpus))} if size.gpus else {},
            tasks=base + (rank < more),
            cpus_on_node=size.cpus or 0,
        )
        for rank in range(size.nodes)
    ]
