"""CPUs of this machine, and their mapping to abstract CPUs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from ...model.allocation import Launch

_CPUS = "/sys/devices/system/cpu"
_NODES = "/sys/devices/system/node"


@dataclass(frozen=True)
class Cpu:
    """A logical CPU with the kernel's ``number``. An imaginary CPU is configured, but not in this machine."""

    number: int
    core: int
    socket: int
    ldom: int
    real: bool = True


def _number(path: str, default: int) -> int:
    try:
        with open(path, "rb") as file:
            return int(file.read())
    except (OSError, ValueError):
        return default


def _parse_list(text: str) -> list[int]:
    """Parse the kernel's list of CPUs: "0-3,8"."""
    numbers: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            numbers += range(int(first), int(last or first) + 1)
    return numbers


def _memory_nodes() -> dict[int, int]:
    """CPU -> memory (NUMA) node."""
    found: dict[int, int] = {}
    try:
        names = os.listdir(_NODES)
    except OSError:
        return found
    for name in names:
        if name.startswith("node") and name[4:].isdecimal():
            try:
                with open("%s/%s/cpulist" % (_NODES, name), encoding="ascii") as file:
                    found.update(dict.fromkeys(_parse_list(file.read()), int(name[4:])))
            except OSError:
                continue
    return found


@lru_cache(maxsize=1)
def machine() -> tuple[Cpu, ...]:
    """CPUs that this process may use, in Slurm's abstract order: by socket, core, then thread."""
    ldoms = _memory_nodes()
    cpus = []
    for number in os.sched_getaffinity(0):
        folder = "%s/cpu%d/topology" % (_CPUS, number)
        socket = max(0, _number(folder + "/physical_package_id", 0))
        # The kernel numbers the cores of each socket from 0.
        core = socket << 16 | max(0, _number(folder + "/core_id", number))
        cpus.append(Cpu(number, core, socket, ldoms.get(number, 0)))
    return tuple(sorted(cpus, key=lambda cpu: (cpu.socket, cpu.core, cpu.number)))


def node(count: int) -> tuple[Cpu, ...]:
    """Return the ``count`` CPUs of a node; the i-th is abstract CPU i.

    A node may be configured larger than the machine (tests on a laptop). The excess CPUs are imaginary: each is a core
    of the last socket, with a number that the machine does not have.
    """
    real = machine()[: count or None]
    first = max((cpu.number for cpu in machine()), default=-1) + 1
    last = real[-1] if real else Cpu(0, 0, 0, 0)
    more = range(first, first + count - len(real))
    return real + tuple(Cpu(number, 1 << 24 | number, last.socket, last.ldom, real=False) for number in more)


def allocated(launch: Launch) -> Optional[frozenset[int]]:
    """CPUs to which a job is bound on its first node, or None.

    A job is bound with TaskPlugin=task/affinity, except on a virtual node.
    """
    share = launch.shares[0]
    if not launch.task_affinity or share.virtual:
        return None
    cpus = node(max(share.cpus_on_node, max(share.cpu_ids, default=0) + 1))
    return frozenset(cpus[index].number for index in share.cpu_ids if cpus[index].real) or None
