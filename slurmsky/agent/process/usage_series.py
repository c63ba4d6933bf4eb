"""Resource usage of a step over time, in a bounded series.

A point is an average over an equal part of the step's run time. A step of a week keeps as many points as a step of ten
minutes: when there are too many points, each pair is merged into one, and the interval of later points doubles. The
record has at most PARTS values of each kind, and no values for a step with fewer than two samples.
"""

from __future__ import annotations

from typing import Iterable, Optional, Sequence

from ...model.step import NodeSeries, Usage

#: values of each kind in a record
PARTS = 60
#: points kept while the step runs
MAX_POINTS = 2 * PARTS
#: decimals of a value: busy CPUs and GPUs in hundredths, sizes in tenths of a MiB
_DECIMALS = {"cpu": 2, "mem": 1, "gpu": 2, "gpumem": 1}
_MIB = 1 << 20


class UsageSeries:
    """Usage of one step on this node over time. Times in seconds (monotonic)."""

    def __init__(self, now: float, gpus: Sequence[int] = ()) -> None:
        self.began = now
        self.gpus = tuple(gpus)
        self.pids: set[int] = set()
        self.ended_cpu_s = 0.0  # CPU seconds of ended tasks
        self.watched = False  # True if the GPUs have a measurement
        self._every = 0.0
        self._next: Optional[list[float]] = None  # sums since the last point: samples, mem, gpu, gpumem
        # A point: its time, the CPU seconds until then, averages of mem, gpu and gpumem since the last point.
        self._points: list[tuple[float, float, float, float, float]] = [(0.0, 0.0, 0.0, 0.0, 0.0)]

    def add(self, now: float, cpu_s: float, memory: float, gpu: float = 0.0, gpu_memory: float = 0.0) -> None:
        """Add a sample of a step's usage.

        CPU seconds so far without ended tasks, memory bytes, busy GPUs, bytes of GPU memory.
        """
        sums = self._next = self._next or [0.0, 0.0, 0.0, 0.0]
        for index, value in enumerate((1.0, memory / _MIB, gpu, gpu_memory / _MIB)):
            sums[index] += value
        time = now - self.began
        last = self._points[-1]
        if time - last[0] < self._every or time <= last[0]:
            return
        looks, self._next = sums[0], None
        # The CPU seconds of an ended process disappear from /proc: the sum must not decrease.
        cpu = max(last[1], cpu_s + self.ended_cpu_s)
        self._points.append((time, cpu, sums[1] / looks, sums[2] / looks, sums[3] / looks))
        if len(self._points) > MAX_POINTS:
            first, rest = self._points[0], self._points[1:]
            self._points = [first, *(_two(*rest[index : index + 2]) for index in range(0, len(rest) - 1, 2))]
            self._every = 0.95 * self._points[-1][0] / (len(self._points) - 1)

    def record(self, now: float) -> NodeSeries:
        """The series of this node; ``merge`` adds up nodes."""
        seconds = now - self.began
        points = list(self._points)
        if len(points) < 3 or seconds <= points[-1][0]:
            return NodeSeries()
        # The time since the last sample has that sample's sizes, and the final CPU time of ended tasks.
        points.append((seconds, max(points[-1][1], self.ended_cpu_s), *points[-1][2:]))
        parts = min(PARTS, len(points) - 1)
        width = seconds / parts
        bounds = [width * index for index in range(parts + 1)]
        cpu = [_at(points, time) for time in bounds]
        return NodeSeries(
            seconds,
            [(after - before) / width for before, after in zip(cpu, cpu[1:])],
            *(_averages(points, kind, bounds) for kind in ((2, 3, 4) if self.watched else (2,))),
        )


def _two(
    first: tuple[float, float, float, float, float], second: tuple[float, float, float, float, float]
) -> tuple[float, float, float, float, float]:
    return (second[0], second[1], (first[2] + second[2]) / 2, (first[3] + second[3]) / 2, (first[4] + second[4]) / 2)


def _at(points: Sequence[tuple[float, ...]], time: float) -> float:
    """CPU seconds at a time, by linear interpolation between points."""
    for before, after in zip(points, points[1:]):
        if time <= after[0]:
            whole = after[0] - before[0]
            return before[1] + (after[1] - before[1]) * ((time - before[0]) / whole if whole else 1.0)
    return points[-1][1]


def _averages(points: Sequence[tuple[float, ...]], kind: int, bounds: Sequence[float]) -> list[float]:
    """Averages between bounds of piecewise constant values."""
    pieces = [(before[0], after[0], after[kind]) for before, after in zip(points, points[1:])]
    return _spread(pieces, bounds)


def _spread(pieces: Iterable[tuple[float, float, float]], bounds: Sequence[float]) -> list[float]:
    sums = [0.0] * (len(bounds) - 1)
    width = bounds[1] - bounds[0]
    for start, end, value in pieces:
        for index in range(max(0, int(start / width) - 1), len(sums)):
            if bounds[index] >= end:
                break
            sums[index] += value * max(0.0, min(end, bounds[index + 1]) - max(start, bounds[index]))
    return [value / width for value in sums]


def merge_into(usage: Usage, records: Sequence[NodeSeries]) -> None:
    """Merge usage series of a step's nodes into the step's Usage."""
    usage.series = merge(records)
    if "gpu" in usage.series:
        usage.gpu_s = round(sum(sum(one.gpu) / len(one.gpu) * one.seconds for one in records if one.gpu), 2)


def merge(records: Sequence[NodeSeries]) -> dict[str, list[float]]:
    """Add the series of several nodes to one, in the form of ``Usage.series``."""
    records = [record for record in records if record.cpu]
    if not records:
        return {}
    seconds = max(record.seconds for record in records)
    parts = max(len(record.cpu) for record in records)
    bounds = [seconds / parts * index for index in range(parts + 1)]
    found: dict[str, list[float]] = {}
    for name, decimals in _DECIMALS.items():
        total = [0.0] * parts
        for record in records:
            values = getattr(record, name)
            width = record.seconds / len(values) if values else 0.0
            pieces = [(width * index, width * (index + 1), value) for index, value in enumerate(values)]
            total = [one + other for one, other in zip(total, _spread(pieces, bounds))]
        if any(getattr(record, name) for record in records):
            found[name] = [round(value, decimals) for value in total]
    return found
