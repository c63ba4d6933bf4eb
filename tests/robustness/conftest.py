"""Shared fixtures: a site of two small nodes, and the processes of controller and agents."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from polling import alive, wait_for

SITE = """
cluster = "robust"
engine = "local"

[[node]]
names = "n[1-2]"
cpus = 8
sockets = 1
cores = 8
memory_mib = 4000

[[partition]]
name = "debug"
nodes = "ALL"
default = true

[limits]
kill_wait_s = 2
{limits}
"""


def pids_with(*words: str) -> list[int]:
    """Processes whose command line contains all these words."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # gone meanwhile
        if all(word in line for word in words) and alive(int(entry)):
            found.append(int(entry))
    return found


def parent(pid: int) -> int:
    """The pid of a process's parent, 0 for a process that has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


class Engine:
    """The processes behind a state folder."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def controller(self) -> int:
        """The controller's pid, 0 when there is none."""
        try:
            pid = int((self.home / "controller.pid").read_text() or 0)
        except (OSError, ValueError):
            return 0
        return pid if pid and alive(pid) else 0

    def agents(self, node: str = "") -> list[int]:
        """Pids of the agents of this state folder, without their children, which have that command line until exec."""
        found = pids_with("slurmsky.agent", str(self.home), f"--node {node}")
        return [pid for pid in found if parent(pid) not in found]

    def kill_controller(self) -> None:
        """kill -9, and wait until the process has ended."""
        pid = self.controller()
        if pid:
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: not alive(pid))

    def faults(self) -> list[str]:
        """Tracebacks in all logs."""
        logs = [self.home / "controller.log", *self.home.glob("nodes/*/agent.log")]
        return [f"{log.name}: {line}" for log in logs if log.exists()
                for line in log.read_text(errors="replace").splitlines()
                if line.startswith("Traceback")]  # fmt: skip


@pytest.fixture
def limits() -> str:
    """Lines for the site file's [limits]; a test module may replace this."""
    return ""


@pytest.fixture
def engine(home: Path, environment: dict[str, str], tmp_path: Path, limits: str) -> Engine:
    """Two nodes of eight CPUs in a state folder of its own."""
    site = tmp_path / "site.toml"
    usual = "" if "min_job_age_s" in limits else "min_job_age_s = 7200\n"
    site.write_text(SITE.format(limits=usual + limits))
    environment["SLURMSKY_SITE"] = str(site)
    return Engine(home)
