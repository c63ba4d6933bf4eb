"""The CPUs of this machine, and which of them stand for a node's abstract ones."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache

_CPUS = "/sys/devices/system/cpu"
_NODES = "/sys/devices/system/node"


@dataclass(frozen=True)
class Cpu:
    """One logical CPU. ``number`` is the kernel's; an imaginary one is configured but not in this machine."""

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
    """The kernel's lists of CPUs: "0-3,8"."""
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
    """CPUs that we may use, threads of a core side by side and cores of a socket too: Slurm's abstract order."""
    ldoms = _memory_nodes()
    cpus = []
    for number in os.sched_getaffinity(0):
        folder = "%s/cpu%d/topology" % (_CPUS, number)
        socket = max(0, _number(folder + "/physical_package_id", 0))
        # Cores are numbered anew in each socket.
        core = socket << 16 | max(0, _number(folder + "/core_id", number))
        cpus.append(Cpu(number, core, socket, ldoms.get(number, 0)))
    return tuple(sorted(cpus, key=lambda cpu: (cpu.socket, cpu.core, cpu.number)))


def node(count: int) -> tuple[Cpu, ...]:
    """The ``count`` CPUs of a node on this machine: abstract CPU i is the i-th.

    A node may be configured larger than the machine is (tests on a laptop): the rest is imaginary, each CPU
    a core of the last socket, under numbers that the machine does not have.
    """
    real = machine()[: count or None]
    first = max((cpu.number for cpu in machine()), default=-1) + 1
    last = real[-1] if real else Cpu(0, 0, 0, 0)
    more = range(first, first + count - len(real))
    return real + tuple(Cpu(number, 1 << 24 | number, last.socket, last.ldom, real=False) for number in more)
