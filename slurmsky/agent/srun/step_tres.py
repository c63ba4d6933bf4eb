"""TRES that scontrol show step prints. The request of srun, else that of the job.

Source: srun/launch.c, stepmgr.c _copy_job_tres_to_step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...model.spec import JobSpec
from ..steps import task_devices

if TYPE_CHECKING:
    from ..steps.step_allocation import StepShape


def tres_text(spec: JobSpec, job: JobSpec, shape: StepShape, tasks: int) -> str:
    """Return the step's TRES as "KEY=VALUE ...", "" for a step without devices."""
    requested = spec.gpus or spec.gpus_per_node or spec.gpus_per_socket or spec.gpus_per_task or spec.gres
    if not (requested or any(shape.gpus) or spec.cpus_per_gpu or spec.mem_per_gpu_mib or spec.gpu_freq):
        return ""
    from ...report.fields import tres_texts

    found = tres_texts.tres_per(spec)
    if not requested:
        found = {**tres_texts.tres_per(job), **found}
    found.pop("TresBind", None)
    bind = task_devices.bind_text(spec)
    if bind:
        found["TresBind"] = "gres/gpu:" + bind
    if spec.gres and spec.gres.lower() == "none":
        found.pop("TresPerNode")
    gpus = [found.pop("TresPerJob")] if "TresPerJob" in found else []
    cpus = ["cpu:%d" % _requested_cpus(spec, shape, tasks)] if requested else []
    if cpus or gpus:
        found["TresPerStep"] = ",".join([*cpus, *gpus])
    return " ".join("%s=%s" % pair for pair in found.items())


def _requested_cpus(spec: JobSpec, shape: StepShape, tasks: int) -> int:
    """Return the number of CPUs that srun requests; the step may have more."""
    if spec.overcommit:
        return len(shape.shares)
    if spec.cpus_per_gpu and not spec.cpus_per_task:
        return sum(map(len, shape.cpus))
    return tasks * (spec.cpus_per_task or 1)
