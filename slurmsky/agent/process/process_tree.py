"""Process trees in /proc, and signals to them."""

from __future__ import annotations

import os
import time
from typing import Iterable, NamedTuple, Optional

_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """Direct children of a process; empty after its end."""
    found: list[int] = []
    try:
        threads = os.listdir("/proc/%d/task" % pid)
    except OSError:
        return found
    for thread in threads:
        try:
            with open("/proc/%d/task/%s/children" % (pid, thread), "rb") as file:
                found += map(int, file.read().split())
        except FileNotFoundError:
            if not os.path.exists("/proc/self/task/%d/children" % os.getpid()):
                return _children_by_scan(pid)  # a kernel without CONFIG_PROC_CHILDREN
        except OSError:
            continue
    return found


_children_file = -1


def own_children() -> list[int]:
    """Direct children of this process. Read from its only thread, because the agent calls this often."""
    global _children_file
    if _children_file < 0:
        try:
            _children_file = os.open("/proc/self/task/%d/children" % os.getpid(), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return _children_by_scan(os.getpid())
    data, offset = b"", 0
    while True:
        piece = os.pread(_children_file, 1 << 16, offset)
        if not piece:
            return list(map(int, data.split()))
        data += piece
        offset += len(piece)


def _children_by_scan(parent: int) -> list[int]:
    return [pid for pid in all_pids() if (fields := stat(pid)) is not None and fields.parent == parent]


def all_pids() -> list[int]:
    """The pids of all visible processes of the machine."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def tree(roots: Iterable[int]) -> list[int]:
    """Processes and all their descendants, parents first."""
    found: list[int] = []
    seen: set[int] = set()
    queue = list(roots)[::-1]
    while queue:
        pid = queue.pop()
        if pid not in seen:
            seen.add(pid)
            found.append(pid)
            queue += children(pid)
    return found


class Stat(NamedTuple):
    """Fields of /proc/PID/stat. Times are in clock ticks, the start since boot."""

    state: str
    parent: int
    session: int
    user_ticks: int
    system_ticks: int
    start_ticks: int
    vsize: int
    rss_pages: int
    major_faults: int
    ended_user_ticks: int  # of reaped children, and of their descendants
    ended_system_ticks: int


def stat(pid: int) -> Optional[Stat]:
    """Read /proc/PID/stat; None if the process has ended."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return Stat(
        fields[0].decode(),
        int(fields[1]),
        int(fields[3]),
        int(fields[11]),
        int(fields[12]),
        int(fields[19]),
        int(fields[20]),
        int(fields[21]),
        int(fields[9]),
        int(fields[13]),
        int(fields[14]),
    )


def start_time(fields: Stat) -> float:
    """Start time of a process, in seconds of ``now_boot``."""
    return fields.start_ticks / _CLOCK_TICKS


def now_boot() -> float:
    """Seconds since boot, suspended time included. The clock of process start times."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def environment_of(pid: int) -> dict[bytes, bytes]:
    """Environment of a process at its exec; empty if unreadable."""
    try:
        with open("/proc/%d/environ" % pid, "rb") as file:
            data = file.read()
    except OSError:
        return {}
    return dict(item.partition(b"=")[::2] for item in data.split(b"\0") if item)


def send(pids: Iterable[int], number: int) -> int:
    """Signal processes; return the number that existed."""
    count = 0
    for pid in pids:
        try:
            os.kill(pid, number)
            count += 1
        except (ProcessLookupError, PermissionError):
            continue
    return count
