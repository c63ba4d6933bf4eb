"""Adapts a launch to a warm node: script, folder, environment. Pure, except for reading the script."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ...agent.cloud.cloud_environment import job_environment
from ...agent.cloud.node_info import allocated_gpus
from ...agent.job.environment import VISIBLE
from ...model.allocation import Launch, NodeShare
from ...protocol.messages import NodeEnvironment

_SCRIPTS_KEPT = 256


class Scripts:
    """Cache of spooled scripts by path: digest and bytes. A script is read once, because it may delete itself later."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, bytes]] = {}

    def read(self, path: str) -> tuple[str, bytes]:
        """Return (digest, bytes) of a spooled script. Raises OSError."""
        known = self._known.get(path)
        if known is None:
            if len(self._known) >= _SCRIPTS_KEPT:
                self._known.clear()
            data = Path(path).read_bytes()
            known = self._known[path] = (hashlib.sha256(data).hexdigest()[:32], data)
        return known


class Environments:
    """Environments of jobs, adapted to a node. Elements of an array share one."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, bool, tuple[str, ...], int], tuple[dict[str, str], dict[str, str]]] = {}

    def adapted(
        self,
        user: dict[str, str],
        detected: NodeEnvironment,
        same: bool,
        addresses: tuple[str, ...] = (),
        gpus: int = 0,
    ) -> dict[str, str]:
        """Overlay the node's environment with the user's valid variables.

        ``addresses`` of the job's nodes and its ``gpus`` on one node replace those of the node's bring-up in
        SkyPilot's variables. The node's devices are not visible: a job gets variables for its own.
        """
        key = (id(user), same, addresses, gpus)
        known = self._known.get(key)
        if known is None or known[0] is not user:
            if len(self._known) >= 64:
                self._known.clear()
            home = user.get("HOME", "") if same else detected.environment.get("HOME", "/")
            here: Callable[[str], bool] = lambda path: path in detected.shells or not path.endswith("sh")  # noqa: E731
            node = {name: text for name, text in detected.environment.items() if name not in VISIBLE}
            if addresses and "SKYPILOT_NUM_NODES" in node:
                node |= {"SKYPILOT_NUM_NODES": str(len(addresses)), "SKYPILOT_NODE_IPS": "\n".join(addresses)}
                node |= {"SKYPILOT_NUM_GPUS_PER_NODE": str(gpus)}
            known = self._known[key] = (user, job_environment(user, node, same, home, here))
        return known[1]


def on_devices(launch: Launch, detected: Mapping[str, NodeEnvironment]) -> Launch:
    """Return a copy with the device numbers of each node's allocation.

    A Slurm infra allocates some of a machine's devices; the controller numbers those of a node from 0.
    """
    devices = {node: allocated_gpus(one.environment) for node, one in detected.items()}

    def there(shares: Sequence[NodeShare]) -> list[NodeShare]:
        return [
            dataclasses.replace(
                share, gres={kind: _devices(kind, indices, devices[share.name]) for kind, indices in share.gres.items()}
            )
            for share in shares
        ]

    launch = copy.copy(launch)
    launch.shares = there(launch.shares)
    launch.het = [dataclasses.replace(part, shares=there(part.shares)) for part in launch.het]
    return launch


def _devices(kind: str, indices: tuple[int, ...], devices: tuple[int, ...]) -> tuple[int, ...]:
    if kind.partition(":")[0] != "gpu" or max(indices, default=0) >= len(devices):
        return indices
    return tuple(devices[index] for index in indices)


def adapted(
    launch: Launch, detected: NodeEnvironment, digest: str, environment: dict[str, str], relocation: tuple[str, str]
) -> Launch:
    """Adapt a launch to the node's script and spool paths.

    ``relocation``: a folder of this machine, and its path on the node.
    """
    there = copy.copy(launch)
    home = detected.home
    there.spool = f"{home}/jobs/{launch.job_id}/run{launch.restart_count}"
    if launch.script is not None:
        there.script = f"{home}/scripts/{digest}/slurm_script"
    there.environment = environment
    old, new = relocation
    if old != new:
        for name in ("submit_dir", "work_dir", "stdin", "stdout", "stderr"):
            path = getattr(launch, name)
            if path == old or path.startswith(old + "/"):
                setattr(there, name, new + path[len(old) :])
    return there
