"""Held and used resources over time, as averages of equal parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..model.job import Step
from .job_summary import Life, gpu_steps, step_end


class Curve:
    """A period in equal parts, each with its average."""

    def __init__(self, start: float, end: float, parts: int) -> None:
        self.start = start
        self.width = max(end - start, 1e-6) / parts
        self.values = [0.0] * parts

    def add(self, start: float, end: float, value: float) -> None:
        """Add ``value`` from ``start`` to ``end``, within the period."""
        first, last = (start - self.start) / self.width, (end - self.start) / self.width
        first, last = max(0.0, first), min(float(len(self.values)), last)
        if last <= first or not value:
            return
        at, to = int(first), min(int(last), len(self.values) - 1)
        if at == to:
            self.values[at] += value * (last - first)
            return
        self.values[at] += value * (at + 1 - first)
        for index in range(at + 1, to):
            self.values[index] += value
        self.values[to] += value * (last - to)

    def add_parts(self, start: float, end: float, values: Sequence[float]) -> None:
        """Add a series of equal parts between two times."""
        if (end - start) <= self.width or len(values) == 1:
            self.add(start, end, sum(values) / len(values))
            return
        each = (end - start) / len(values)
        for index, value in enumerate(values):
            self.add(start + index * each, start + (index + 1) * each, value)

    @property
    def peak(self) -> float:
        """The highest value."""
        return max(self.values)


def busy(step: Step) -> list[float]:
    """CPUs that a finished step kept busy over time. One average if no series was recorded."""
    usage = step.usage
    if usage.series.get("cpu"):
        return usage.series["cpu"]
    return [(usage.user_s + usage.system_s) / max(step.end_time - step.start_time, 0.01)]


def memory(step: Step) -> list[float]:
    """Memory of a step in MiB over time. The peak if no series was recorded."""
    return step.usage.series.get("mem") or [memory_peak(step)]


def measured(life: Life, now: float) -> list[Step]:
    """The steps of a job that contribute to a curve."""
    return [step for step in life.job.steps.values() if step.usage.tasks and step_end(step, now) > step.start_time > 0]


def used(curve: Curve, lives: Sequence[Life], now: float, values: Callable[[Step], list[float]]) -> Curve:
    """Add what the steps of jobs used: ``busy`` or ``memory``."""
    for life in lives:
        for step in measured(life, now):
            curve.add_parts(step.start_time, step_end(step, now), values(step))
    return curve


def used_gpus(curve: Curve, lives: Sequence[Life], now: float) -> Curve:
    """Add the GPUs that jobs kept busy."""
    for life in lives:
        for step in gpu_steps(life.job):
            average = (step.usage.gpu_s or 0.0) / (step.end_time - step.start_time)
            curve.add_parts(step.start_time, step.end_time, step.usage.series.get("gpu") or [average])
    return curve


def memory_peak(step: Step) -> float:
    """Sum of a step's peak memory over its tasks, in MiB."""
    return step.usage.ave_rss * max(1, step.usage.tasks) / (1 << 20)
