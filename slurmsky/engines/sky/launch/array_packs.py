"""Groups array elements into few SkyPilot requests.

Either one managed job runs many elements on its nodes, because a managed job per element would take a minute each, or
each element is a managed job, and one request launches all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from ....language import arrayspec
from ....model.allocation import Launch
from ....model.cluster import PartitionConfig
from ....model.spec import INFINITE, JobSpec
from ....site import Site
from ....translate.sky_task.task import SkyTask

MAX_ELEMENTS = 2000  # most elements of one pack: keeps its settings and its log small
NODE_CPUS = 8  # upper limit for a node of a pack, if the partition has no limit
NODE_GPUS = 8
NODES = 4  # number of managed jobs that share an array, if the partition sets none
MAX_JOBS = 500  # most jobs of one request; also, each element has its own ports up to 750 (agent/cloud/rendezvous.py)


def first_run(launch: Launch) -> bool:
    """True for an array element in its first run. Only such elements are grouped."""
    return launch.array_task_id is not None and launch.restart_count == 0


def group_equal(elements: Sequence[Launch]) -> Iterator[list[Launch]]:
    """Group elements that one task can represent.

    At most the number that one request launches, with equal descriptions: scontrol may have changed those of some
    elements.
    """
    groups: list[list[Launch]] = []
    for element in elements:
        for group in groups:
            known = group[0]
            if (known.spec, known.partition) == (element.spec, element.partition) and len(group) < MAX_JOBS:
                group.append(element)
                break
        else:
            groups.append([element])
    yield from groups


def packs(spec: JobSpec, task: SkyTask) -> bool:
    """True for an array of one-node elements at a site that packs arrays."""
    return task.arrays == "packed" and task.geometry.nodes == 1 and spec.exclusive is None


def split(
    elements: list[Launch], task: SkyTask, partition: PartitionConfig | None, site: Site
) -> Iterator[tuple[list[Launch], int]]:
    """Split a pack into managed jobs: (elements, concurrent elements). %N holds over all of them."""
    size = task.geometry
    most = partition.max_cpus_per_node if partition and partition.max_cpus_per_node != INFINITE else NODE_CPUS
    room = max(1, most // (size.cpus or 1))
    if size.gpus:
        room = max(1, min(room, NODE_GPUS // size.gpus))
    spec = arrayspec.parse(elements[0].spec.array or "", 1 << 22)
    throttle = (spec.max_running if spec else None) or len(elements)
    sky = site.sky_partition(elements[0].partition)
    wanted = min(throttle, len(elements))
    nodes = min(sky.array_nodes or NODES, -(-wanted // room))
    nodes = max(nodes, -(-len(elements) // MAX_ELEMENTS))
    for node in range(nodes):
        slots = min(room, wanted // nodes + (node < wanted % nodes))
        part = elements[node::nodes]
        if part:
            yield part, max(1, min(slots, len(part)))


def task_with_slots(task: SkyTask, slots: int) -> SkyTask:
    """Return the task of a node with slots for concurrent elements."""
    resources: dict[str, Any] = dict(task.fields["resources"])
    size = task.geometry
    if size.cpus is not None:
        resources["cpus"] = f"{size.cpus * slots}+"
    if size.memory_mib:
        resources["memory"] = f"{-(-size.memory_mib * slots // 1024)}+"
    if size.gpus:
        name = str(resources["accelerators"]).rpartition(":")[0]
        resources["accelerators"] = f"{name}:{size.gpus * slots}"
    return replace(task, fields={**task.fields, "resources": resources})
