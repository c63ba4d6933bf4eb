"""Selects the GPUs that each task of a step sees.

Pure functions for --gpu-bind, --tres-bind, --gpus-per-task and --ntasks-per-gpu. Device numbers count the
node's devices, as in Slurm without ConstrainDevices. Source: gres.c _get_usable_gres, srun's manual.
"""

from __future__ import annotations

from typing import Optional, Sequence

from ...model.spec import JobSpec

_OUTSIDE = (
    "Bind request %s does not specify any devices within the allocation. "
    "Binding to the first device in the allocation instead."
)


_GPUS = "gres/gpu:"
_VERBOSE = "gpu-bind: usable_gres=%s; bit_alloc=%s; local_inx=0; global_list=%s; local_list=%s\n"


def bind_text(spec: JobSpec) -> Optional[str]:
    """Return the step's GPU binding, or None. --gpus-per-task and --ntasks-per-gpu imply it."""
    if spec.gpu_bind:
        return spec.gpu_bind
    for item in (spec.tres_bind or "").split("+"):
        if item.startswith(_GPUS):
            return item[len(_GPUS) :]
    if spec.ntasks_per_gpu:
        return "single:%d" % spec.ntasks_per_gpu
    if spec.gpus_per_task:
        return "per_task:" + spec.gpus_per_task.replace("=", ":").rpartition(":")[2]
    return None


def notice(text: Optional[str], gpus: Sequence[int], seen: Sequence[int]) -> str:
    """Return the line of --gpu-bind=verbose for a task.

    >>> notice("verbose,single:1", (0, 1, 2), (1,))
    'gpu-bind: usable_gres=0x2; bit_alloc=0x7; local_inx=0; global_list=1; local_list=1\\n'
    """
    if not gpus or not (text or "").lower().startswith("verbose,"):
        return ""
    usable, allocated = ("0x%X" % sum(1 << gpu for gpu in some) for some in (seen, gpus))
    numbers = ",".join(map(str, seen))
    return _VERBOSE % (usable, allocated, numbers, numbers)


def visible(text: Optional[str], gpus: Sequence[int], local: int, tasks: int) -> tuple[tuple[int, ...], str]:
    """Return (device numbers for the ``local``-th task, error or "").

    >>> visible("single:2", (0, 1), 1, 4), visible("map_gpu:1,0", (0, 1), 0, 2)
    (((0,), ''), ((1,), ''))
    """
    if not text or not gpus:
        return tuple(gpus), ""
    from ...language import gpubind

    bind = gpubind.parse(text)
    if bind.how == "single":
        return (gpus[local // max(1, bind.count) % len(gpus)],), ""
    if bind.how == "per_task":
        own = tuple(gpus[local * bind.count : (local + 1) * bind.count])
        return (own or tuple(gpus[-bind.count :])), ""
    if bind.how in ("map", "mask"):
        value = bind.values[local % len(bind.values)]
        mask = 1 << int(value, 0) if bind.how == "map" else int(value, 16)
        own = tuple(gpu for gpu in gpus if mask >> gpu & 1)
        if own:
            return own, ""
        return tuple(gpus[:1]), _OUTSIDE % ("gpu:" + text.rpartition("verbose,")[2])
    return tuple(gpus), ""  # methods none and closest: without configured CPUs all devices are equally close
