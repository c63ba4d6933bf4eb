"""Control groups as files: places for new groups, members, removal.

cgroup v1 has a tree of groups for each controller, v2 one tree for all. On a machine with both, the memory controller
is in one of them. A mount may show a part of a tree (in containers), and the user may own a part (under systemd).
Source: the kernel's admin-guide/cgroup-v1 (memory.rst) and admin-guide/cgroup-v2; cgroups(7).
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from typing import Iterable, Iterator, NamedTuple, Optional

#: prefix of the names of slurmsky's groups
PREFIX = "slurmsky-"
#: file with a group's processes; a process that writes 0 to it joins the group
MEMBERS = "cgroup.procs"
_NESTED = "cgroup.subtree_control"
#: seconds for killed processes to end
_REMOVAL_S = 5.0


class MemoryFiles(NamedTuple):
    """Names of the memory controller's files. ``oom_group``: makes the kernel kill all of a group, or none of it."""

    version: int
    limit: str
    events: str
    oom_group: str


V1 = MemoryFiles(1, "memory.limit_in_bytes", "memory.oom_control", "")
V2 = MemoryFiles(2, "memory.max", "memory.events", "memory.oom.group")


class MemoryPlace(NamedTuple):
    """Group in which this user can create memory-limited groups."""

    folder: str
    files: MemoryFiles

    def make(self, path: str) -> None:
        """Create a group for memory-limited groups. Raises OSError. An existing group stays."""
        if make(path) and self.files is V2:
            write_group_file(os.path.join(path, _NESTED), b"+memory")


def own_group() -> Optional[str]:
    """Folder of this process's group of cgroup v2, if it is writable.

    The groups of slurmsky are removed from the path: a job of another agent may have started this process, and the
    groups of agents must not nest.
    """
    found = _own("")
    return found[1] if found is not None and _writable(found[1]) else None


def memory_place() -> Optional[MemoryPlace]:
    """Return the group in which this user can limit memory, or None.

    v2 gives a group the memory controller if its parent's cgroup.subtree_control names it. No process may be in such a
    parent, unless it is the root of the tree, so this is the nearest group above that already has it enabled, which
    systemd does for its units.
    """
    own = _own("memory")
    if own is not None:
        return MemoryPlace(own[1], V1) if _writable(own[1]) else None
    own = _own("")
    if own is None:
        return None
    mount, folder = own
    while not (_writable(folder) and b"memory" in read(os.path.join(folder, _NESTED)).split()):
        if folder == mount:
            is_root = not os.path.exists(os.path.join(mount, "cgroup.type"))
            enabled = is_root and _writable(mount) and write(os.path.join(mount, _NESTED), b"+memory")
            return MemoryPlace(mount, V2) if enabled else None
        folder = os.path.dirname(folder)
    return MemoryPlace(folder, V2)


def _own(controller: str) -> Optional[tuple[str, str]]:
    """Mount point of a tree, and folder of this process's group."""
    try:
        return find_group(controller, *map(_lines, ("/proc/self/cgroup", "/proc/self/mountinfo")))
    except OSError:
        return None


def _lines(path: str) -> list[str]:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read().splitlines()


def find_group(controller: str, groups: Iterable[str], mounts: Iterable[str]) -> Optional[tuple[str, str]]:
    """Mount point of a tree, and folder of a group there.

    >>> mounts = ["35 31 0:32 /docker/ab /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"]
    >>> find_group("memory", ["4:memory:/docker/ab/ours/slurmsky-0-12/job_7"], mounts)
    ('/sys/fs/cgroup/memory', '/sys/fs/cgroup/memory/ours')
    """
    rows = [line.split(":", 2) for line in groups]
    path = next((row[2] for row in rows if controller in row[1].split(",")), None)
    if path is None:
        return None
    for line in mounts:
        before, _, after = line.partition(" - ")
        (root, mount), what = before.split()[3:5], after.split()
        if what[0] != ("cgroup" if controller else "cgroup2") or controller not in ("", *what[-1].split(",")):
            continue
        if root != "/" and (path + "/").startswith(root + "/"):
            path = path[len(root) :]
        parts = [part for part in path.split("/") if part]
        if ".." in parts:
            return None  # the group is not in the part of the tree that is mounted
        outside = itertools.takewhile(lambda part: not part.startswith(PREFIX), parts)
        return mount, os.path.join(mount, *outside)
    return None


def name_of(agent_socket: str) -> str:
    """Name of the group of the agent at this address."""
    import hashlib

    mark = hashlib.sha256(os.fsencode(agent_socket)).hexdigest()[:12]
    return "%s%d-%s" % (PREFIX, os.geteuid(), mark)


def join(folder: str) -> bool:
    """Move this process into a group; False on error."""
    return write(os.path.join(folder, MEMBERS), b"0")


def _writable(folder: str) -> bool:
    return os.access(os.path.join(folder, MEMBERS), os.W_OK)


def subgroups(folder: str) -> Iterator[str]:
    """Yield the groups below a group and the group itself, lowest first."""
    for parent, _, _ in os.walk(folder, topdown=False):
        yield parent


def members(folder: str) -> list[int]:
    """Processes of a group, without those of groups below it."""
    return [int(word) for word in read(os.path.join(folder, MEMBERS)).split()]


def kill_all(folder: str) -> None:
    """Kill all processes of a group and of those below it.

    Waits for their end. Source: cgroup.kill of 5.14.
    """
    deadline = time.monotonic() + _REMOVAL_S
    while True:
        left = [pid for group in subgroups(folder) for pid in members(group)]
        if not left or time.monotonic() > deadline:
            return
        if not write(os.path.join(folder, "cgroup.kill"), b"1"):
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    continue  # the process has ended
        time.sleep(0.01)


def make(folder: str) -> bool:
    """Create a group; False if it exists. Raises OSError."""
    try:
        os.mkdir(folder)
    except FileExistsError:
        return False
    return True


def rmdir(folder: str) -> bool:
    """Remove an empty group; False if it has processes or groups."""
    try:
        os.rmdir(folder)
    except OSError:
        return False
    return True


def remove(folder: str) -> bool:
    """Remove a group with the groups below it. Return False if a group remains, because it has processes."""
    if rmdir(folder):
        return True
    for group in subgroups(folder):
        rmdir(group)
    return not os.path.exists(folder)


def read(path: str) -> bytes:
    """Return the content of a group's file; empty if unreadable."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def write(path: str, data: bytes) -> bool:
    """Write to a group's file; False on error."""
    try:
        write_group_file(path, data)
        return True
    except OSError:
        return False


def write_group_file(path: str, data: bytes) -> None:
    """Write to a group's file. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
