"""Binds tasks to CPUs and memory nodes: --cpu-bind, --mem-bind, --hint.

srun converts its options to a TaskBinding, which the plan of each node contains; the node assigns its own CPUs to the
tasks, and each new process binds itself. Without any of these options tasks are bound only with
TaskPlugin=task/affinity, which binds batch scripts, too.
Source: task/affinity (dist_tasks.c, affinity.c, numa.c), cpu_management.html.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections import deque
from dataclasses import dataclass, field
from typing import Callable, Optional, Sequence

from ...model.spec import JobSpec
from ...protocol.step_plan import TaskBinding
from ..process.topology import Cpu

#: --hint -> (unit of the binding, one thread of each core). Source: the oracle's SLURM_CPU_BIND_TYPE.
_HINTS = {
    "compute_bound": ("cores", True),
    "memory_bound": ("cores", True),
    "multithread": ("threads", False),
    "nomultithread": ("threads", True),
}
_UNITS: dict[str, Callable[[Cpu], int]] = {
    "threads": lambda cpu: cpu.number,
    "cores": lambda cpu: cpu.core,
    "sockets": lambda cpu: cpu.socket,
    "ldoms": lambda cpu: cpu.ldom,
}
#: the word of each method in messages; automatic methods are masks there
_WORDS = {"map_cpu": "MAP ", "mask_ldom": "LDMASK", "map_ldom": "LDMAP ", "rank_ldom": "LDRANK"}
_MEMORY_WORDS = {"rank": "RANK", "local": "LOC", "map_mem": "MAP", "mask_mem": "MASK", "none": "NONE"}
#: set_mempolicy(2)
_SYSCALLS = {"x86_64": 238, "aarch64": 237, "ppc64le": 261, "s390x": 270}
_MPOL_PREFERRED, _MPOL_BIND, _MPOL_LOCAL = 1, 2, 4
_INFINITE16 = 65535


class BindingRefused(Exception):
    """The tasks cannot be bound as requested. The text is Slurm's."""


# --- srun's side


def _requested(spec: JobSpec) -> tuple[str, str, tuple[str, ...], bool, bool]:
    """Return (unit, method, list, verbose, one thread per core). No unit and no method: automatic."""
    from ...language import cpubind

    unit, single = _HINTS.get(spec.hint or "", ("", False))
    single = single or spec.threads_per_core == 1
    if not unit:
        tasks = (("cores", spec.ntasks_per_core), ("sockets", spec.ntasks_per_socket))
        unit = "threads" if spec.threads_per_core else next((unit for unit, number in tasks if number), "")
    if not spec.cpu_bind or spec.cpu_bind == "quiet":
        return unit, "", (), False, single
    bind = cpubind.parse(spec.cpu_bind)
    if bind.to or bind.how:
        unit = bind.to
    return unit, bind.how, bind.values, bind.verbose, single or bind.one_thread


def task_binding(spec: JobSpec, affinity: bool = False) -> Optional[TaskBinding]:
    """Return the binding options for the nodes, or None. ``affinity``: tasks are always bound."""
    unit, how, values, verbose, single = _requested(spec)
    memory = spec.mem_bind if spec.mem_bind not in (None, "quiet") else None
    if not (unit or how or verbose or memory or affinity):
        return None
    second = (spec.distribution or "").lower().split(",")[0].partition(":")[2].partition(":")[0]
    return TaskBinding(
        unit=unit,
        method=how,
        values=values,
        verbose=verbose,
        one_thread=single,
        explicit=spec.cpu_bind is not None,
        per_task=spec.cpus_per_task or 1,
        order=second if second in ("block", "fcyclic") else "cyclic",
        memory=memory,
        affinity=affinity,
    )


def environment(spec: JobSpec) -> dict[str, str]:
    """Variables of the tasks about CPU and memory binding.

    SLURM_CPU_BIND*, SLURM_MEM_BIND* and the variables of --hint. Source: env.c setup_env.
    """
    env: dict[str, str] = {}
    unit, how, values, verbose, _ = _requested(spec)
    if spec.cpu_bind or unit:
        kind = how + (":" if values else "") if how else unit
        env.update(_variables("SLURM_CPU_BIND", verbose, kind, _listed(values)))
    if spec.hint in _HINTS and spec.hint != "multithread":
        env["SLURM_THREADS_PER_CORE"] = "1"
    elif spec.hint == "multithread":
        env["SLURM_NTASKS_PER_CORE"] = str(_INFINITE16)
    if spec.mem_bind:
        from ...language import membind

        memory = membind.parse(spec.mem_bind)
        kind = memory.how + (":" if memory.values else "")
        env.update(_variables("SLURM_MEM_BIND", memory.verbose, kind, _listed(memory.values)))
        if memory.prefer:
            env["SLURM_MEM_BIND_PREFER"] = "prefer"
            env["SLURM_MEM_BIND"] = env["SLURM_MEM_BIND"].replace(",", ",prefer,", 1)
        if memory.sort:
            env["SLURM_MEM_BIND_SORT"] = "sort"
    return env


def _listed(values: Sequence[str]) -> str:
    return ",".join(value[2:] if value.lower().startswith("0x") else value for value in values)


def _variables(name: str, verbose: bool, kind: str, values: str) -> dict[str, str]:
    word = "verbose" if verbose else "quiet"
    return {
        name: word + ("," + kind + values if kind else ""),
        name + "_LIST": values,
        name + "_TYPE": kind,
        name + "_VERBOSE": word,
    }


# --- the node's side


def lay_out(request: TaskBinding, cpus: Sequence[Cpu], tasks: int) -> list[frozenset[int]]:
    """Return the CPU numbers of each task.

    Raises BindingRefused.

    >>> machine = [Cpu(n, n // 2, n // 4, 0) for n in range(8)]
    >>> binding = task_binding(JobSpec(cpu_bind="cores")).evolve(cpus=range(8))
    >>> [sorted(mask) for mask in lay_out(binding, machine, 2)]
    [[0, 1], [4, 5]]
    """
    mine = [cpus[index] for index in request.cpus if index < len(cpus)]
    how = request.method
    whole = frozenset(cpu.number for cpu in mine)
    if how == "none":
        return [whole] * tasks
    if how in ("map_cpu", "mask_cpu"):
        wanted = [{int(text, 0)} if how == "map_cpu" else _bits(text) for text in request.values]
        if any(not mask or not mask <= whole for mask in wanted):
            raise BindingRefused(
                "CPU binding outside of job step allocation, allocated CPUs are: %s." % ("0x%X" % _mask(whole))
            )
        return [frozenset(wanted[local % len(wanted)]) for local in range(tasks)]
    if how in ("rank_ldom", "map_ldom", "mask_ldom"):
        return _memory_domains(request, cpus, mine, tasks)
    if request.one_thread:
        first: dict[int, Cpu] = {}
        for cpu in mine:
            first.setdefault(cpu.core, cpu)
        mine = list(first.values())
    unit = request.unit or _automatic(mine, tasks * request.per_task)
    if not unit:
        return [whole] * tasks
    key = _UNITS[unit]
    masks = []
    for own in _assign_cpus(mine, tasks, request.per_task, request.order):
        units = {key(cpu) for cpu in own}
        masks.append(frozenset(cpu.number for cpu in mine if key(cpu) in units))
    return masks


def _automatic(mine: Sequence[Cpu], wanted: int) -> str:
    """Return the unit whose count is the number of CPUs, or "". "": no unit fits, so tasks are not bound."""
    for unit in ("sockets", "cores", "threads"):
        if len({_UNITS[unit](cpu) for cpu in mine}) == wanted:
            return unit
    return ""


def _memory_domains(request: TaskBinding, cpus: Sequence[Cpu], mine: Sequence[Cpu], tasks: int) -> list[frozenset[int]]:
    domains = sorted({cpu.ldom for cpu in cpus})
    values = request.values
    masks = []
    for local in range(tasks):
        if request.method == "mask_ldom":
            wanted = _bits(values[local % len(values)])
        else:
            index = int(values[local % len(values)], 0) if values else local
            wanted = {domains[index % len(domains)]}
        masks.append(frozenset(cpu.number for cpu in mine if cpu.ldom in wanted))
    if not all(masks):
        raise BindingRefused(
            "CPU binding outside of job step allocation, allocated CPUs are: 0x%X."
            % _mask(frozenset(cpu.number for cpu in mine))
        )
    return masks


def _assign_cpus(mine: Sequence[Cpu], tasks: int, per_task: int, order: str) -> list[list[Cpu]]:
    """Assign CPUs to tasks, by the second word of -m. Tasks wrap around if they exceed the CPUs."""
    hands: list[list[Cpu]] = []
    piles: deque[deque[Cpu]] = deque()
    for _ in range(tasks):
        hand: list[Cpu] = []
        while len(hand) < per_task:
            if not piles:
                groups: dict[int, deque[Cpu]] = {}
                for cpu in mine:
                    groups.setdefault(0 if order == "block" else cpu.socket, deque()).append(cpu)
                piles = deque(groups.values())
                if hand:
                    break  # the task has all CPUs
            hand.append(piles[0].popleft())
            if not piles[0]:
                piles.popleft()
            elif order == "fcyclic":
                piles.rotate(-1)
        if order == "cyclic" and len(piles) > 1:
            piles.rotate(-1)
        hands.append(hand)
    return hands


def _bits(text: str) -> set[int]:
    number = int(text, 16)
    return {bit for bit in range(number.bit_length()) if number >> bit & 1}


def _mask(numbers: frozenset[int]) -> int:
    return sum(1 << number for number in numbers)


@dataclass
class Binding:
    """Binding of one task. ``apply`` is called in its process before the program starts."""

    node: str
    rank: int
    local: int
    request: TaskBinding
    cpus: frozenset[int]  # as assigned, including CPUs that the machine lacks
    real: frozenset[int]  # the assigned CPUs that the machine has
    environment: dict[str, str] = field(default_factory=dict)  # SLURM_CPU_BIND* of all tasks bound by task/affinity

    def apply(self) -> None:
        """Bind this process. The binding is reported on stderr if verbose, a failure always."""
        request = self.request
        if request.unit or request.method or request.verbose or request.affinity:
            bound = request.method != "none"
            ok = not bound or self._bind_cpus()
            if request.verbose:
                word = "NONE" if not bound else _WORDS.get(request.method, "MASK")
                mask = self.cpus if ok and bound else frozenset(os.sched_getaffinity(0))
                self._report("cpu-bind=" + word, _mask(mask), bound, "" if ok else " FAILED")
        if request.memory:
            self._bind_memory(request.memory)

    def _bind_cpus(self) -> bool:
        try:
            os.sched_setaffinity(0, self.real)
        except (OSError, ValueError):
            if self.request.explicit and not self.request.verbose:
                _say(
                    "slurmstepd-%s: error: task %d is not bound: this machine has no CPU of the mask 0x%X\n"
                    % (self.node, self.rank, _mask(self.cpus))
                )
            return False
        return True

    def _report(self, what: str, mask: int, bound: bool, status: str) -> None:
        _say(
            "%s - %s, task %2u %2u [%u]: mask 0x%X%s%s\n"
            % (what, self.node, self.rank, self.local, os.getpid(), mask, " set" if bound else "", status)
        )

    def _bind_memory(self, options: str) -> None:
        from ...language import membind

        bind = membind.parse(options)
        values, how = bind.values, bind.how
        nodes = 0
        if how == "map_mem":
            nodes = 1 << int(values[self.local % len(values)], 0)
        elif how == "mask_mem":
            nodes = int(values[self.local % len(values)], 16)
        elif how == "rank":
            nodes = 1 << self.local
        bound = how not in ("", "none")
        fault = ""
        if bound:
            mode = _MPOL_LOCAL if how == "local" else _MPOL_PREFERRED if bind.prefer else _MPOL_BIND
            fault = set_memory_policy(mode, nodes)
            if fault and not bind.verbose:
                _say("slurmstepd-%s: error: set_mempolicy(): %s\n" % (self.node, fault))
        if bind.verbose:
            word = ("= PREFER " if bind.prefer else "=") + _MEMORY_WORDS.get(how, "NULL")
            self._report("mem-bind" + word, nodes or 1, bound, " FAILED" if fault else "")


def _say(text: str) -> None:
    os.write(2, text.encode())


def set_memory_policy(mode: int, nodes: int) -> str:
    """Call set_mempolicy(2) for this process; return "" or the error. Children inherit the policy."""
    number = _SYSCALLS.get(platform.machine())
    if number is None:
        return "not known for %s" % platform.machine()
    libc = ctypes.CDLL(None, use_errno=True)
    mask = ctypes.c_ulong(nodes)
    # The kernel subtracts one from the number of bits.
    pointer, bits = (ctypes.byref(mask), 8 * ctypes.sizeof(mask) + 1) if nodes else (None, 0)
    if libc.syscall(number, mode, pointer, bits):
        return os.strerror(ctypes.get_errno())
    return ""


def of_step(request: TaskBinding, cpus: Sequence[Cpu], node: str, ranks: Sequence[int]) -> list[Binding]:
    """The bindings of a node's tasks. Raises BindingRefused."""
    real = {cpu.number for cpu in cpus if cpu.real}
    if request.affinity and request.method == "none" and len(request.cpus) < len(cpus):
        request = request.evolve(method="")  # a job of a part of the node keeps to its CPUs
    masks = lay_out(request, cpus, len(ranks))
    env: dict[str, str] = {}
    if request.affinity and not request.method:
        listed = list(map(hex, map(_mask, masks if len(set(masks)) > 1 else masks[:1])))
        env = _variables("SLURM_CPU_BIND", request.verbose, "mask_cpu:", ",".join(listed))
    return [
        Binding(node, rank, local, request, mask, frozenset(mask & real), env)
        for local, (rank, mask) in enumerate(zip(ranks, masks))
    ]
