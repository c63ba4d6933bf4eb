"""Size, price and pilots of an existing SkyPilot cluster.

A partition uses its nodes by a pilot, which is one job on the cluster for each user of the partition.
Source: sky/core.py status, cost_report and queue; sky/schemas/api/responses.py (0.14.1).
"""

from __future__ import annotations

import ast
import getpass
import hashlib
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from ....agent.cloud.node_info import CloudNodeInfo
from ..api.api_client import Client
from .prices import read_bills

#: a pilot's job on the cluster: partition, digest of the owner, end of the order's id
_PILOT = re.compile(r"slurmsky-.+-([0-9a-f]{8})-[0-9a-f]{6}")
#: states of a job that has the resources that it requests
_HOLDS = ("SETTING_UP", "RUNNING")


@dataclass(frozen=True)
class ExistingCluster:
    """Number and size of a cluster's nodes; 0 and "": not reported by SkyPilot."""

    nodes: int = 0
    cpus: int = 0
    memory_mib: int = 0
    gpu: str = ""  # SkyPilot's name of the GPUs
    gpus: int = 0  # of one node

    @property
    def resources(self) -> dict[str, Any]:
        """Resources of a task that uses all devices of the nodes.

        SkyPilot hides devices that a task does not request. {} without devices: such a task runs on any cluster.
        """
        return {"accelerators": f"{self.gpu}:{self.gpus}"} if self.gpus else {}

    def narrowed(self, info: CloudNodeInfo) -> CloudNodeInfo:
        """Limit a node's info to the size that SkyPilot states.

        A container sees the memory and CPUs of its whole machine.
        """
        return replace(
            info,
            cpus=min(info.cpus, self.cpus or info.cpus),
            memory_mib=min(info.memory_mib, self.memory_mib or info.memory_mib),
            gpus=info.gpus or tuple(range(self.gpus)),
            gpu_kind=self.gpu.lower(),
        )

    def objection(self, name: str, nodes: int) -> str:
        """Describe a wrong number of ``nodes`` in a partition; "" if it is right."""
        if not self.nodes or self.nodes == nodes:
            return ""
        return f"number of nodes in the partition: {nodes}, in cluster {name}: {self.nodes}"


def read(row: Mapping[str, Any]) -> ExistingCluster:
    """The cluster of a row of SkyPilot's status.

    >>> read({"nodes": 2, "cpus": "4+", "memory": "16.0", "accelerators": "{'H100': 8}"})
    ExistingCluster(nodes=2, cpus=4, memory_mib=16384, gpu='H100', gpus=8)
    """
    accelerators = row.get("accelerators")
    if isinstance(accelerators, str):
        with suppress(ValueError, SyntaxError):
            accelerators = ast.literal_eval(accelerators)
    gpu, gpus = next(iter(accelerators.items()), ("", 0)) if isinstance(accelerators, Mapping) else ("", 0)
    return ExistingCluster(
        nodes=int(_number(row.get("nodes"))),
        cpus=int(_number(row.get("cpus"))),
        memory_mib=int(_number(row.get("memory")) * 1024),
        gpu=str(gpu),
        gpus=int(gpus),
    )


def owner() -> str:
    """The user for whom a pilot reserves its nodes."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def pilot_name(partition: str, order: str) -> str:
    """Name of an order's job on its cluster; unique there."""
    return f"slurmsky-{partition}-{hashlib.sha256(owner().encode()).hexdigest()[:8]}-{order[-6:]}"


async def jobs(client: Client, cluster: str, *, everyone: bool) -> list[Mapping[str, Any]]:
    """Unfinished jobs of a cluster, of this user or of ``everyone``. Raises SkyError."""
    body = {"cluster_name": cluster, "skip_finished": True, "all_users": everyone}
    return [job for job in await client.call("/queue", body) or () if isinstance(job, Mapping)]


def other_owner(rows: list[Mapping[str, Any]], mine: str) -> str:
    """User whose pilot runs for another owner than ``mine``. "" if there is none."""
    me = _PILOT.fullmatch(mine)
    for row in rows:
        pilot = _PILOT.fullmatch(str(row.get("job_name")))
        if pilot and me and pilot[1] != me[1] and _status(row) in _HOLDS:
            return str(row.get("username") or "another user")
    return ""


def holders(rows: list[Mapping[str, Any]], mine: str) -> str:
    """The jobs that hold a cluster's resources, without ``mine``."""
    running = [row for row in rows if _status(row) in _HOLDS and row.get("job_name") != mine]
    return ", ".join(f"job {row.get('job_id')} ({row.get('job_name')}) of {row.get('username')}" for row in running)


def _status(row: Mapping[str, Any]) -> str:
    return str(row.get("status")).rpartition(".")[2]


async def node_price(client: Client, name: str, nodes: int) -> float:
    """Dollars an hour of a node of a cluster; 0.0: no price. Raises SkyError."""
    bill = (await read_bills(client, [name])).get(name)
    return bill.hourly / nodes if bill is not None and bill.open else 0.0


def _number(value: Any) -> float:
    try:
        return float(str(value).rstrip("+"))
    except ValueError:
        return 0.0
