"""Whether the numbers of devices agree: with each other, and with those of tasks, nodes, sockets and CPUs.

What was asked of one kind of device (--gpus, --gpus-per-node, --gres, ...) is one record, as in Slurm, whose clients
settle this before they ask the controller. Source: src/interfaces/gres.c, gres_job_state_validate and _test_gres_cnt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Iterator, Optional

from ..language import gres
from ..language.errors import GresError
from .component import Component
from .errors import CommandError, failure

BAD_GRES = "Invalid generic resource (gres) specification"
WITH_AND_WITHOUT_TYPE = "Invalid GRES specification (with and without type identification)"
NO_VAL = 0xFFFFFFFE  # a count that was not given, as Slurm prints it


@dataclass
class Asked:
    """Devices of one name and type, by what they were counted for; 0: not asked so."""

    name: str
    per_job: int = 0
    per_node: int = 0
    per_socket: int = 0
    per_task: int = 0

    @property
    def counted(self) -> bool:
        """Whether any number of them was asked for, not only CPUs or memory for each."""
        return bool(self.per_job or self.per_node or self.per_socket or self.per_task)


@dataclass
class Numbers:
    """The job's own counts, which devices may settle or contradict; None: not given."""

    tasks: Optional[int]
    least: Optional[int]
    most: Optional[int]
    tasks_per_node: Optional[int]
    tasks_per_socket: Optional[int]
    tasks_per_gpu: Optional[int]
    cpus_per_task: Optional[int]
    cpus_per_gpu: Optional[int]
    sockets: Optional[int]


class Disagreement(Exception):
    """The line that Slurm says of it."""


def check(part: Component) -> None:
    """Raise CommandError where the devices asked for contradict each other or the rest; warn as Slurm does."""
    try:
        asked = _records(part)
    except GresError:
        return  # no number: a type that no node has, which is for whoever knows the nodes
    numbers = _numbers(part)
    bare = [name for name in ("cpus_per_gpu", "mem_per_gpu_mib") if part.get(name) is not None]
    try:
        if part.get("gpus_per_task") or part.get("tres_per_task") or numbers.tasks_per_gpu:
            _tasks_of_nodes(numbers)
        if numbers.tasks_per_gpu:
            _gpus_of_tasks(asked, numbers, part)
        if not any(record.counted for (name, _), record in asked.items() if name == "gpu"):
            for field in reversed(bare):
                kind = "mem" if field == "mem_per_gpu_mib" else "cpus"
                text = f"{kind}_per_tres=gres:gpu:{part.get(field)}"
                raise Disagreement(f"Requested {text} but did not request any GPU.")
            return
        for record in asked.values():
            _agree(record, numbers)
    except Disagreement as fault:
        raise failure(part.command, str(fault), BAD_GRES, exit_code=part.context.error_exit) from None
    if _mixed(asked):
        raise _refusal(part, WITH_AND_WITHOUT_TYPE)


def _refusal(part: Component, reason: str) -> CommandError:
    return failure(part.command, reason, exit_code=part.context.error_exit)


def _records(part: Component) -> dict[tuple[str, str], Asked]:
    """By name and type, in the order in which Slurm reads the options. Raises GresError."""
    asked: dict[tuple[str, str], Asked] = {}

    def put(field: str, items: tuple[gres.Gres, ...]) -> None:
        for item in items:
            record = asked.setdefault((item.name, item.type), Asked(item.name))
            setattr(record, field, item.count)

    for field, option in (
        ("per_job", "gpus"), ("per_node", "gpus_per_node"), ("per_node", "gres"),
        ("per_socket", "gpus_per_socket"), ("per_task", "gpus_per_task"), ("per_task", "tres_per_task"),
    ):  # fmt: skip
        text = part.get(option, "")
        if text and text.upper() != "NONE":
            put(field, tuple(_of_tres(text)) if option == "tres_per_task" else _read(option)(text))
    return asked


def _read(option: str) -> Callable[[str], tuple[gres.Gres, ...]]:
    return gres.parse if option == "gres" else gres.parse_gpus


def _of_tres(text: str) -> Iterator[gres.Gres]:
    """The devices of --tres-per-task=cpu:2,gres/gpu:1."""
    for item in text.split(","):
        group, _, rest = item.replace("gres:", "gres/", 1).partition("/")
        if group == "gres" and rest:
            yield from gres.parse(rest.replace("=", ":"))


def _numbers(part: Component) -> Numbers:
    return Numbers(
        tasks=part.get("ntasks"),
        least=part.get("nodes_min"),
        most=part.get("nodes_max"),
        tasks_per_node=part.get("ntasks_per_node"),
        tasks_per_socket=part.get("ntasks_per_socket"),
        tasks_per_gpu=part.get("ntasks_per_gpu"),
        cpus_per_task=part.get("cpus_per_task"),
        cpus_per_gpu=part.get("cpus_per_gpu"),
        sockets=part.get("sockets_per_node"),
    )


def _tasks_of_nodes(numbers: Numbers) -> None:
    """A fixed number of nodes says how many tasks there are."""
    if numbers.tasks is not None or numbers.least is None or numbers.least != numbers.most:
        return
    if numbers.tasks_per_gpu:
        numbers.tasks = numbers.least * numbers.tasks_per_gpu
    elif numbers.tasks_per_node:
        numbers.tasks = numbers.least * numbers.tasks_per_node
    elif numbers.cpus_per_task is None:
        numbers.tasks = numbers.least


def _gpus_of_tasks(asked: dict[tuple[str, str], Asked], numbers: Numbers, part: Component) -> None:
    """--ntasks-per-gpu: tasks by the GPUs asked for, or else GPUs by the tasks."""
    per_gpu = numbers.tasks_per_gpu or 1
    gpus = sum(_total(record, numbers) for (name, _), record in asked.items() if name == "gpu")
    if gpus:
        numbers.tasks = gpus * per_gpu
    elif numbers.tasks:
        count = numbers.tasks // per_gpu
        if count:
            asked["gpu", ""] = Asked("gpu", per_job=count)
            if numbers.tasks % per_gpu:
                raise Disagreement(
                    "Failed to validate job spec, -n/--ntasks has to be a multiple of --ntasks-per-gpu."
                )
        else:
            part.warnings.append(
                f"{part.command}: error: gres_job_state_validate: Failed to add generated GRES gres:gpu:0 "
                "(via ntasks_per_tres) to gres_list"
            )
    else:
        raise Disagreement(
            "gres_job_state_validate: --ntasks-per-tres needs either a GRES GPU specification or a "
            "node/ntask specification"
        )


def _total(record: Asked, numbers: Numbers) -> int:
    """Devices of the whole job, as far as it is known."""
    return max(
        record.per_job,
        record.per_node * (numbers.least or 1),
        record.per_socket * (numbers.least or 1) * (numbers.sockets or 1),
        record.per_task * (numbers.tasks or 1),
    )


def _agree(record: Asked, numbers: Numbers) -> None:
    """Settle the counts of one kind of device. Raises Disagreement."""
    name, failed = record.name, "Failed to validate job spec"
    job, node, socket, task = record.per_job, record.per_node, record.per_socket, record.per_task
    of_node = f"--gres={name}/--{name}s-per-node"
    if job and max(node, task, socket) > job:
        raise Disagreement(f"Failed to ensure --{name}s >= {of_node} >= --{name}s-per-socket")
    if node and max(task, socket) > node:
        raise Disagreement(f"Failed to ensure --{name}s >= --{name}s-per-task")
    if socket and numbers.sockets is None:
        raise Disagreement(f"--{name}s-per-socket option requires --sockets-per-node specification")
    if name == "gpu" and numbers.cpus_per_gpu and numbers.cpus_per_task is not None:
        raise Disagreement("--cpus-per-gpu is mutually exclusive with --cpus-per-task")
    if job and node:
        if job % node:
            raise Disagreement(f"{failed}, --{name}s is not multiple of {of_node}")
        wanted = job // node
        least, most = numbers.least, numbers.most
        if (least is not None and wanted < least) or (most and wanted > most):
            raise Disagreement(
                f"{failed}. Based on --{name} and {of_node} required nodes ({wanted}) doesn't fall between min_nodes "
                f"({NO_VAL if least is None else least}) and max_nodes ({most or NO_VAL}) boundaries."
            )
        numbers.least = numbers.most = wanted
    if node and socket:
        if node % socket:
            raise Disagreement(f"{failed}, {of_node} not multiple of --{name}s-per-socket.")
        if numbers.sockets != node // socket:
            raise Disagreement(
                f"{failed}. Based on {of_node} and --{name}s-per-socket required number of sockets differ from "
                "--sockets-per-node."
            )
    if task:
        _tasks_agree(record, numbers)
    if job and numbers.least is not None and job < numbers.least:
        raise Disagreement(f"{failed}, --{name}s < -N")


def _tasks_agree(record: Asked, numbers: Numbers) -> None:
    """The same where every task asked for devices of its own."""
    name, failed, task = record.name, "Failed to validate job spec", record.per_task
    of_node, of_socket, of_task = (
        f"--gres={name}/--{name}s-per-node",
        f"--{name}s-per-socket",
        f"--{name}s-per-task",
    )
    if record.per_job:
        if record.per_job % task:
            raise Disagreement(f"{failed}, --{name}s not multiple of {of_task}")
        if numbers.tasks is None:
            numbers.tasks = record.per_job // task
        elif numbers.tasks != record.per_job // task:
            raise Disagreement(
                f"{failed}. Based on --{name}s and {of_task} number of requested tasks differ from -n/--ntasks."
            )
    elif numbers.tasks is not None:
        record.per_job = numbers.tasks * task
    elif name == "gpu":
        raise Disagreement(
            f"{failed}. {of_task} used without either --{name}s or -n/--ntasks is not allowed."
        )
    else:
        raise Disagreement(f"{failed}. --tres-per-task used without -n/--ntasks is not allowed.")
    for count, whole, per, given, option in (
        (record.per_node, of_node, "node", numbers.tasks_per_node, "--ntasks-per-node"),
        (record.per_socket, of_socket, "sockets", numbers.tasks_per_socket, "--ntasks-per-socket"),
    ):
        if count and count % task:
            raise Disagreement(f"{failed}, {whole} not multiple of {of_task}.")
        if count and given and given != count // task:
            raise Disagreement(
                f"{failed}. Based on {whole} and {of_task} requested number of tasks per {per} differ from {option}."
            )
    if name == "gpu" and numbers.cpus_per_gpu:
        cpus = numbers.cpus_per_gpu * task
        if numbers.cpus_per_task and numbers.cpus_per_task != cpus:
            raise Disagreement(
                f"{failed}. Based on --cpus-per-{name} and {of_task} requested number of cpus differ from "
                "-c/--cpus-per-task."
            )


def _mixed(asked: dict[tuple[str, str], Asked]) -> bool:
    """Whether devices of a name are counted with a type and without one."""
    return any(
        record.counted and not kind and any(other == name and its for other, its in asked)
        for (name, kind), record in asked.items()
    )
