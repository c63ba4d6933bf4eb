"""Allocates nodes, CPUs, memory and devices of a job to a step."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Optional, Sequence

from ...model.allocation import Launch, NodeShare
from ...model.spec import JobSpec
from ...model.step_spec import StepSpec
from ..job import task_layout
from ..job.environment import gpu_indices
from . import step_gpus, step_placement

if TYPE_CHECKING:
    from ..core.head_job import HeadJob


class StepRefused(Exception):
    """The step can never run in this job. ``notes``: lines that are printed before the refusal."""

    job_id = 0  # id of the het job's component that refused it

    def __init__(self, text: str, notes: Sequence[str] = (), plain: bool = False) -> None:
        super().__init__(text)
        self.notes = tuple(notes)
        #: srun itself detects the error: print no "Unable to create step" before the text
        self.plain = plain


class InvalidStep(Exception):
    """The step cannot be started as requested. The arguments are Slurm's lines."""


class StepBusy(Exception):
    """Other steps use the step's resources. The text is Slurm's reason."""

    job_id = 0


@dataclass
class StepShape:
    """The resources and task layout of a step."""

    shares: list[NodeShare]  # the job's shares it runs on, in step order
    cpus: list[tuple[int, ...]]  # CPUs of the step on each
    memory_mib: list[int]
    gpus: list[tuple[int, ...]]
    ranks: list[list[int]]
    distribution: str
    cpus_per_task: int
    overlap: bool = False
    plane_size: int = 0
    notes: tuple[str, ...] = ()  # warnings


@dataclass
class _HeldResources:
    """Resources of one node that running steps hold."""

    cpus: set[int] = field(default_factory=set)
    gpus: set[int] = field(default_factory=set)
    memory_mib: int = 0
    steps: int = 0


@dataclass
class _Requested:
    """The nodes that srun requests for a step."""

    allowed: list[int]  # the job's nodes that -x does not exclude, as indices
    named: list[str]  # nodes of -w; with -m arbitrary one entry for each task
    least: int
    most: int
    notes: list[str] = field(default_factory=list)


def _requested(shares: Sequence[NodeShare], step: StepSpec, arbitrary: bool) -> _Requested:
    """Parse the node options.

    Raises StepRefused if srun does. Source: srun_job.c job_step_create_allocation.
    """
    from ...language.hostlist import expand

    spec = step.job
    least = spec.nodes_min or min(spec.ntasks or len(shares), len(shares))
    requested = _Requested(list(range(len(shares))), expand(spec.nodelist) if spec.nodelist else [], least, 0)
    if least > len(shares) and "nodes_min" not in step.typed:
        requested.notes.append(
            "SLURM_JOB_NUM_NODES environment variable conflicts with allocated node count (%d != %d)."
            % (least, len(shares))
        )
        requested.least = least = len(shares)
    if step.relative is not None and step.relative + least > len(shares):
        option = "--nodes" if "nodes_min" in step.typed else "SLURM_JOB_NUM_NODES"
        _refuse(
            requested,
            "--relative and %s option incompatible with count of allocated nodes (%d+%d>%d)"
            % (option, step.relative, least, len(shares)),
        )
    requested.most = spec.nodes_max or least
    if spec.exclude:
        _exclude(shares, set(expand(spec.exclude)), requested)
    nodes = min(requested.most, len(requested.allowed))
    if arbitrary and spec.ntasks is not None and len(requested.named) != spec.ntasks:
        _refuse(
            requested, "You asked for %d tasks but hostlist specified %d nodes" % (spec.ntasks, len(requested.named))
        )
    if least > nodes:
        requested.notes.append("Only allocated %d nodes asked for %d" % (nodes, least))
        if spec.exclude:
            requested.notes.append("Are required nodes explicitly excluded?")
        _refuse(requested, requested.notes.pop())
    requested.most = min(requested.most, nodes)
    return requested


def _refuse(requested: _Requested, text: str) -> None:
    raise StepRefused(text, requested.notes, plain=True)


def _exclude(shares: Sequence[NodeShare], unwanted: set[str], requested: _Requested) -> None:
    """Apply -x: the step must have the remaining nodes."""
    for name in requested.named:
        if name in unwanted:
            requested.notes.append("Requested node %s is also in the excluded list." % name)
            _refuse(requested, "Job not submitted.")
    requested.allowed = [index for index in requested.allowed if shares[index].name not in unwanted]
    if not requested.allowed:
        _refuse(requested, "Hostlist is empty!  Can't run job.")
    others = [shares[index].name for index in requested.allowed if shares[index].name not in requested.named]
    nodes = min(requested.most, len(requested.allowed))
    requested.named += others[: max(0, nodes - len(requested.named))]


def het_launches(launch: Launch, text: Optional[str], many: bool = False) -> list[Launch]:
    """Return the components of --het-group as separate launches.

    They have the leader's job id. Without --het-group the job's own launch. Raises StepRefused.
    """
    if text is None:
        return [launch]
    groups: list[int] = []
    for item in text.replace("+", ",").split(","):
        first, _, last = item.partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()):
            raise StepRefused("Invalid --het-group specification", plain=True)
        groups += range(int(first), int(last or first) + 1)
    highest = max(len(launch.het) - 1, 0)
    if max(groups) > highest:
        text = "Requested het-group offset exceeds highest hetjob index (%d > %d)"
        if (many or len(set(groups)) > 1) and launch.het:
            text = (
                "Attempt to run a job step with het group value of %d, but the job allocation has maximum value of %d"
            )
        raise StepRefused(text % (max(groups), highest), plain=True)
    if not launch.het:
        raise StepRefused("No directives to start application on any available hetjob components", plain=True)
    return [
        dataclasses.replace(
            launch,
            name=part.name,
            account=part.account,
            partition=part.partition,
            qos=part.qos,
            spec=part.spec,
            shares=part.shares,
            ntasks=sum(share.tasks for share in part.shares),
            het_offset=group,
        )
        for group, part in ((group, launch.het[group]) for group in sorted(set(groups)))
    ]


def merge(shapes: Sequence[StepShape]) -> StepShape:
    """Merge components into one step with consecutive ranks."""
    if len(shapes) == 1:
        return shapes[0]
    ranks: list[list[int]] = []
    for shape in shapes:
        first = sum(map(len, ranks))
        ranks += [[first + rank for rank in here] for here in shape.ranks]
    return StepShape(
        [share for shape in shapes for share in shape.shares],
        [cpus for shape in shapes for cpus in shape.cpus],
        [memory for shape in shapes for memory in shape.memory_mib],
        [gpus for shape in shapes for gpus in shape.gpus],
        ranks,
        task_layout.default_distribution(sum(map(len, ranks)), len(ranks)),
        shapes[0].cpus_per_task,
        shapes[0].overlap,
    )


def allocate(job: HeadJob, step: StepSpec, launch: Optional[Launch] = None) -> StepShape:
    """Choose nodes, CPUs, memory and layout of a step.

    Raises StepRefused, StepBusy. Without --exact (which -c implies) a step has all CPUs of its nodes; without --overlap
    it does not share them with other steps. ``launch``: a component of a het job instead of the job's own. Source:
    stepmgr.c, the oracle.
    """
    spec = step.job
    launch = launch or job.launch
    if spec.resv_ports:
        raise StepRefused("Requires more ports than can be reserved")  # Slurm's message without MpiParams=ports
    shares = launch.shares
    arbitrary = (spec.distribution or "").lower().startswith("arbitrary")
    requested = _requested(shares, step, arbitrary)
    per_task = spec.cpus_per_task or 1
    exact = step.exact or step.exclusive or bool(spec.cpus_per_task or spec.cpus_per_gpu)
    # An MPI's own launcher shares the resources of other steps, because it starts the tasks.
    overlap = step.overlap or step.external
    use = _in_use(job)
    offers = [_node_offer(share, use[share.name]) for share in shares]
    if step_gpus.unknown(spec.gres, shares):
        raise StepRefused(step_placement.PlacementVerdict.BAD_GRES.value, requested.notes, plain=True)
    if step_gpus.other_type(spec, shares):
        raise StepRefused(step_placement.PlacementVerdict.BAD_GRES.value, requested.notes)
    gpus = step_gpus.demand(step, launch)
    ntasks = _task_count(step, offers, requested, gpus, overlap)
    distribution, plane_size, pack = _distribution(spec, ntasks, requested.least)
    picked = _pick(shares, offers, step, requested, gpus, ntasks, exact, overlap, pack, launch.elastic)
    free = [_free(share, use, overlap) for share in picked]
    if arbitrary:
        ranks = task_layout.arbitrary(requested.named, [share.name for share in picked])
    else:
        ranks = task_layout.lay_out(
            ntasks,
            [len(ids) for ids in free],
            per_task,
            distribution,
            plane_size=plane_size,
            per_node=spec.ntasks_per_node,
            pack=pack,
        )
    cpus: list[tuple[int, ...]] = []
    memory: list[int] = []
    devices: list[tuple[int, ...]] = []
    counts = step_gpus.counts(gpus, picked, ranks)
    if counts is None:
        raise StepRefused(step_placement.PlacementVerdict.BAD_GRES.value, requested.notes)
    for share, ids, here, count in zip(picked, free, ranks, counts):
        held = use[share.name]
        size = max(1, len(here) * per_task, count * (spec.cpus_per_gpu or 0))
        cpus.append(ids[:size] if exact else ids)
        memory.append(_memory(launch, spec, share, len(cpus[-1]), exact, overlap, held))
        devices.append(_choose_gpus(share, count, set() if overlap else held.gpus))
    return StepShape(
        picked, cpus, memory, devices, ranks, distribution, per_task, overlap, plane_size, tuple(requested.notes)
    )


def _node_offer(share: NodeShare, held: _HeldResources) -> step_placement.NodeOffer:
    gpus = gpu_indices(share.gres)
    return step_placement.NodeOffer(
        cpus=len(share.cpu_ids),
        used=len(held.cpus.intersection(share.cpu_ids)),
        idle=not held.steps,
        gpus=len(gpus),
        gpus_free=len(set(gpus) - held.gpus),
    )


def _free(share: NodeShare, use: dict[str, _HeldResources], overlap: bool) -> tuple[int, ...]:
    taken: set[int] = set() if overlap else use[share.name].cpus
    return tuple(cpu for cpu in share.cpu_ids if cpu not in taken)


def _task_count(
    step: StepSpec,
    offers: Sequence[step_placement.NodeOffer],
    requested: _Requested,
    gpus: step_gpus.GpuDemand,
    overlap: bool,
) -> int:
    """Number of tasks of a step.

    The requested number, else by tasks per GPU or node; with -c only, the number that the CPUs allow; else one per
    node.
    """
    spec = step.job
    if spec.ntasks is not None:
        return spec.ntasks
    if spec.ntasks_per_gpu:
        all_gpus = sum(offers[index].gpus for index in requested.allowed)
        return max(1, (gpus.total(max(1, requested.most), 0) or all_gpus) * spec.ntasks_per_gpu)
    if not spec.cpus_per_task or spec.ntasks_per_node:
        return max(1, requested.most) * (spec.ntasks_per_node or 1)
    sizes = [offers[index].cpus for index in requested.allowed if overlap or offers[index].idle]
    if len(sizes) < requested.least:
        raise StepBusy(step_placement.PlacementVerdict.BUSY.value)
    return sum(size // spec.cpus_per_task for size in sorted(sizes, reverse=True)[: requested.most])


def _cpus_requested(spec: JobSpec, gpus: step_gpus.GpuDemand, nodes: int, ntasks: int) -> int:
    by_gpus = gpus.total(nodes, ntasks) * (spec.cpus_per_gpu or 0)
    return by_gpus or ntasks * (spec.cpus_per_task or 1)


def _pick(
    shares: Sequence[NodeShare],
    offers: Sequence[step_placement.NodeOffer],
    step: StepSpec,
    requested: _Requested,
    gpus: step_gpus.GpuDemand,
    ntasks: int,
    exact: bool,
    overlap: bool,
    pack: bool,
    elastic: bool,
) -> list[NodeShare]:
    spec = step.job
    cpus = 0 if spec.overcommit else _cpus_requested(spec, gpus, requested.least, ntasks)
    if elastic and cpus > sum(offers[index].cpus for index in requested.allowed):
        cpus = 0  # steps share the real CPUs, as with --overcommit
    places = {share.name: index for index, share in enumerate(shares)}
    if not places.keys() >= set(requested.named):
        raise StepRefused(step_placement.PlacementVerdict.UNAVAILABLE.value, requested.notes)
    demand = step_placement.StepDemand(
        least=requested.least,
        most=requested.most,
        cpus=cpus,
        whole=not exact,
        overlap=overlap,
        named=frozenset(places[name] for name in requested.named),
        arbitrary=(spec.distribution or "").lower().startswith("arbitrary"),
        relative=step.relative or 0,
        pack=pack,
        gpus_here=gpus.least_here(requested.most),
        gpus_in_all=gpus.in_all,
    )
    found = step_placement.pick(offers, requested.allowed, demand)
    if found is step_placement.PlacementVerdict.BUSY:
        raise StepBusy(found.value)
    if isinstance(found, step_placement.PlacementVerdict):
        raise StepRefused(found.value, requested.notes)
    if not ntasks:
        raise StepRefused(step_placement.PlacementVerdict.TOO_MANY.value, requested.notes)
    return [shares[index] for index in found]


def _memory(
    launch: Launch, spec: JobSpec, share: NodeShare, cpus: int, exact: bool, overlap: bool, held: _HeldResources
) -> int:
    """Memory of a step on one node in MiB; 0: no own limit."""
    amount = spec.mem_mib or (spec.mem_per_cpu_mib or 0) * cpus
    if not amount and exact:
        amount = (launch.spec.mem_per_cpu_mib or 0) * cpus
    if share.memory_mib and amount > share.memory_mib:
        raise StepRefused(step_placement.PlacementVerdict.TOO_MUCH_MEMORY.value)
    if share.memory_mib and not overlap and amount and held.memory_mib + amount > share.memory_mib:
        raise StepBusy(step_placement.PlacementVerdict.BUSY.value)
    return amount


def _choose_gpus(share: NodeShare, count: int, taken: set[int]) -> tuple[int, ...]:
    have = gpu_indices(share.gres)
    if count > len(have):
        raise StepRefused("Insufficient GRES available in allocation")
    free = tuple(index for index in have if index not in taken)
    if count > len(free):
        raise StepBusy(step_placement.PlacementVerdict.BUSY.value)
    return free[:count]


def _distribution(spec: JobSpec, ntasks: int, nodes: int) -> tuple[str, int, bool]:
    text = (spec.distribution or "").lower()
    base, _, option = text.partition(",")
    word, _, size = base.partition(":")[0].partition("=")
    if word == "plane":
        return "plane", int(size or 1), False
    if word in ("block", "cyclic", "arbitrary"):
        return word, 0, option == "pack"
    return task_layout.default_distribution(ntasks, nodes), 0, option == "pack"


def _in_use(job: HeadJob) -> dict[str, _HeldResources]:
    use = {share.name: _HeldResources() for share in (*job.launch.shares, *job.launch.every_share)}
    for run in job.steps.values():
        for share in run.shape.shares:
            use[share.name].steps += not run.spec.external
        if run.shape.overlap:
            continue
        for share, cpus, memory, gpus in zip(run.shape.shares, run.shape.cpus, run.shape.memory_mib, run.shape.gpus):
            held = use[share.name]
            held.cpus.update(cpus)
            held.memory_mib += memory
            held.gpus.update(gpus)
    return use
