"""Properties of a cloud node. The node sends them to the first node of its job and to the controller."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class CloudNodeInfo:
    """A node's rank, agent address (host:port), host name and size."""

    rank: int = 0
    address: str = ""
    host: str = ""
    cpus: int = 1
    memory_mib: int = 1
    arch: str = ""
    os: str = ""
    gpus: tuple[int, ...] = ()  # the devices that its Slurm infra allocated
    gpu_kind: str = ""  # of the nodes of an existing cluster
    given: str = ""  # id of the SkyPilot job on the cluster that started the node's program
    refused: str = ""  # reason for which the node must not be used

    @property
    def ip(self) -> str:
        """Return the address without the agent's port."""
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Return the agent's port."""
        return int(self.address.rpartition(":")[2])


def detected(rank: int, host: str, port: int, given: str = "") -> CloudNodeInfo:
    """Detect the properties of this process's node."""
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) // 1024
    system = os.uname()
    return CloudNodeInfo(
        rank=rank,
        address="%s:%d" % (host, port),
        host=os.environ.get("SLURMD_NODENAME") or socket.gethostname().split(".")[0],
        cpus=len(os.sched_getaffinity(0)),
        memory_mib=memory,
        arch=system.machine,
        os="%s %s" % (system.sysname, system.release),
        gpus=allocated_gpus(os.environ),
        given=given,
    )


def allocated_gpus(environment: Mapping[str, str]) -> tuple[int, ...]:
    """Device numbers that a Slurm infra allocated. They are in the environment of this node's program.

    () where the infra is not Slurm: all devices of the node can be used.
    """
    devices = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return tuple(int(device) for device in devices if device.isdecimal())
