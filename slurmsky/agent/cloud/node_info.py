"""The properties of a cloud node, which it sends to the first node of its job and to the controller."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass


@dataclass(frozen=True)
class CloudNodeInfo:
    """A node of rank ``rank``: its agent's ``address`` (host:port), its host name, and its size."""

    rank: int = 0
    address: str = ""
    host: str = ""
    cpus: int = 1
    memory_mib: int = 1
    arch: str = ""
    os: str = ""
    gpus: tuple[int, ...] = ()  # the devices that its Slurm infra allocated
    given: str = ""  # id of the SkyPilot job on the cluster that started the node's program
    refused: str = ""  # why the node must not be used

    @property
    def ip(self) -> str:
        """The address without the agent's port."""
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The agent's port."""
        return int(self.address.rpartition(":")[2])


def detected(rank: int, host: str, port: int, given: str = "") -> CloudNodeInfo:
    """The info of the node on which this process runs."""
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) // 1024
    devices = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    system = os.uname()
    return CloudNodeInfo(
        rank=rank,
        address="%s:%d" % (host, port),
        host=os.environ.get("SLURMD_NODENAME") or socket.gethostname().split(".")[0],
        cpus=len(os.sched_getaffinity(0)),
        memory_mib=memory,
        arch=system.machine,
        os="%s %s" % (system.sysname, system.release),
        gpus=tuple(int(device) for device in devices if device.isdecimal()),
        given=given,
    )
