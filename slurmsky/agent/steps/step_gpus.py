"""GPUs that a step requests.

Pure functions. A step that names no GPUs requests those of its job, and holds them: another step that requests them
waits. Source: stepmgr.c _copy_job_tres_to_step, gres_stepmgr.c, observed on the oracle.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional, Sequence

from ...model.allocation import Launch, NodeShare
from ...model.spec import JobSpec
from ...model.step_spec import StepSpec
from ..job.environment import gpu_indices


@dataclass(frozen=True)
class GpuDemand:
    """Requested GPUs of a step. The first non-zero count decides the total; every count is a minimum for nodes."""

    on_node: int = 0
    of_task: int = 0
    tasks_of_one: int = 0  # --ntasks-per-gpu
    in_all: int = 0
    all_here: bool = False  # all GPUs of the job on each node

    def least_here(self, most_nodes: int) -> int:
        """Fewest GPUs on each node. All of the step's GPUs if it can have only one node."""
        alone = self.in_all if most_nodes == 1 else 0
        any_one = bool(self.tasks_of_one or self.in_all or self.all_here)
        return max(self.on_node, self.of_task, alone, int(any_one))

    def total(self, nodes: int, tasks: int) -> int:
        """Total of GPUs on ``nodes`` nodes with ``tasks`` tasks."""
        return max(self.on_node * nodes, self.of_task * tasks, self.in_all)


def number(text: Optional[str]) -> Optional[int]:
    """Number of devices in "2", "h100:2" or "gres/gpu:h100=2".

    >>> number("h100:2,a100:1"), number("gres/gpu=4"), number("gpu")
    (3, 4, 1)
    """
    if not text:
        return None
    total = 0
    for part in text.split(","):
        words = part.replace("=", ":").split(":")
        if words and words[0] in ("gres/gpu", "gpu"):
            words = words[1:] or ["1"]
        total += int(words[-1]) if words[-1].isdecimal() else 1
    return total


def demand(step: StepSpec, launch: Launch) -> GpuDemand:
    """Return the step's GPU request, else its job's. Steps do not get GPUs added by --exclusive by default."""
    spec = step.job
    if (spec.gres or "").lower() == "none":
        return GpuDemand()
    per_node = None if "gpus" in step.typed and "gpus_per_node" not in step.typed else spec.gpus_per_node
    on_node = _of_gres(spec.gres) if spec.gres else number(per_node)
    by_tasks = spec.ntasks_per_gpu if "ntasks_per_gpu" in step.typed else None
    own = (on_node, number(spec.gpus_per_task), by_tasks, number(spec.gpus))
    if any(count is not None for count in own):
        on_node, of_task, by_tasks, in_all = (count or 0 for count in own)
        return GpuDemand(on_node, of_task, by_tasks, in_all)
    found = _of_job(launch.spec)
    if spec.ntasks_per_gpu and found == GpuDemand():
        return GpuDemand(tasks_of_one=spec.ntasks_per_gpu)
    # A request per GPU implies at least one GPU.
    wants_one = found == GpuDemand() and bool({"cpus_per_gpu", "mem_per_gpu_mib"} & set(step.typed))
    return GpuDemand(all_here=True) if wants_one else found


def unknown(text: Optional[str], shares: Sequence[NodeShare]) -> bool:
    """True if --gres names a resource that the job lacks."""
    names = {re.split("[:=]", part)[0].replace("gres/", "") for part in _counted(text)}
    return not names <= {"none", "NONE", "gpu", *(name.split(":")[0] for share in shares for name in share.gres)}


def _counted(text: Optional[str]) -> list[str]:
    """Items of a device list with a count other than 0."""
    return [part for part in (text or "").split(",") if part and not re.search(r"[:=]0+$", part)]


def other_type(spec: JobSpec, shares: Sequence[NodeShare]) -> bool:
    """True if a step requests a type of device that its job lacks."""
    texts = (spec.gpus, spec.gpus_per_node, spec.gpus_per_task)
    words = [word for text in texts for part in _counted(text) for word in re.split("[:=]", part)]
    words += [word for part in _counted(spec.gres) for word in re.split("[:=]", part)[1:]]  # the first one is a name
    types = {word for word in words if word not in ("gpu", "gres/gpu") and not word.isdecimal()}
    return not types <= {name.partition(":")[2] for share in shares for name in share.gres}


def _of_gres(text: Optional[str]) -> Optional[int]:
    gpus = [part for part in (text or "").split(",") if part.split(":")[0].split("=")[0] in ("gpu", "gres/gpu")]
    return number(",".join(gpus))


def _of_job(spec: JobSpec) -> GpuDemand:
    on_node = _of_gres(spec.gres) or number(spec.gpus_per_node) or 0
    others = spec.gpus_per_socket or "gpu" in (spec.tres_per_task or "")
    return GpuDemand(on_node, number(spec.gpus_per_task) or 0, 0, number(spec.gpus) or 0, bool(others))


def counts(gpus: GpuDemand, shares: Sequence[NodeShare], ranks: Sequence[Sequence[int]]) -> Optional[list[int]]:
    """Return the GPUs on each node of the step; None: too few.

    GPUs of --gpus are taken from the first nodes, but each node gets at least one.
    """
    have = [len(gpu_indices(share.gres)) for share in shares]
    if gpus.all_here:
        return have
    if gpus.tasks_of_one:
        return [-(-len(here) // gpus.tasks_of_one) for here in ranks]
    if gpus.on_node or gpus.of_task or not gpus.in_all:
        return [gpus.on_node or gpus.of_task * len(here) for here in ranks]
    found: list[int] = []
    for left, there in zip(range(len(shares) - 1, -1, -1), have):
        found.append(min(there, gpus.in_all - sum(found) - left))
    return found if sum(found) == gpus.in_all and min(found) > 0 else None
