"""Cross-validates GPU counts with task, node, socket and CPU counts.

All requests for one device (--gpus, --gpus-per-node, --gres, ...) form one record, as in Slurm. ``check`` refuses
contradictions; ``resolved`` derives missing numbers for the selection of nodes: with four GPUs per node and two GPUs
per task there are two tasks per node.

Source: src/interfaces/gres.c, gres_job_state_validate and _test_gres_cnt.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Callable, Optional

from ..language import gres
from ..language.syntax_errors import GresError
from ..model.spec import NO_VAL, JobSpec
from . import per_task
from .component_options import Component
from .readers import INVALID_TRES

BAD_GRES = "Invalid generic resource (gres) specification"
WITH_AND_WITHOUT_TYPE = "Invalid GRES specification (with and without type identification)"
_COUNT = re.compile(r"\d+([KMGTP](i?B)?)?", re.IGNORECASE)


@dataclass
class Requested:
    """Requested counts of one device name and type. 0: not requested."""

    name: str
    per_job: int = 0
    per_node: int = 0
    per_socket: int = 0
    per_task: int = 0

    @property
    def counted(self) -> bool:
        """Return whether the device itself is counted. CPUs or memory per device are no count of the device."""
        return bool(self.per_job or self.per_node or self.per_socket or self.per_task)


@dataclass
class Numbers:
    """Other counts of the job; None: not given. Device counts may determine or contradict these counts."""

    tasks: Optional[int]
    least: Optional[int]
    most: Optional[int]
    tasks_per_node: Optional[int]
    tasks_per_socket: Optional[int]
    tasks_per_gpu: Optional[int]
    cpus_per_task: Optional[int]
    sockets: Optional[int]

    def fewest_nodes(self, named: int) -> int:
        """Return the least number of nodes. ``named``: nodes of --nodelist."""
        return max(1, self.least or 0, named)


#: fields of Requested; the first one that is set determines the devices per node
_PARTS = ("per_node", "per_task", "per_job")


class CountConflict(Exception):
    """A contradiction between counts; holds Slurm's message."""


@dataclass
class DeviceRequest:
    """Device requests by name and type, with the job's counts. In the order in which Slurm reads the options."""

    requested: dict[tuple[str, str], Requested]
    numbers: Numbers

    def counts(self, field: str) -> tuple[tuple[str, str, int], ...]:
        """Tuples (name, type, count) of one field."""
        found = ((name, kind, getattr(record, field)) for (name, kind), record in self.requested.items())
        return tuple(item for item in found if item[2])

    def once(self, field: str) -> tuple[tuple[str, str, int], ...]:
        """Counts of one field without devices counted elsewhere.

        A count per node or task determines the other counts of a device.
        """
        before = _PARTS[: _PARTS.index(field)]
        return tuple(item for item in self.counts(field)
                     if not any(getattr(self.requested[item[:2]], part) for part in before))  # fmt: skip

    def gpus(self, field: str) -> int:
        """The GPUs of all types in one field."""
        return sum(count for name, _, count in self.counts(field) if name == "gpu")


def resolved(spec: JobSpec) -> DeviceRequest:
    """Device request of a spec, with derived counts.

    An accepted spec has no contradictions; if a later change causes a contradiction, the given counts stay unchanged.
    Raises GresError.
    """
    request = _read(lambda field: getattr(spec, field))
    try:
        _resolve(request)
    except CountConflict:
        return _read(lambda field: getattr(spec, field))
    return request


def consistent(spec: JobSpec) -> bool:
    """Return whether the counts of a spec agree. Raises GresError."""
    try:
        _resolve(_read(lambda field: getattr(spec, field)))
    except CountConflict:
        return False
    return True


def check(part: Component) -> None:
    """Raise CommandError for contradicting counts; add Slurm's warnings."""
    gpus = [part.get(field) for field in ("gpus", "gpus_per_node", "gpus_per_socket", "gpus_per_task")]
    counted = [f"gpu:{item}" for text in gpus if text for item in text.split(",")]
    if any(map(_malformed, [*counted, *(part.get("gres") or "").split(",")])):
        raise part.invalid(INVALID_TRES)
    try:
        request = _read(part.get)
    except GresError:
        return  # an unknown GPU type instead of a count, which the controller refuses
    try:
        warning = _resolve(request)
        if not any(record.counted for (name, _), record in request.requested.items() if name == "gpu"):
            for kind, field in (("mem", "mem_per_gpu_mib"), ("cpus", "cpus_per_gpu")):
                if part.get(field) is not None:
                    text = f"{kind}_per_tres=gres/gpu:{part.get(field)}"
                    raise CountConflict(f"Requested {text} but did not request any GPU.")
    except CountConflict as fault:
        raise part.invalid(str(fault), BAD_GRES) from None
    if warning:
        part.warnings.append(f"{part.command}: error: {warning}")
    if _mixed(request.requested):
        raise part.invalid(WITH_AND_WITHOUT_TYPE)


def _malformed(item: str) -> bool:
    """Return whether a colon lacks a text or count after it.

    Source: slurm_protocol_defs.c slurm_get_next_tres.
    """
    words = item.replace("gres/", "", 1).replace("gres:", "", 1).split(":")
    return "" in words[1:] or (len(words) > 2 and not _COUNT.fullmatch(words[-1].rpartition("=")[2]))


def _read(get: Callable[[str], Any]) -> DeviceRequest:
    """Collect the requests of all options. Raises GresError."""
    requested: dict[tuple[str, str], Requested] = {}
    for count, field, parse in (
        ("per_job", "gpus", gres.parse_gpus), ("per_node", "gpus_per_node", gres.parse_gpus),
        ("per_node", "gres", gres.parse), ("per_socket", "gpus_per_socket", gres.parse_gpus),
        ("per_task", "gpus_per_task", gres.parse_gpus), ("per_task", "tres_per_task", per_task.devices),
    ):  # fmt: skip
        text = get(field)
        if text and text.upper() != "NONE":
            for item in parse(text):
                setattr(requested.setdefault((item.name, item.type), Requested(item.name)), count, item.count)
    numbers = Numbers(
        tasks=get("ntasks"),
        least=get("nodes_min"),
        most=get("nodes_max"),
        tasks_per_node=get("ntasks_per_node"),
        tasks_per_socket=get("ntasks_per_socket"),
        tasks_per_gpu=get("ntasks_per_gpu"),
        cpus_per_task=get("cpus_per_task"),
        sockets=get("sockets_per_node"),
    )
    if numbers.tasks and numbers.tasks_per_node and not numbers.most:
        # Source: opt.c _opt_verify of sbatch, min_nodes.
        numbers.least = max(numbers.least or 1, -(-numbers.tasks // numbers.tasks_per_node))
    return DeviceRequest(requested, numbers)


def _resolve(request: DeviceRequest) -> str:
    """Derive missing counts; return Slurm's warning. Raises CountConflict."""
    requested, numbers = request.requested, request.numbers
    warning = ""
    if numbers.tasks_per_gpu or request.counts("per_task"):
        _tasks_of_nodes(numbers)
    if numbers.tasks_per_gpu:
        warning = _gpus_of_tasks(requested, numbers)
    for record in requested.values():
        _derive_counts(record, numbers)
    return warning


def _tasks_of_nodes(numbers: Numbers) -> None:
    """Derive the number of tasks from a fixed number of nodes."""
    if numbers.tasks is not None or numbers.least is None or numbers.least != numbers.most:
        return
    if numbers.tasks_per_gpu:
        numbers.tasks = numbers.least * numbers.tasks_per_gpu
    elif numbers.tasks_per_node:
        numbers.tasks = numbers.least * numbers.tasks_per_node
    elif numbers.cpus_per_task is None:
        numbers.tasks = numbers.least


def _gpus_of_tasks(requested: dict[tuple[str, str], Requested], numbers: Numbers) -> str:
    """Apply --ntasks-per-gpu; return Slurm's warning. Tasks follow from the GPUs, or else GPUs from the tasks."""
    per_gpu = numbers.tasks_per_gpu or 1
    gpus = sum(_total(record, numbers) for (name, _), record in requested.items() if name == "gpu")
    if gpus:
        numbers.tasks = gpus * per_gpu
    elif numbers.tasks:
        count = numbers.tasks // per_gpu
        if count:
            requested["gpu", ""] = Requested("gpu", per_job=count)
            if numbers.tasks % per_gpu:
                raise CountConflict(
                    "Failed to validate job spec, -n/--ntasks has to be a multiple of --ntasks-per-gpu."
                )
        else:
            return "gres_job_state_validate: Failed to add generated GRES gres/gpu:0 (via ntasks_per_tres) to gres_list"
    else:
        raise CountConflict(
            "gres_job_state_validate: --ntasks-per-tres needs either a GRES GPU specification or a "
            "node/ntask specification"
        )
    return ""


def _total(record: Requested, numbers: Numbers) -> int:
    """Devices of the whole job, as far as known."""
    return max(
        record.per_job,
        record.per_node * (numbers.least or 1),
        record.per_socket * (numbers.least or 1) * (numbers.sockets or 1),
        record.per_task * (numbers.tasks or 1),
    )


def _derive_counts(record: Requested, numbers: Numbers) -> None:
    """Derive and check the counts of one device. Raises CountConflict."""
    name, failed = record.name, "Failed to validate job spec"
    job, node, socket, task = record.per_job, record.per_node, record.per_socket, record.per_task
    of_node = f"--gres={name}/--{name}s-per-node"
    if job and max(node, task, socket) > job:
        raise CountConflict(f"Failed to ensure --{name}s >= {of_node} >= --{name}s-per-socket")
    if node and max(task, socket) > node:
        raise CountConflict(f"Failed to ensure --{name}s >= --{name}s-per-task")
    if socket and numbers.sockets is None:
        raise CountConflict(f"--{name}s-per-socket option requires --sockets-per-node specification")
    if job and node:
        if job % node:
            raise CountConflict(f"{failed}, --{name}s is not multiple of {of_node}")
        wanted = job // node
        least, most = numbers.least, numbers.most
        if (least is not None and wanted < least) or (most and wanted > most):
            raise CountConflict(
                f"{failed}. Based on --{name} and {of_node} required nodes ({wanted}) doesn't fall between min_nodes "
                f"({NO_VAL if least is None else least}) and max_nodes ({most or NO_VAL}) boundaries."
            )
        numbers.least = numbers.most = wanted
    if node and socket:
        if node % socket:
            raise CountConflict(f"{failed}, {of_node} not multiple of --{name}s-per-socket.")
        if numbers.sockets != node // socket:
            raise CountConflict(
                f"{failed}. Based on {of_node} and --{name}s-per-socket required number of sockets differ from "
                "--sockets-per-node."
            )
    if task:
        _derive_per_task(record, numbers)
    if job and numbers.least is not None and job < numbers.least:
        raise CountConflict(f"{failed}, --{name}s < -N")


def _derive_per_task(record: Requested, numbers: Numbers) -> None:
    """Derive and check the counts of a per-task device."""
    name, failed, task = record.name, "Failed to validate job spec", record.per_task
    of_node, of_socket, of_task = (
        f"--gres={name}/--{name}s-per-node",
        f"--{name}s-per-socket",
        f"--{name}s-per-task",
    )
    if record.per_job:
        if record.per_job % task:
            raise CountConflict(f"{failed}, --{name}s not multiple of {of_task}")
        if numbers.tasks is None:
            numbers.tasks = record.per_job // task
        elif numbers.tasks != record.per_job // task:
            raise CountConflict(
                f"{failed}. Based on --{name}s and {of_task} number of requested tasks differ from -n/--ntasks."
            )
    elif numbers.tasks is not None:
        record.per_job = numbers.tasks * task
    elif name == "gpu":
        raise CountConflict(
            f"{failed}. {of_task} or --tres-per-task used without either --{name}s or -n/--ntasks is not allowed."
        )
    else:
        raise CountConflict(f"{failed}. --tres-per-task used without -n/--ntasks is not allowed.")
    for count, whole, per, given, option in (
        (record.per_node, of_node, "node", numbers.tasks_per_node, "--ntasks-per-node"),
        (record.per_socket, of_socket, "sockets", numbers.tasks_per_socket, "--ntasks-per-socket"),
    ):
        if count and count % task:
            raise CountConflict(f"{failed}, {whole} not multiple of {of_task}.")
        if count and given and given != count // task:
            raise CountConflict(
                f"{failed}. Based on {whole} and {of_task} requested number of tasks per {per} differ from {option}."
            )
    if record.per_node:
        numbers.tasks_per_node = record.per_node // task
    if record.per_socket:
        numbers.tasks_per_socket = record.per_socket // task


def _mixed(requested: dict[tuple[str, str], Requested]) -> bool:
    """Return whether a device is requested both with and without type."""
    return any(
        record.counted and not kind and any(other == name and its for other, its in requested)
        for (name, kind), record in requested.items()
    )
