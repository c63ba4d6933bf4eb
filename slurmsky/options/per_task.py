"""Combines --tres-per-task with --cpus-per-task and --gpus-per-task.

Afterwards all fields have consistent values for any of the options: records and variables use tres_per_task,
computations use cpus_per_task and gpus_per_task. Source: slurm_opt.c _validate_tres_per_task.
"""

from __future__ import annotations

import re
from typing import Optional

from ..language import gres
from ..language.syntax_errors import GresError
from .component_options import Component
from .readers import INVALID_TRES
from .usage_errors import CommandError, failure

#: TRES of jobs and nodes that cannot be requested per task.
_NOT_PER_TASK = ("mem", "energy", "node", "billing", "fs", "vmem", "pages", "bb")
_KNOWN = re.compile(r"cpu[=:]\d+|(gres|license)/[^,]+", re.IGNORECASE)
_LICENSES = re.compile(r"(?:^|,)license/([^,=:]+)(?:[=:](\d+))?", re.IGNORECASE)


def resolve(part: Component) -> None:
    """Make the three options consistent. Raises CommandError if two of them were typed for the same resource."""
    text = part.get("tres_per_task")
    if not text:
        return
    for name in _NOT_PER_TASK:
        if re.search(f"(^|,){name}", text, re.IGNORECASE):
            raise _fatal(part, f"Invalid TRES for --tres-per-task: {name}")
    text = re.sub(r"(^|,)(gres|license):", r"\1\2/", text)
    for kind, count in _gpus(part.get("gpus_per_task")):
        text = _with_count(part, text, f"gres/gpu:{kind}" if kind else "gres/gpu", count, "gpus-per-task")
    text = _with_count(part, text, "cpu", part.get("cpus_per_task"), "cpus-per-task")
    part.values["tres_per_task"] = text
    cpus = _count(text, "cpu")
    if cpus:
        part.values["cpus_per_task"] = cpus
    try:
        gpus = [item.gpus for item in devices(text) if item.name == "gpu"]
    except GresError:
        return  # ``check`` reports this error
    if gpus:
        part.values["gpus_per_task"] = ",".join(gpus)


def resolve_with_gpus(part: Component) -> None:
    """Resolve CPUs per task against CPUs per GPU.

    A typed option overrides those of the environment.

    Source: slurm_opt.c _validate_cpus_per_tres.
    """
    by_task = ("cpus-per-task", "tres-per-task") if _count(part.get("tres_per_task", ""), "cpu") else ("cpus-per-task",)
    typed, inherited = part.has_typed(*by_task), part.inherited(*by_task)
    if (typed and part.has_typed("cpus-per-gpu")) or (inherited and part.inherited("cpus-per-gpu")):
        raise _fatal(part, "--cpus-per-task, --tres-per-task=cpu:#, and --cpus-per-gpu are mutually exclusive")
    if typed:
        part.unset("cpus_per_gpu")
    elif part.has_typed("cpus-per-gpu") and inherited:
        part.unset("cpus_per_task")
        part.values["tres_per_task"] = _item("cpu").sub("", part.get("tres_per_task", "")).lstrip(",") or None


def check(part: Component) -> None:
    """Apply slurmctld's refusals; convert licences per task to the job's. Raises CommandError."""
    text = part.get("tres_per_task")
    if not text:
        return
    if not all(_KNOWN.fullmatch(item) for item in text.split(",")):
        raise part.refused(INVALID_TRES)
    tasks = part.get("ntasks") or part.get("nodes_min", 1) * part.get("ntasks_per_node", 1)
    of_tasks = ",".join(f"{name}:{int(count or 1) * tasks}" for name, count in _LICENSES.findall(text))
    if of_tasks:
        part.values["licenses"] = ",".join(filter(None, (part.get("licenses"), of_tasks)))


def _with_count(part: Component, text: str, name: str, count: Optional[int], option: str) -> str:
    """Return the text with a resource's count from its option.

    A text with this resource's count is unchanged if it takes precedence.
    """
    requested = _count(text, name)
    if requested is None:
        return text if count is None else f"{name}={count},{text}"
    if part.has_typed(option) and part.has_typed("tres-per-task"):
        raise _fatal(part, f"You can not have --tres-per-task={name}= and --{option} please use one or the other")
    if part.has_typed(option):
        return _item(name).sub(lambda found: f"{found[1]}{name}={count}", text)
    if requested <= 0:
        raise _fatal(part, f"Invalid --tres-per-task={name}={requested}")
    if part.inherited(option) and part.inherited("tres-per-task") and name == "cpu" and requested != count:
        raise _fatal(
            part,
            f"{option} set by two different environment variables "
            f"SLURM_CPUS_PER_TASK={count} != SLURM_TRES_PER_TASK=cpu={requested}",
        )
    return text


def _fatal(part: Component, message: str) -> CommandError:
    return failure(part.command, message, level="fatal")


def _item(name: str) -> re.Pattern[str]:
    return re.compile(rf"(^|,){re.escape(name)}(?:[=:](\d*)(?=,|$)|(?=,|$))", re.IGNORECASE)


def _count(text: str, name: str) -> Optional[int]:
    """Count per task of a resource in the text, or None."""
    found = _item(name).search(text)
    return None if found is None else int(found[2] or 0) if found[2] is not None else 1


def _gpus(text: Optional[str]) -> list[tuple[str, int]]:
    """Pairs (type, count) of --gpus-per-task. The option's own check reports an invalid list."""
    found = (re.fullmatch(r"(?:(.*)[:=])?(\d+)", item) for item in (text or "").split(","))
    return [(item[1] or "", int(item[2])) for item in found if item]


def devices(text: str) -> tuple[gres.Gres, ...]:
    """Generic resources of ``cpu=2,gres/gpu:a100=1``. Raises GresError."""
    items = (item.partition("/") for item in text.split(","))
    wanted = ",".join(name.replace("=", ":") for group, _, name in items if group == "gres")
    return gres.parse(wanted) if wanted else ()
