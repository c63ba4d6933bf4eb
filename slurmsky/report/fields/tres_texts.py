"""Texts of TRES: requested, allocated, and device indices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Optional

from slurmsky.model.allocation import NodeShare
from slurmsky.model.job import Job, Step
from slurmsky.model.spec import JobSpec
from slurmsky.model.states import JobState

from ..report_context import ReportContext
from ..text.units import mebibytes, or_null
from .derived import min_nodes_requested

#: Slurm since 23.11 writes "gres/gpu:2"; 22.05 wrote "gres:gpu:2"
_PREFIX = "gres/"
#: steps that the agent creates
_AGENT_STEPS = ("batch", "extern", "interactive")


def tres(parts: Iterable[tuple[str, str]]) -> str:
    """Join TRES to a text: ``cpu=2,mem=10M``."""
    return ",".join("%s=%s" % part for part in parts)


def requested(job: Job, context: ReportContext) -> list[tuple[str, str]]:
    """ReqTRES in the order of TRES ids. The order is cpu, mem, node, billing."""
    spec = job.spec
    nodes = min_nodes_requested(spec)
    cpus = job.num_cpus if job.state is JobState.PENDING else requested_cpus(job)
    return [
        ("cpu", str(cpus)),
        ("mem", mebibytes(requested_memory_mib(job, context))),
        ("node", str(nodes)),
        ("billing", str(cpus)),
        *requested_gres(job, context),
    ]


def requested_cpus(job: Job) -> int:
    """Requested CPUs; ``num_cpus`` of a started job is its allocation."""
    spec = job.spec
    if job.state is JobState.PENDING or not job.shares:
        return job.num_cpus
    tasks = spec.ntasks or max(job.num_tasks, 1)
    if spec.ntasks is None and spec.nodes_min != spec.nodes_max:
        tasks = (spec.nodes_min or 1) * spec.ntasks_per_node if spec.ntasks_per_node else 1
        return tasks * (spec.cpus_per_task or 1)
    return max(tasks * (spec.cpus_per_task or 1), min_nodes_requested(spec))


def requested_memory_mib(job: Job, context: ReportContext) -> int:
    """Requested memory of the whole job in MiB."""
    spec = job.spec
    if spec.mem_per_gpu_mib is not None:
        return spec.mem_per_gpu_mib * gpu_count(job)
    if spec.mem_per_cpu_mib is not None:
        return spec.mem_per_cpu_mib * requested_cpus(job)
    return (spec.mem_mib or context.node_memory_mib(job)) * min_nodes_requested(spec)


def gpu_count(job: Job) -> int:
    """GPUs of the whole job, if the options determine them."""
    spec = job.spec
    if spec.gpus:
        return sum(gres_number(item) for item in spec.gpus.split(","))
    if spec.gpus_per_node:
        return sum(gres_number(item) for item in spec.gpus_per_node.split(",")) * min_nodes_requested(spec)
    if spec.gpus_per_task:
        return sum(gres_number(item) for item in spec.gpus_per_task.split(",")) * max(job.num_tasks, 1)
    if spec.gres:
        items = [item for item in spec.gres.split(",") if _plain_gres(item).split(":")[0] == "gpu"]
        return sum(gres_number(item) for item in items) * min_nodes_requested(spec)
    return max(job.num_tasks, 1) // spec.ntasks_per_gpu if spec.ntasks_per_gpu else 0


def gres_number(item: str) -> int:
    """Count at the end of ``gpu:h100:2``, ``h100:2`` or ``2``. The default is 1."""
    last = item.rpartition(":")[2]
    return int(last) if last.isdecimal() else 1


def requested_gres(job: Job, context: ReportContext) -> list[tuple[str, str]]:
    """Requested GPUs, if the site counts devices."""
    count = gpu_count(job) if "gres/gpu" in context.counted_gres else 0
    return [("gres/gpu", str(count))] if count else []


def allocated(job: Job, context: ReportContext) -> list[tuple[str, str]]:
    """AllocTRES in the order of TRES ids; empty before the start. Memory is included if it is consumable."""
    if not job.shares:
        return []
    memory = sum(share.memory_mib for share in job.shares)
    parts = [("cpu", str(job.num_cpus))]
    if memory:
        parts.append(("mem", mebibytes(memory)))
    parts += [("node", str(len(job.shares))), ("billing", str(job.num_cpus))]
    return parts + allocated_gres(job, context)


def allocated_gres(job: Job, context: ReportContext) -> list[tuple[str, str]]:
    """Allocated devices, if the site counts devices."""
    return [part for part in gres_tres(job.shares) if part[0] in context.counted_gres]


def gres_tres(shares: Sequence[NodeShare]) -> list[tuple[str, str]]:
    """``gres/gpu=4``, and for typed devices also ``gres/gpu:h100=4``."""
    totals: dict[str, int] = {}
    for share in shares:
        for name, indices in share.gres.items():
            base = name.partition(":")[0]
            for key in (base, name) if name != base else (base,):
                totals[key] = totals.get(key, 0) + len(indices)
    return [("gres/" + name, str(count)) for name, count in sorted(totals.items())]


def step_tres(step: Step, context: ReportContext) -> list[tuple[str, str]]:
    """TRES of a step. Memory is 0 if it is not consumable."""
    if not step.cpus:
        return []
    memory = step.memory_mib if context.consumes_memory else 0
    parts = [("cpu", str(step.cpus)), ("mem", mebibytes(memory)), ("node", str(len(step.nodes)))]
    return parts + step_gres(step, context)


def step_gres(step: Step, context: ReportContext) -> list[tuple[str, str]]:
    """GPUs of a step, if the site counts devices."""
    counted = step.gres and "gres/gpu" in context.counted_gres
    return [("gres/gpu", str(gres_number(step.gres)))] if counted else []


def tres_per(spec: JobSpec) -> dict[str, str]:
    """TRES requests of a job (CpusPerTres, MemPerTres, ...) by key."""
    texts = {
        "CpusPerTres": spec.cpus_per_gpu and "%sgpu:%d" % (_PREFIX, spec.cpus_per_gpu),
        "MemPerTres": spec.mem_per_gpu_mib and "%sgpu:%d" % (_PREFIX, spec.mem_per_gpu_mib),
        "TresBind": _bind(spec),
        "TresFreq": spec.gpu_freq and "gpu:" + spec.gpu_freq,
        "TresPerJob": _gres(spec.gpus and _gpus(spec.gpus)),
        "TresPerNode": _gres(",".join(filter(None, (spec.gpus_per_node and _gpus(spec.gpus_per_node), spec.gres)))),
        "TresPerSocket": _gres(spec.gpus_per_socket and _gpus(spec.gpus_per_socket)),
        "TresPerTask": spec.tres_of_task,
    }
    return {key: text for key, text in texts.items() if text}


def _bind(spec: JobSpec) -> str:
    """Binding of devices. Those per task are bound to their tasks unless requested otherwise.

    Source: slurm_opt.c _implicitly_bind_tres_per_task.
    """
    given = spec.tres_bind or (spec.gpu_bind and "gres/gpu:" + spec.gpu_bind) or ""
    counts: dict[str, int] = {}
    for item in (spec.tres_of_task or "").split(","):
        group, _, device = item.partition("/")
        if group == "gres" and device:
            name = device.replace("=", ":").partition(":")[0]
            counts[name] = counts.get(name, 0) + gres_number(device.replace("=", ":"))
    order = sorted(counts, key=lambda name: name == "gpu")  # GPUs of all types come last, as one sum
    implied = ["gres/%s:per_task:%d" % (name, counts[name]) for name in order if name not in given]
    return "+".join(filter(None, (given, *implied)))


def _gpus(text: str) -> str:
    return ",".join("gpu:" + item for item in text.split(","))


def _plain_gres(item: str) -> str:
    return item[5:] if item.startswith(("gres:", "gres/")) else item


def _gres(text: Optional[str]) -> str:
    return ",".join(_PREFIX + _plain_gres(item) for item in text.split(",")) if text else ""


def device_text(name: str, indices: Sequence[int]) -> str:
    """Devices with indices: ``gpu:h100:2(IDX:0-1)``, without device files with their number: ``disk(CNT:2)``.

    Source: gres_stepmgr.c, the details of a job's gres.
    """
    if name.partition(":")[0] != "gpu":
        return "%s(CNT:%d)" % (name, len(indices))
    return "%s:%d(IDX:%s)" % (name, len(indices), index_list(indices))


def index_list(indices: Sequence[int]) -> str:
    """Numbers as ``0-3,7``, uncut and without strides.

    Source: bitstring.c bit_fmt_full.
    """
    if not indices:
        return ""
    runs: list[list[int]] = []
    for index in sorted(indices):
        if runs and runs[-1][1] + 1 == index:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(str(first) if first == last else "%d-%d" % (first, last) for first, last in runs)


def total_gres(shares: Sequence[NodeShare]) -> str:
    """JOB_GRES: devices of the whole job, "(null)" for none."""
    totals: dict[str, int] = {}
    for share in shares:
        for name, indices in share.gres.items():
            totals[name] = totals.get(name, 0) + len(indices)
    return or_null(",".join("%s:%d" % item for item in totals.items()) or None)


def step_cpus_shown(step: Step) -> int:
    """CPUs that squeue and scontrol show for a step. Steps that the agent creates request none."""
    return 0 if step.step_id in _AGENT_STEPS else step.cpus


def step_requested(step: Step) -> dict[str, str]:
    """TRES that a step's srun requested, by scontrol's key. Records without TRES give only the step's GPUs."""
    if not step.tres and step.gres and step.step_id not in _AGENT_STEPS:
        return {"TresPerStep": "cpu:%d" % step.cpus, "TresPerNode": _gres(step.gres)}
    return {key: value for key, _, value in (item.partition("=") for item in step.tres.split())}


def step_tres_per_step(step: Step) -> str:
    """TresPerStep: CPUs of a step that also requests devices.

    Source: launch.c.
    """
    return step_requested(step).get("TresPerStep", "(null)")


def step_tres_per_node(step: Step) -> str:
    """TresPerNode of a step."""
    return step_requested(step).get("TresPerNode", "(null)")
