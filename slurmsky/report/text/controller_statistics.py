"""sdiag: statistics of the controller since start or reset.

The lines are sdiag's. Statistics of parts that this controller lacks (agent queue, separate backfill scheduler) are 0.
Each command that ran counts as messages. Source: src/sdiag/sdiag.c.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from ...model.states import JobState
from .units import Clock

_RULE = "*" * 55


@dataclass
class Cycles:
    """Number of scheduler passes, and their durations in microseconds."""

    last: int = 0
    longest: int = 0
    count: int = 0
    total: int = 0
    depth: int = 0  # number of evaluated jobs in all passes
    queue: int = 0  # pending jobs in the last pass

    def add(self, micros: int, jobs: int) -> None:
        """Record a scheduler pass over ``jobs`` pending jobs."""
        self.last, self.longest = micros, max(self.longest, micros)
        self.count, self.total = self.count + 1, self.total + micros
        self.depth, self.queue = self.depth + jobs, jobs


@dataclass
class Calls:
    """Number of calls, and their total duration in microseconds."""

    count: int = 0
    total: int = 0


@dataclass
class Counters:
    """The statistics; ``since`` is in epoch seconds."""

    since: float
    submitted: int = 0
    started: int = 0
    completed: int = 0
    cancelled: int = 0
    failed: int = 0
    backfilled: int = 0
    cycles: Cycles = field(default_factory=Cycles)
    messages: dict[str, Calls] = field(default_factory=dict)
    threads: int = 0  # calls in progress

    def job_ended(self, state: JobState) -> None:
        """Count an ended job as slurmctld does. A job with a failed script counts as completed."""
        if state is JobState.CANCELLED:
            self.cancelled += 1
        elif state in (JobState.NODE_FAIL, JobState.BOOT_FAIL):
            self.failed += 1
        else:
            self.completed += 1

    def called(self, message: str, micros: int) -> None:
        """Count an answered command."""
        calls = self.messages.setdefault(message, Calls())
        calls.count += 1
        calls.total += micros


def sdiag_text(counters: Counters, clock: Clock, pending: int, running: int, user: tuple[str, int],
               latency_us: int, order: str = "count") -> str:  # fmt: skip
    """Text of sdiag. ``order`` of the messages is "count", "id" (by name), "time" or "average"."""
    now, since = clock.now, counters.since
    cycles = counters.cycles
    minutes = max(1, int(now - since) // 60)
    lines = [
        _RULE, f"sdiag output at {_date(clock, now)} ({int(now)})",
        f"Data since      {_date(clock, since)} ({int(since)})",
        _RULE, f"Server thread count:  {counters.threads}", "RPC queue enabled:    0", "Agent queue size:     0",
        "Agent count:          0", "Agent thread count:   0", "DBD Agent queue size: 0", "",
        f"Jobs submitted: {counters.submitted}", f"Jobs started:   {counters.started}",
        f"Jobs completed: {counters.completed}", f"Jobs canceled:  {counters.cancelled}",
        f"Jobs failed:    {counters.failed}", "", f"Job states ts:  {_date(clock, now)} ({int(now)})",
        f"Jobs pending:   {pending}", f"Jobs running:   {running}", "", "Main schedule statistics (microseconds):",
        f"\tLast cycle:   {cycles.last}", f"\tMax cycle:    {cycles.longest}", f"\tTotal cycles: {cycles.count}",
    ]  # fmt: skip
    if cycles.count:
        lines += [f"\tMean cycle:   {cycles.total // cycles.count}",
                  f"\tMean depth cycle:  {cycles.depth // cycles.count}",
                  f"\tCycles per minute: {cycles.count // minutes}"]  # fmt: skip
    lines += [f"\tLast queue length: {cycles.queue}", "", "Backfilling stats",
              f"\tTotal backfilled jobs (since last slurm start): {counters.backfilled}",
              f"\tTotal backfilled jobs (since last stats cycle start): {counters.backfilled}",
              "\tTotal backfilled heterogeneous job components: 0", "\tTotal cycles: 0", "\tLast cycle when: N/A",
              "\tLast cycle: 0", "\tMax cycle:  0", "\tLast depth cycle: 0", "\tLast depth cycle (try sched): 0",
              "\tLast queue length: 0", "\tLast table size: 0", "",
              f"Latency for 1000 calls to gettimeofday(): {latency_us} microseconds", "",
              "Remote Procedure Call statistics by message type"]  # fmt: skip
    lines += _messages(counters, order) or ["\tNo RPCs recorded yet."]
    calls = sum(one.count for one in counters.messages.values())
    total = sum(one.total for one in counters.messages.values())
    lines += ["", "Remote Procedure Call statistics by user"]
    if calls:
        lines.append("\t%-16s(%8u) count:%-6u ave_time:%-6u total_time:%u" % (*user, calls, total // calls, total))
    lines += ["", "Pending RPC statistics", "\tNo pending RPCs", ""]
    return "\n".join(lines)


def _date(clock: Clock, moment: float) -> str:
    return datetime.fromtimestamp(moment, clock.zone).strftime("%a %b %d %H:%M:%S %Y")


def _messages(counters: Counters, order: str) -> list[str]:
    named = sorted(counters.messages.items())
    numbers = {name: number for number, (name, _) in enumerate(named, 1)}
    keys = {"id": lambda item: 0, "time": lambda item: -item[1].total,
            "average": lambda item: -(item[1].total // item[1].count)}  # fmt: skip
    chosen: Iterable[tuple[str, Calls]] = sorted(named, key=keys.get(order, lambda item: -item[1].count))
    return ["\t%-40s(%5u) count:%-6u ave_time:%-6u total_time:%u"
            % (name, numbers[name], calls.count, calls.total // calls.count, calls.total)
            for name, calls in chosen]  # fmt: skip
