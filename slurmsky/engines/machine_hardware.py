"""Hardware of this machine, read with psutil and nvidia-smi."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
from pathlib import Path

import psutil

from ..site.record import MachineHardware


def detect() -> MachineHardware:
    """Detect host name, usable CPUs, memory and GPUs of this machine."""
    logical = len(os.sched_getaffinity(0))
    physical = psutil.cpu_count(logical=False) or logical
    threads = max(1, (psutil.cpu_count() or logical) // physical)
    if logical % threads:
        threads = 1
    sockets = _sockets()
    cores = logical // threads
    if cores % sockets:
        sockets = 1
    memory = psutil.virtual_memory().total
    limit = _cgroup_memory()
    return MachineHardware(
        host_name=socket.gethostname(),
        cpus=logical,
        sockets=sockets,
        cores=cores // sockets,
        threads=threads,
        memory_mib=min(memory, limit or memory) >> 20,
        gpus=_gpus(),
        tmp_mib=shutil.disk_usage("/tmp").total >> 20,
        arch=platform.machine(),
        os=f"{platform.system()} {platform.release()} {platform.version()}",
    )


def _sockets() -> int:
    ids = set()
    for path in Path("/sys/devices/system/cpu").glob("cpu[0-9]*/topology/physical_package_id"):
        ids.add(path.read_text().strip())
    return max(1, len(ids))


def _cgroup_memory() -> int | None:
    try:
        text = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def _gpus() -> tuple[str, ...]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        answer = subprocess.run(
            [program, "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip().lower().replace(" ", "_") for line in answer.stdout.splitlines() if line.strip())
