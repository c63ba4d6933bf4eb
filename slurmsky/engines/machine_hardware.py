"""Hardware of this machine, from the kernel's files and nvidia-smi."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

from ..site.record import MachineHardware


def detect() -> MachineHardware:
    """Detect host name, usable CPUs, memory and GPUs of this machine."""
    logical = len(os.sched_getaffinity(0))
    threads = max(1, (os.cpu_count() or logical) // (len(_topology("thread_siblings_list")) or logical))
    if logical % threads:
        threads = 1
    sockets = len(_topology("physical_package_id")) or 1
    cores = logical // threads
    if cores % sockets:
        sockets = 1
    memory, limit = _memory(), _cgroup_memory()
    system = os.uname()
    return MachineHardware(
        host_name=socket.gethostname(),
        cpus=logical,
        sockets=sockets,
        cores=cores // sockets,
        threads=threads,
        memory_mib=min(memory, limit or memory) >> 20,
        gpus=_gpus(),
        tmp_mib=shutil.disk_usage("/tmp").total >> 20,
        arch=system.machine,
        os=f"{system.sysname} {system.release} {system.version}",
    )


def _topology(name: str) -> set[str]:
    """Distinct values of a topology file of all CPUs; empty if the kernel does not show it."""
    return {path.read_text() for path in Path("/sys/devices/system/cpu").glob(f"cpu[0-9]*/topology/{name}")}


def _memory() -> int:
    """Bytes of memory. A container may replace /proc/meminfo."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("MemTotal:")).split()[1]) << 10


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
