"""One cgroup v2 per agent, used to kill the jobs of a dead agent.

Without the permission to create a cgroup, the class has no effect. A job's processes may change their session and
environment, but stay in the group; after the agent's death one
write kills them all. A live agent finds a job's processes by descent (it is a subreaper), session and environment. An
agent's jobs end with the agent, so one group for all jobs is enough. It costs nothing per job, because children
inherit the group. Source: the kernel's admin-guide/cgroup-v2 (cgroup.procs; cgroup.kill since Linux 5.14).
"""

from __future__ import annotations

import os
import signal
import time
from typing import Optional


class Cgroup:
    """The cgroup of the agent that listens at ``agent_socket``; without effect if none can be created."""

    def __init__(self, agent_socket: str) -> None:
        self._parent = own_group()
        self._folder: Optional[str] = None
        if self._parent is None:
            return
        import hashlib

        mark = hashlib.sha256(os.fsencode(agent_socket)).hexdigest()[:12]
        folder = os.path.join(self._parent, "slurmsky-%d-%s" % (os.geteuid(), mark))
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError:
            return  # this user may not create the group
        self._folder = folder

    def take_over(self) -> None:
        """Kill the processes that an earlier agent left in the group, then join the group."""
        if self._folder is None:
            return
        if self._members():
            if not _write(os.path.join(self._folder, "cgroup.kill"), b"1"):
                for pid in self._members():
                    _kill(pid)
            deadline = time.monotonic() + 5
            while self._members() and time.monotonic() < deadline:
                time.sleep(0.01)
        _write(os.path.join(self._folder, "cgroup.procs"), b"0")

    def step_out(self) -> None:
        """Move this process back to its original group."""
        if self._folder is not None and self._parent is not None:
            _write(os.path.join(self._parent, "cgroup.procs"), b"0")

    def leave(self) -> None:
        """Move back to the original group, and remove the agent's group when it is empty."""
        if self._folder is None:
            return
        self.step_out()
        try:
            os.rmdir(self._folder)
        except OSError:
            return  # a process is still ending; the next agent of the node uses the group again

    def _members(self) -> list[int]:
        assert self._folder is not None
        try:
            with open(os.path.join(self._folder, "cgroup.procs"), encoding="ascii") as lines:
                return [int(line) for line in lines]
        except OSError:
            return []


def own_group() -> Optional[str]:
    """The folder of this process's cgroup v2, when it is mounted and writable."""
    try:
        with open("/proc/self/cgroup", encoding="ascii") as lines:
            paths = [line.rstrip("\n")[3:] for line in lines if line.startswith("0::")]
        with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as lines:
            fields = [line.split() for line in lines]
    except OSError:
        return None
    for mount in (words[1] for words in fields if len(words) > 2 and words[2] == "cgroup2"):
        for path in paths:
            # A job of another agent may have started the controller of this agent: the agents' groups must not nest.
            outside = [part for part in path.split("/") if part and not part.startswith("slurmsky-")]
            folder = os.path.join(mount, *outside)
            if os.access(os.path.join(folder, "cgroup.procs"), os.W_OK):
                return folder
    return None


def _write(path: str, data: bytes) -> bool:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(fd, data)
        return True
    except OSError:
        return False
    finally:
        os.close(fd)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return  # the process has ended
