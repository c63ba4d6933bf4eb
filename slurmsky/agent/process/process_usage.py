"""Resource usage of processes. Samples of /proc while they run, wait4's values at their end."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Iterable, Optional, Sequence

from ...model.step import NodeSeries, Usage
from . import process_tree
from .gpu_watch import GpuWatch
from .usage_series import UsageSeries

if TYPE_CHECKING:
    import resource

    from ..net.event_loop import Loop, Timer

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
#: seconds between samples; less than Slurm's JobAcctGatherFrequency of 30, because sstat uses them, too
INTERVAL_S = 5.0
#: seconds before the first sample of a task: early, so that a short task has a VMSize
FIRST_S = 0.5


@dataclass
class TaskUsage:
    """Usage of one task with its descendants. Sizes in bytes, times in seconds; maxima over the task's run time."""

    user_s: float = 0.0
    system_s: float = 0.0
    max_rss: int = 0
    max_vmsize: int = 0
    pages: int = 0
    disk_read: int = 0
    disk_write: int = 0

    def to_list(self) -> list[float]:
        """The values in the order of the fields, for messages."""
        return list(self.__dict__.values())

    def raise_to(self, **values: float) -> None:
        """Raise fields to larger values."""
        for name, value in values.items():
            if value > self.__dict__[name]:
                self.__dict__[name] = value

    @classmethod
    def from_list(cls, values: list[float]) -> TaskUsage:
        """Inverse of to_list."""
        return cls(values[0], values[1], *(int(value) for value in values[2:]))


def sample(pid: int) -> Optional[TaskUsage]:
    """Sample a task's process tree; None if the task has ended."""
    total = TaskUsage()
    found = False
    for member in process_tree.tree([pid]):
        fields = process_tree.stat(member)
        if fields is None or fields.state == "Z":
            continue
        found = True
        total.user_s += (fields.user_ticks + fields.ended_user_ticks) / _TICKS
        total.system_s += (fields.system_ticks + fields.ended_system_ticks) / _TICKS
        total.max_rss += fields.rss_pages * _PAGE
        total.max_vmsize += fields.vsize
        total.pages += fields.major_faults
        try:
            with open("/proc/%d/io" % member, "rb") as file:
                values = dict(line.split(b": ") for line in file.read().splitlines())
            total.disk_read += int(values[b"rchar"])
            total.disk_write += int(values[b"wchar"])
        except (OSError, KeyError, ValueError):
            continue  # not readable, or the process has ended
    return total if found else None


#: bytes by which the kernel's two measures of peak memory may differ
_NEAR = 2 << 20


#: seconds for which ``own_peak`` is cached: the kernel takes longer to write it than to fork
_PEAK_KEPT_S = 0.1
_peak, _peak_until = 0, 0.0


def own_peak() -> int:
    """Peak memory of this process in bytes."""
    global _peak, _peak_until
    now = time.monotonic()
    if now >= _peak_until:
        _peak, _peak_until = _read_peak(), now + _PEAK_KEPT_S
    return _peak


def _read_peak() -> int:
    try:
        with open("/proc/self/status", "rb") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith(b"VmHWM:"))
    except (OSError, StopIteration):
        return 0


class Sampler:
    """Samples the running tasks, and keeps their maxima. Has no timer while no task runs."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._tasks: dict[int, TaskUsage] = {}
        self._peak_before_exec: dict[int, int] = {}  # peak memory of a task's process before exec, by pid
        self._series_of: dict[int, UsageSeries] = {}  # by pid of the task
        self._gpus = GpuWatch(loop, INTERVAL_S)
        self._timer: Optional[Timer] = None

    def open_series(self, gpus: Sequence[int] = ()) -> UsageSeries:
        """Start the usage series of a step with these GPUs. ``close`` ends it."""
        if gpus:
            self._gpus.step_started()
        return UsageSeries(time.monotonic(), gpus)

    def close(self, series: UsageSeries) -> NodeSeries:
        """End a step's usage series, and return its record."""
        if series.gpus:
            self._gpus.step_ended()
        for pid in series.pids:
            self._series_of.pop(pid, None)
        return series.record(time.monotonic())

    def watch(self, pid: int, series: UsageSeries) -> None:
        """Start sampling a task of a step."""
        self._tasks[pid] = TaskUsage()
        self._peak_before_exec[pid] = own_peak() + _NEAR
        self._series_of[pid] = series
        series.pids.add(pid)
        if self._timer is None:
            self._timer = self._loop.after(FIRST_S, self._tick)

    def _tick(self) -> None:
        sums: dict[UsageSeries, list[float]] = {}
        for pid in list(self._tasks):
            now = self._sample_task(pid)
            series = self._series_of.get(pid)
            if now is not None and series is not None:
                held = sums.setdefault(series, [0.0, 0.0])
                held[0] += now.user_s + now.system_s
                held[1] += now.max_rss
        for series, (cpu_s, memory) in sums.items():
            series.watched = series.watched or self._gpus.has_values(series.gpus)
            series.add(time.monotonic(), cpu_s, memory, *self._gpus.sum(series.gpus))
        self._timer = self._loop.after(INTERVAL_S, self._tick) if self._tasks else None

    def sample(self, pid: int) -> TaskUsage:
        """Sample a task now, and return its usage so far."""
        self._sample_task(pid)
        return self._tasks.get(pid) or TaskUsage()

    def _sample_task(self, pid: int) -> Optional[TaskUsage]:
        """Sample a task now, and return only this sample; None if the task has ended."""
        kept = self._tasks.setdefault(pid, TaskUsage())
        now = sample(pid)
        if now is not None:
            kept.raise_to(**now.__dict__)
        return now

    def end(self, pid: int, rusage: resource.struct_rusage) -> TaskUsage:
        """Stop sampling a task, and return its usage.

        wait4's times and peak memory, other values from samples. wait4's peak covers the process's whole run time,
        including this agent's memory in the fork before exec. A peak that does not exceed the agent's own is therefore
        ignored.
        """
        kept = self._tasks.pop(pid, None) or TaskUsage()
        peak = rusage.ru_maxrss * 1024
        if peak > self._peak_before_exec.pop(pid, 0):
            kept.raise_to(max_rss=peak)
        # Blocks of 512 bytes read from a device: less than the task read, but a short task has no other value.
        kept.raise_to(user_s=rusage.ru_utime, system_s=rusage.ru_stime, pages=rusage.ru_majflt,
                  disk_read=rusage.ru_inblock * 512, disk_write=rusage.ru_oublock * 512)  # fmt: skip
        series = self._series_of.pop(pid, None)
        if series is not None:
            series.ended_cpu_s += kept.user_s + kept.system_s
        return kept

    def finish(self, pid: int, rusage: resource.struct_rusage, node: str) -> Usage:
        """``end`` for a step with one task (the batch script)."""
        return combine([(0, node, self.end(pid, rusage))])


def combine(tasks: Iterable[tuple[int, str, TaskUsage]]) -> Usage:
    """Combine (rank, node, usage) of tasks into the step's usage."""
    total = Usage()
    items = list(tasks)
    if not items:
        return total
    count = len(items)
    total.tasks = count
    total.user_s = sum(task.user_s for _, _, task in items)
    total.system_s = sum(task.system_s for _, _, task in items)
    total.ave_cpu_s = (total.user_s + total.system_s) / count
    rank, node, least = min(items, key=lambda item: item[2].user_s + item[2].system_s)
    total.min_cpu_s, total.min_cpu_node, total.min_cpu_task = least.user_s + least.system_s, node, rank
    for name, field in (
        ("max_rss", "max_rss"),
        ("max_vmsize", "max_vmsize"),
        ("max_pages", "pages"),
        ("max_disk_read", "disk_read"),
        ("max_disk_write", "disk_write"),
    ):
        rank, node, most = max(items, key=lambda item: getattr(item[2], field))
        setattr(total, name, getattr(most, field))
        setattr(total, name + "_node", node)
        setattr(total, name + "_task", rank)
    total.ave_rss = sum(task.max_rss for _, _, task in items) // count
    total.ave_vmsize = sum(task.max_vmsize for _, _, task in items) // count
    total.ave_pages = sum(task.pages for _, _, task in items) // count
    total.disk_read = sum(task.disk_read for _, _, task in items)
    total.disk_write = sum(task.disk_write for _, _, task in items)
    return total
