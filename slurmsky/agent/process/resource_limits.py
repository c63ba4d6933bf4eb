"""Resource limits that a command propagates to its tasks.

name -> (soft, hard), -1 is unlimited. sbatch propagates its limits to the batch script, and srun to its tasks
(PropagateResourceLimits=ALL), unless --propagate selects other limits. The limits of another process of this machine
are read from /proc.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Dict, Mapping, Optional, Tuple

from ... import paths
from ...protocol import wire
from ..net import endpoints
from ..net.channel import Channel

Limits = Dict[str, Tuple[int, int]]
#: variable with the limits of an srun relayed by another agent or the controller, as JSON; removed for tasks
VARIABLE = paths.RLIMITS

_ROWS = {
    "Max cpu time": "CPU",
    "Max file size": "FSIZE",
    "Max data size": "DATA",
    "Max stack size": "STACK",
    "Max core file size": "CORE",
    "Max resident set": "RSS",
    "Max processes": "NPROC",
    "Max open files": "NOFILE",
    "Max locked memory": "MEMLOCK",
    "Max address space": "AS",
}


def of_process(pid: int) -> Limits:
    """Limits of a process by name; empty after its end."""
    found: Limits = {}
    try:
        with open(f"/proc/{pid}/limits", encoding="ascii") as file:
            for line in file:
                name = line[:26].strip()
                if name in _ROWS:
                    soft, hard = (-1 if word == "unlimited" else int(word) for word in line[26:].split()[:2])
                    found[_ROWS[name]] = (soft, hard)
    except (OSError, ValueError):
        return {}
    return found


def propagated(limits: Mapping[str, Tuple[int, int]], option: Optional[str]) -> Limits:
    """Limits that --propagate names; without the option all."""
    if option is None:
        return dict(limits)
    from ...language import rlimits

    names = rlimits.parse(option).names
    return {name: pair for name, pair in limits.items() if name in names}


def of_caller(channel: Channel, request: wire.CommandRequest) -> Optional[Limits]:
    """Limits of the srun that sent a request, or None."""
    if endpoints.peer_pid(channel.sock) == request.pid:
        return of_process(request.pid)
    text = request.env.get(VARIABLE)
    return {name: (soft, hard) for name, (soft, hard) in json.loads(text).items()} if text else None


def with_limits(channel: Channel, request: wire.CommandRequest) -> bytes:
    """Return the request with the caller's limits, for another agent."""
    found = of_caller(channel, request)
    if found is None:
        return request.to_payload()
    return dataclasses.replace(request, env={**request.env, VARIABLE: json.dumps(found)}).to_payload()
