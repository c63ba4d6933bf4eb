"""Translates a heterogeneous job to one SkyPilot task.

SkyPilot's job groups start their members one by one, and a member does not know the others' nodes. So a het job is one
task: it has the nodes of the first component, then the nodes of the second, and so on. All nodes of a task have the
same size: the most CPUs, memory and GPUs that any component needs per node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ...model.spec import JobSpec
from ...site.record import Site
from .geometry import Geometry
from .task import SkyTask, plan
from .translation_notes import NODE_CONFIG, Note, Refused

CPUS_WITH_GPU = 4  # SkyPilot's default CPUs for each GPU (sky/clouds/slurm.py, kubernetes.py)

#: fields of a task and its resources that all nodes share -> their name in messages
_SHARED = {
    "infra": "infra",
    "ordered": "infra",
    "use_spot": "spot",
    "image_id": "image",
    "instance_type": "instance type",
    "priority_class": "priority class",
    "file_mounts": "paths",
    "volumes": "volumes",
    "setup": "modules",
}


def plan_all(components: Sequence[tuple[JobSpec, str]], site: Site, **more: Any) -> SkyTask:
    """SkyPilot task of a job with components, the leader first.

    A component is (spec, partition). ``more``: further arguments of ``plan``. Raises Refused, also if the nodes of one
    task cannot fit all components.
    """
    if len(components) == 1:
        return plan(components[0][0], site, components[0][1], **more)
    alone = [plan(spec, site, partition, **more) for spec, partition in components]
    size = largest([task.geometry for task in alone])
    gpus = _gpu_name(alone)
    # Plan without GPUs, which another component may require; GPUs and the maximum sizes are added below.
    parts = [plan(spec, site, partition, size=replace(size, gpus=0), **more) for spec, partition in components]
    _must_be_alike(parts)
    leader = parts[0]
    resources: dict[str, Any] = dict(leader.fields["resources"])
    if gpus:
        resources["accelerators"] = f"{gpus}:{size.gpus}"
    for name, choose in (("disk_size", max), ("max_hourly_cost", min)):
        values = [task.fields["resources"][name] for task in parts if name in task.fields["resources"]]
        if values:
            resources[name] = choose(values)
    fields = {**leader.fields, "resources": resources, **_longest(parts)}
    notes = dict.fromkeys(note for task in alone for note in task.notes)
    note = Note("hetjob", "changed", f"all {size.nodes} nodes have the size of the largest component: {_words(size)}")
    return replace(leader, geometry=size, fields=fields, notes=(*notes, note))


def largest(sizes: Sequence[Geometry]) -> Geometry:
    """The node size that fits all components."""
    cpus = max((size.cpus for size in sizes if size.cpus is not None), default=None)
    open_with = max((size.gpus for size in sizes if size.cpus is None), default=0)
    if cpus is not None and cpus < CPUS_WITH_GPU * open_with:
        cpus = None  # the default CPUs for the GPUs are more
    return Geometry(
        nodes=sum(size.nodes for size in sizes),
        ntasks=sum(size.ntasks for size in sizes),
        cpus=cpus,
        memory_mib=max((size.memory_mib for size in sizes if size.memory_mib is not None), default=None),
        gpus=max(size.gpus for size in sizes),
        gpu_type=next((size.gpu_type for size in sizes if size.gpu_type), ""),
    )


def _words(size: Geometry) -> str:
    memory = f"{-(-size.memory_mib // 1024)} GiB" if size.memory_mib else ""
    parts = (
        f"{size.cpus} CPUs" if size.cpus else "the CPUs that come with its GPUs" if size.gpus else "",
        memory,
        f"{size.gpus} GPUs" if size.gpus else "",
    )
    return ", ".join(filter(None, parts))


def _gpu_name(alone: Sequence[SkyTask]) -> str:
    names = {str(task.fields["resources"].get("accelerators", "")).rpartition(":")[0] for task in alone} - {""}
    if len(names) > 1:
        raise Refused(
            NODE_CONFIG,
            "hetjob",
            f"the components are nodes of one SkyPilot task, which have one type of GPU, not "
            f"{' and '.join(sorted(names))}",
        )
    return "".join(names)


def _must_be_alike(parts: Sequence[SkyTask]) -> None:
    differ = [
        words for name, words in _SHARED.items() if any(_value(task, name) != _value(parts[0], name) for task in parts)
    ]
    if any(task.pool != parts[0].pool for task in parts):
        differ.append("pool")
    differ += sorted(
        {
            option
            for task in parts
            for option in {**_options(task), **_options(parts[0])}
            if option != "time" and _options(task).get(option) != _options(parts[0]).get(option)
        }
    )
    if any(_other_config(task) != _other_config(parts[0]) for task in parts):
        differ.append("config")
    if differ:
        raise Refused(
            NODE_CONFIG,
            "hetjob",
            "the components are nodes of one SkyPilot task, which have the same resources; these differ in "
            + ", ".join(dict.fromkeys(differ)),
        )


def _value(task: SkyTask, name: str) -> Any:
    return task.fields.get(name, task.fields["resources"].get(name))


def _options(task: SkyTask) -> dict[str, Any]:
    """sbatch options for a Slurm infra."""
    found: dict[str, Any] = task.fields.get("config", {}).get("slurm", {}).get("sbatch_options", {})
    return found


def _other_config(task: SkyTask) -> dict[str, Any]:
    return {name: value for name, value in task.fields.get("config", {}).items() if name != "slurm"}


def _longest(parts: Sequence[SkyTask]) -> dict[str, Any]:
    """Config with the longest time limit of all components. It applies to a Slurm infra's allocation."""
    config = parts[0].fields.get("config")
    if config is None or not _options(parts[0]):
        return {"config": config} if config else {}
    options = {name: value for name, value in _options(parts[0]).items() if name != "time"}
    times = [_options(task).get("time") for task in parts]
    if all(times):  # if a component has no limit, the allocation has none
        options["time"] = str(max(int(time) for time in times if time))
    rest = {name: value for name, value in config.items() if name != "slurm"}
    return {"config": {**rest, **({"slurm": {"sbatch_options": options}} if options else {})}}
