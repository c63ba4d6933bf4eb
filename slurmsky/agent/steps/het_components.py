"""Allocates resources to the components of an srun (A : B)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Sequence

from ...model.allocation import Launch
from ...model.step_spec import StepSpec
from . import step_allocation

if TYPE_CHECKING:
    from ..core.head_job import HeadJob

#: options that srun's environment sets for the leader only
_PER_COMPONENT = (
    "cpus_per_task",
    "ntasks_per_node",
    "mem_mib",
    "mem_per_cpu_mib",
    "mem_per_gpu_mib",
    "gpus_per_task",
    "cpus_per_gpu",
)


@dataclass
class ChosenComponents:
    """Resources of a step, and its owners in the job."""

    shape: step_allocation.StepShape
    programs: list[tuple[StepSpec, int]]  # each component and its number of tasks
    shown: Launch  # the job in the tasks' environment
    owners: list[tuple[int, int]]  # (job id, nodes) by component of a het job, in step order; else one entry


def allocate(job: HeadJob, components: Sequence[StepSpec]) -> ChosenComponents:
    """Choose nodes, CPUs and tasks of every component. Raises StepRefused, StepBusy."""
    many = len(components) > 1
    shapes: list[step_allocation.StepShape] = []
    programs: list[tuple[StepSpec, int]] = []
    owners: list[tuple[int, int]] = []
    apart = many and not job.launch.het
    wanted: list[tuple[StepSpec, Launch]] = []
    for index, step in enumerate(components):
        # Without --het-group the n-th component of the command line runs on the job's n-th component.
        text = step.het_group or (str(index) if many else None)
        parts = [job.launch] if apart else step_allocation.het_launches(job.launch, text, many)
        wanted += ((step, part) for part in parts)
    wanted.sort(key=lambda pair: pair[1].het_offset)  # ranks follow the het groups, not the order on the command line
    launches = [job.launch] if apart else [part for _, part in wanted]
    for step, part in wanted:
        owner = part.het[part.het_offset].job_id if part.het else job.job_id
        if part.het and part.het_offset in job.ended_components:
            ended = step_allocation.StepRefused("Job/step already completing or completed")
            ended.job_id = owner
            raise ended
        if apart:
            part = _without_used_nodes(job.launch, step, shapes)
        try:
            shapes.append(step_allocation.allocate(job, _own(job, step, part), part))
        except (step_allocation.StepRefused, step_allocation.StepBusy) as refusal:
            refusal.job_id = owner
            raise
        programs.append((step, sum(map(len, shapes[-1].ranks))))
        owners.append((owner, len(shapes[-1].shares)))
    shown = launches[-1]
    if len(launches) > 1:
        shown = dataclasses.replace(shown, shares=[share for part in launches for share in part.shares])
    if not job.launch.het:
        owners = [(job.job_id, sum(nodes for _, nodes in owners))]
    return ChosenComponents(step_allocation.merge(shapes), programs, shown, owners)


def _without_used_nodes(launch: Launch, step: StepSpec, before: list[step_allocation.StepShape]) -> Launch:
    """Return a plain job without the nodes of earlier components."""
    taken = {share.name for shape in before for share in shape.shares}
    left = [share for share in launch.shares if share.name not in taken]
    wanted = (step.job.nodes_min if {"nodes", "nodes_min"} & set(step.typed) else None) or 1
    if wanted > len(left):
        raise step_allocation.StepRefused(
            "Allocation failure of %d nodes: job size of %d, already allocated %d nodes to previous components."
            % (wanted, len(launch.shares), len(taken)),
            plain=True,
        )
    if step.job.nodelist and taken:
        from ...language.hostlist import compress, expand

        if taken.intersection(expand(step.job.nodelist)):
            overlap = "Requested nodelist %s overlaps with excluded %s." % (step.job.nodelist, compress(taken))
            raise step_allocation.StepRefused("Job not submitted.", (overlap,), plain=True)
    return dataclasses.replace(launch, shares=left)


def _own(job: HeadJob, step: StepSpec, launch: Launch) -> StepSpec:
    """Return the step's options for one component. Sizes from srun's environment apply to the leader only."""
    if launch is job.launch and not launch.het:
        return step
    typed, spec = step.typed, step.job
    if launch.job_id == job.job_id and not job.launch.het:
        # On a plain job a component gets one node unless it requests more.
        if "nodes_min" not in typed and "nodes" not in typed:
            spec = spec.evolve(nodes_min=1, nodes_max=1)
        if "ntasks" not in typed:
            spec = spec.evolve(ntasks=None)
        return dataclasses.replace(step, job=spec)
    if "nodes" not in typed and "nodes_min" not in typed:
        spec = spec.evolve(nodes_min=None, nodes_max=None)
    if "ntasks" not in typed:
        spec = spec.evolve(ntasks=launch.ntasks)
    own = {name: getattr(launch.spec, name) for name in _PER_COMPONENT if name not in typed}
    return dataclasses.replace(step, job=spec.evolve(**own))
