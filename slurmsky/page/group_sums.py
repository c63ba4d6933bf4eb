"""Sums over jobs: CPU time, memory, GPU time, cost, waits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .job_summary import Life


@dataclass
class Sum:
    """Sums over several jobs."""

    jobs: int = 0
    good: int = 0
    failed: int = 0
    live: int = 0
    waiting: int = 0
    held_s: float = 0.0  # held CPU seconds of measured jobs
    all_held_s: float = 0.0
    used_s: float = 0.0
    memory_held: float = 0.0  # held MiB seconds of measured jobs
    memory_used: float = 0.0
    gpu_held_s: float = 0.0
    gpu_known_s: float = 0.0
    gpu_used_s: float = 0.0
    cost: float | None = None
    waits: list[float] = field(default_factory=list)

    def add(self, one: Life) -> None:
        """Add one job."""
        self.jobs += max(1, one.job.pending_count)
        self.good += one.kind == "good"
        self.failed += one.failed
        self.live += one.kind in ("live", "held")
        self.waiting += max(1, one.job.pending_count) if one.kind == "wait" else 0
        self.all_held_s += one.held_s
        if one.cpu_s is not None and one.job.state.finished:
            self.held_s += one.held_s
            self.used_s += one.cpu_s
            self.memory_held += one.memory_held_mib * one.ran_s
            self.memory_used += (one.memory_mib or 0) * one.ran_s
        self.gpu_held_s += one.gpus * one.ran_s
        if one.gpu_s is not None:
            self.gpu_known_s += one.gpus * one.ran_s
            self.gpu_used_s += one.gpu_s
        if one.cost is not None:
            self.cost = (self.cost or 0.0) + one.cost
        if one.eligible and (one.start or one.kind == "wait"):
            self.waits.append(one.waited_s)

    @property
    def cpu_share(self) -> float | None:
        """Share of the held CPU time used, 0 to 1."""
        return self.used_s / self.held_s if self.held_s else None

    @property
    def memory_share(self) -> float | None:
        """Share of the held memory used at peaks, weighted by time."""
        return self.memory_used / self.memory_held if self.memory_held else None

    @property
    def gpu_share(self) -> float | None:
        """Share of the held GPU time used, over measured jobs."""
        return self.gpu_used_s / self.gpu_known_s if self.gpu_known_s else None

    def wait(self, part: float) -> float:
        """Quantile ``part`` of the waiting times; 0.5 is the median."""
        ordered = sorted(self.waits)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


def sum_of(lives: Iterable[Life]) -> Sum:
    """Compute the sums over jobs."""
    total = Sum()
    for one in lives:
        total.add(one)
    return total
