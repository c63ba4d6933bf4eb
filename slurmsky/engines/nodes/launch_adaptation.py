"""Adapts a launch to a warm node: script, folder, environment.

Pure, except for reading the script.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from pathlib import Path

from ...agent.cloud.cloud_environment import job_environment
from ...model.allocation import Launch
from ...protocol.messages import NodeEnvironment

_SCRIPTS_KEPT = 256


class Scripts:
    """Cache of spooled scripts by path: digest and bytes.

    A script is read once, because it may delete itself later.
    """

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
    """Environments of jobs, adapted to a node.

    Elements of an array share one.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, bool, tuple[str, ...]], tuple[dict[str, str], dict[str, str]]] = {}

    def adapted(
        self, user: dict[str, str], detected: NodeEnvironment, same: bool, addresses: tuple[str, ...] = ()
    ) -> dict[str, str]:
        """Overlay the node's environment with the user's valid variables.

        ``addresses``: of the job's nodes, which replace those of the node's bring-up in SkyPilot's variables.
        """
        key = (id(user), same, addresses)
        known = self._known.get(key)
        if known is None or known[0] is not user:
            if len(self._known) >= 64:
                self._known.clear()
            home = user.get("HOME", "") if same else detected.environment.get("HOME", "/")
            here: Callable[[str], bool] = lambda path: path in detected.shells or not path.endswith("sh")  # noqa: E731
            node = dict(detected.environment)
            if addresses and "SKYPILOT_NUM_NODES" in node:
                node |= {"SKYPILOT_NUM_NODES": str(len(addresses)), "SKYPILOT_NODE_IPS": "\n".join(addresses)}
            known = self._known[key] = (user, job_environment(user, node, same, home, here))
        return known[1]


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
