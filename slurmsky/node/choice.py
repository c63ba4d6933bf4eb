"""Which nodes, CPUs, memory and devices of its job a step gets."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Optional, Sequence

from ..model.allocation import Launch, NodeShare
from ..model.spec import JobSpec, StepSpec
from . import layout

if TYPE_CHECKING:
    from .jobs import Job

_NOT_AVAILABLE = "Requested node configuration is not available"
_BUSY = "Requested nodes are busy"
_BAD_GRES = "Invalid generic resource (gres) specification"


class StepRefused(Exception):
    """The step can never run in this job. ``notes`` are lines that come before the refusal itself."""

    def __init__(self, text: str, notes: Sequence[str] = (), plain: bool = False) -> None:
        super().__init__(text)
        self.notes = tuple(notes)
        #: srun finds it itself: no "Unable to create step" before the text
        self.plain = plain


class BadRequest(Exception):
    """The step cannot be started as it was asked for; the arguments are Slurm's lines."""


class StepBusy(Exception):
    """Its resources are in use by other steps; the text is Slurm's reason."""


@dataclass
class Shape:
    """What a step gets."""

    shares: list[NodeShare]  # the job's shares it runs on, in step order
    cpus: list[tuple[int, ...]]  # CPUs of the step on each
    memory_mib: list[int]
    gpus: list[tuple[int, ...]]
    ranks: list[list[int]]
    distribution: str
    cpus_per_task: int
    overlap: bool = False
    plane_size: int = 0


@dataclass
class _Use:
    """What running steps hold on one node."""

    cpus: set[int] = field(default_factory=set)
    gpus: set[int] = field(default_factory=set)
    memory_mib: int = 0


def task_count(spec: JobSpec, job_nodes: int) -> int:
    """Tasks of a step: as asked, else so many per node, else one per node."""
    if spec.ntasks is not None:
        return spec.ntasks
    return (spec.nodes_min or job_nodes) * (spec.ntasks_per_node or 1)


def candidates(shares: list[NodeShare], step: StepSpec) -> tuple[list[NodeShare], set[str]]:
    """The job's nodes that -x and -r leave, in order, and the names of those that -w wants. Raises
    StepRefused."""
    from ..language.hostlist import expand

    spec = step.job
    wanted: set[str] = set()
    if spec.nodelist and "nodelist" in step.typed:
        wanted = set(expand(spec.nodelist))
        if not wanted <= {share.name for share in shares}:
            raise StepRefused(_NOT_AVAILABLE)
    if step.relative is not None:
        least = spec.nodes_min or 1
        if step.relative + least > len(shares):
            raise StepRefused(
                "--relative and --nodes option incompatible with count of allocated nodes (%d+%d>%d)"
                % (step.relative, least, len(shares)),
                plain=True,
            )
        shares = shares[step.relative :]
    if spec.exclude:
        unwanted = set(expand(spec.exclude))
        shares = [share for share in shares if share.name not in unwanted]
    if not shares:
        raise StepRefused(_NOT_AVAILABLE)
    return shares, wanted


def pick_nodes(
    room: Sequence[int], required: Sequence[bool], least: int, most: int, ntasks: int
) -> Optional[list[int]]:
    """Indices of the nodes for a step, in order; None when there is not room for it now.

    ``room``: tasks that each node can take. The first nodes are taken, unless only others can hold the tasks.

    >>> pick_nodes([3, 1], [False, False], 1, 1, 3), pick_nodes([1, 3], [False, False], 1, 1, 3)
    ([0], [1])
    """
    usable = [index for index, size in enumerate(room) if size > 0]
    must = [index for index in usable if required[index]]
    if len(must) < sum(required):
        return None
    others = [index for index in usable if not required[index]]
    for order in (others, sorted(others, key=lambda index: -room[index])):
        chosen = list(must)
        for index in order:
            if len(chosen) >= most or (len(chosen) >= least and sum(room[i] for i in chosen) >= ntasks):
                break
            chosen.append(index)
        if len(chosen) >= least and sum(room[i] for i in chosen) >= ntasks:
            return sorted(chosen)
    return None


def het_launches(launch: Launch, text: Optional[str]) -> list[Launch]:
    """The components that --het-group names, each as a launch of its own under the leader's number.

    Without --het-group the job's own. Raises StepRefused.
    """
    if text is None:
        return [launch]
    groups: list[int] = []
    for item in text.replace("+", ",").split(","):
        first, _, last = item.partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            raise StepRefused("Invalid --het-group specification", plain=True)
        groups += range(int(first), int(last or first) + 1)
    highest = max(len(launch.het) - 1, 0)
    if max(groups) > highest:
        raise StepRefused(
            "Requested het-group offset exceeds highest hetjob index (%d > %d)" % (max(groups), highest),
            plain=True,
        )
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


def merge(shapes: Sequence[Shape]) -> Shape:
    """One step over several components: ranks count on from one to the next."""
    if len(shapes) == 1:
        return shapes[0]
    ranks: list[list[int]] = []
    for shape in shapes:
        first = sum(map(len, ranks))
        ranks += [[first + rank for rank in here] for here in shape.ranks]
    return Shape(
        [share for shape in shapes for share in shape.shares],
        [cpus for shape in shapes for cpus in shape.cpus],
        [memory for shape in shapes for memory in shape.memory_mib],
        [gpus for shape in shapes for gpus in shape.gpus],
        ranks,
        layout.default_distribution(sum(map(len, ranks)), len(ranks)),
        shapes[0].cpus_per_task,
        shapes[0].overlap,
    )


def choose(job: Job, step: StepSpec, launch: Optional[Launch] = None) -> Shape:
    """Nodes, CPUs, memory and layout for a step. Raises StepRefused, StepBusy.

    Without --exact (which -c implies) a step has all CPUs of its nodes; without --overlap it does not share
    them with other steps. ``launch``: a component of a het job instead of the job's own.
    Source: step_mgr.c _pick_step_nodes, the oracle.
    """
    spec = step.job
    launch = launch or job.launch
    if spec.resv_ports:
        raise StepRefused("Requires more ports than can be reserved")  # as without MpiParams=ports
    all_shares = launch.shares
    if (spec.nodes_min or 0) > len(all_shares):
        raise StepRefused(
            "Only allocated %d nodes asked for %d" % (len(all_shares), spec.nodes_min or 0), plain=True
        )
    shares, wanted = candidates(all_shares, step)
    ntasks = task_count(spec, len(all_shares))
    per_task = spec.cpus_per_task or 1
    exact = step.exact or step.exclusive or bool(spec.cpus_per_task)
    # An MPI's own launcher, which starts the tasks, stands beside the steps.
    overlap = step.overlap or step.external
    use = _in_use(job)
    hosts = _arbitrary(spec)
    if hosts:
        picked = [share for share in all_shares if share.name in hosts]
    else:
        picked = _pick(shares, wanted, step, ntasks, per_task, exact, overlap, use)
    free = [_free(share, use, overlap) for share in picked]
    distribution, plane_size, pack = _distribution(spec, ntasks, len(picked))
    if hosts:
        ranks = layout.arbitrary(hosts, [share.name for share in picked])
    else:
        ranks = layout.lay_out(
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
    gpus: list[tuple[int, ...]] = []
    counts = _gpu_counts(step, launch, picked, ranks)
    for share, ids, here, count in zip(picked, free, ranks, counts):
        held = use[share.name]
        cpus.append(ids[: max(1, len(here) * per_task)] if exact else ids)
        memory.append(_memory(launch, spec, share, len(cpus[-1]), exact, overlap, held))
        gpus.append(_choose_gpus(spec, share, count, held.gpus, overlap or not _names_gpus(step)))
    return Shape(picked, cpus, memory, gpus, ranks, distribution, per_task, overlap, plane_size)


def _free(share: NodeShare, use: dict[str, _Use], overlap: bool) -> tuple[int, ...]:
    taken: set[int] = set() if overlap else use[share.name].cpus
    return tuple(cpu for cpu in share.cpu_ids if cpu not in taken)


def _pick(
    shares: list[NodeShare],
    wanted: set[str],
    step: StepSpec,
    ntasks: int,
    per_task: int,
    exact: bool,
    overlap: bool,
    use: dict[str, _Use],
) -> list[NodeShare]:
    spec = step.job
    least = min(spec.nodes_min or len(shares), ntasks, len(shares))
    most = min(max(spec.nodes_max or least, len(wanted)), len(shares))
    largest = sorted((len(share.cpu_ids) for share in shares), reverse=True)[:most]
    if not spec.overcommit and sum(largest) < ntasks * per_task:
        raise StepRefused("More processors requested than permitted")
    room = []
    for share in shares:
        free = len(_free(share, use, overlap))
        size = free // per_task
        if free == len(share.cpu_ids):
            size = max(1, size)  # a whole node takes a task, however many CPUs that asks for
        elif not exact:
            size = 0  # it would take the whole node
        room.append(ntasks if spec.overcommit and size else size)
    chosen = pick_nodes(room, [share.name in wanted for share in shares], least, most, ntasks)
    if chosen is None:
        raise StepBusy(_BUSY)
    return [shares[index] for index in chosen]


def _memory(
    launch: Launch, spec: JobSpec, share: NodeShare, cpus: int, exact: bool, overlap: bool, held: _Use
) -> int:
    """MiB of a step on one node; 0: no limit of its own."""
    amount = spec.mem_mib or (spec.mem_per_cpu_mib or 0) * cpus
    if not amount and exact:
        amount = (launch.spec.mem_per_cpu_mib or 0) * cpus
    if share.memory_mib and amount > share.memory_mib:
        raise StepRefused("Memory required by task is not available")
    if share.memory_mib and not overlap and amount and held.memory_mib + amount > share.memory_mib:
        raise StepBusy(_BUSY)
    return amount


def gpu_number(text: Optional[str]) -> Optional[int]:
    """Devices in "2", "h100:2" or "gres/gpu:h100=2"; None for no text.

    >>> gpu_number("h100:2,a100:1"), gpu_number("gres/gpu=4"), gpu_number("gpu")
    (3, 4, 1)
    """
    if not text:
        return None
    total = 0
    for part in text.split(","):
        words = part.replace("=", ":").split(":")
        if words and words[0] in ("gres/gpu", "gpu"):
            words = words[1:] or ["1"]
        total += int(words[-1]) if words[-1].isdigit() else 1
    return total


def gpus_per_node(spec: JobSpec, tasks: int) -> Optional[int]:
    """GPUs that a step asks for on a node with so many of its tasks; None: all that the job has there."""
    if spec.gres is not None:
        if spec.gres.lower() == "none":
            return 0
        gpus = [part for part in spec.gres.split(",") if part.split(":")[0].split("=")[0] in ("gpu", "gres/gpu")]
        return gpu_number(",".join(gpus)) if gpus else None
    per_task = gpu_number(spec.gpus_per_task)
    if per_task is not None:
        return per_task * tasks
    return gpu_number(spec.gpus_per_node)


def _gpus_of_step(step: StepSpec) -> Optional[int]:
    """--gpus: of all nodes together. SLURM_GPUS is the job's own wish, of which the step has its nodes' part."""
    return gpu_number(step.job.gpus) if "gpus" in step.typed else None


def _names_gpus(step: StepSpec) -> bool:
    """Whether a step has GPUs of its own, which others may not use meanwhile."""
    by_tasks = "ntasks_per_gpu" in step.typed
    return by_tasks or _gpus_of_step(step) is not None or gpus_per_node(step.job, 1) is not None


def _gpu_counts(
    step: StepSpec, launch: Launch, shares: Sequence[NodeShare], ranks: Sequence[Sequence[int]]
) -> list[int]:
    """GPUs of the step on each of its nodes. Raises StepRefused.

    --gpus are taken from the first nodes, but each has one at least. Source: the oracle, gres.c _step_alloc.
    """
    from .environment import gpu_indices

    spec = step.job
    have = [len(gpu_indices(share.gres)) for share in shares]
    total = _gpus_of_step(step)
    if total is not None:
        if total < len(shares):
            note = "Step requested gres=gpu:%d is less than the requested min nodes=%d" % (total, len(shares))
            raise StepRefused(_BAD_GRES, [note])
        counts: list[int] = []
        for left, there in zip(range(len(shares) - 1, -1, -1), have):
            counts.append(min(there, total - sum(counts) - left))
        if sum(counts) < total:
            raise StepRefused(_BAD_GRES)
        return counts
    if not _names_gpus(step):
        return have if asks_for_gpus(launch.spec) else [0] * len(have)
    per_gpu = spec.ntasks_per_gpu
    asked = [gpus_per_node(spec, len(here)) for here in ranks]
    return [-(-len(here) // (per_gpu or 1)) if count is None else count for here, count in zip(ranks, asked)]


def asks_for_gpus(spec: JobSpec) -> bool:
    """Whether a job asked for GPUs; those that --exclusive brings along are not its steps' by default."""
    wishes = (spec.gpus, spec.gpus_per_node, spec.gpus_per_task, spec.gpus_per_socket)
    return any(wishes) or "gpu" in (spec.gres or "") or "gpu" in (spec.tres_per_task or "")


def _choose_gpus(spec: JobSpec, share: NodeShare, count: int, taken: set[int], shared: bool) -> tuple[int, ...]:
    from .environment import gpu_indices

    have = gpu_indices(share.gres)
    if count > len(have):
        note = "Step requested GRES but job doesn't have GRES"
        if have:
            note = "Step requested gres_per_node=%s is more than the job's gres_per_node=gpu:%d" % (
                spec.gres or "gpu:%d" % count,
                len(have),
            )
        raise StepRefused(_BAD_GRES, [note])
    free = have if shared else tuple(index for index in have if index not in taken)
    if count > len(free):
        raise StepBusy(_BUSY)
    return free[:count]


def _arbitrary(spec: JobSpec) -> list[str]:
    if (spec.distribution or "").lower().startswith("arbitrary") and spec.nodelist:
        from ..language.hostlist import expand

        return expand(spec.nodelist)
    return []


def _distribution(spec: JobSpec, ntasks: int, nodes: int) -> tuple[str, int, bool]:
    text = (spec.distribution or "").lower()
    base, _, option = text.partition(",")
    word, _, size = base.partition(":")[0].partition("=")
    if word == "plane":
        return "plane", int(size or 1), False
    if word in ("block", "cyclic", "arbitrary"):
        return word, 0, option == "pack"
    return layout.default_distribution(ntasks, nodes), 0, option == "pack"


def _in_use(job: Job) -> dict[str, _Use]:
    use = {share.name: _Use() for share in (*job.launch.shares, *job.launch.every_share)}
    for run in job.steps.values():
        if run.shape.overlap:
            continue
        for share, cpus, memory, gpus in zip(
            run.shape.shares, run.shape.cpus, run.shape.memory_mib, run.shape.gpus
        ):
            held = use[share.name]
            held.cpus.update(cpus)
            held.memory_mib += memory
            if _names_gpus(run.spec):
                held.gpus.update(gpus)
    return use
