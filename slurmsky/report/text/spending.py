"""Cost of jobs: texts, and sums by group and month.

The groups are user, account, QOS and partition. ``sreport cost`` is our own report; Slurm has no such report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple, Optional

from slurmsky.model.job import Job

from .named_columns import Cells
from .units import Clock


def dollars(amount: float) -> str:
    """Dollars with four decimals. Minutes of a CPU cost less than a cent."""
    return "%.4f" % amount


def cost_text(job: Job) -> Optional[str]:
    """Cost of a job; None if it never ran on a cloud."""
    return dollars(job.cost) if job.managed_job_id is not None or job.cost else None


def part_in(job: Job, start: float, end: float, now: float) -> float:
    """Fraction of a job's run time, and cost, in a period."""
    if not job.start_time:
        began = job.end_time or job.submit_time or now
        return 1.0 if start <= began < end else 0.0
    until = job.end_time if job.state.finished and job.end_time else now
    if until <= job.start_time:
        return 1.0 if start <= job.start_time < end else 0.0
    return max(0.0, min(until, end) - max(job.start_time, start)) / (until - job.start_time)


#: report name, length of the shortest accepted prefix, fields to group by
REPORTS = (
    ("ByAccount", 3, ("Account",)), ("ByMonth", 3, ("Month",)), ("ByPartition", 3, ("Partition",)),
    ("ByQOS", 3, ("QOS",)), ("ByUser", 3, ("Login",)), ("AccountByUser", 1, ("Account", "Login")),
    ("MonthByAccount", 8, ("Month", "Account")), ("MonthByUser", 8, ("Month", "Login")),
)  # fmt: skip


def months(start: float, end: float, clock: Clock) -> list[tuple[str, float, float]]:
    """Calendar months that overlap a period.

    Each has its name (2026-11), its first second, and the next month's first second.
    """
    zone = clock.zone
    day = datetime.fromtimestamp(start, zone).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    found = []
    while day.timestamp() < end:
        following = day.replace(year=day.year + day.month // 12, month=day.month % 12 + 1)
        found.append(("%04d-%02d" % (day.year, day.month), day.timestamp(), following.timestamp()))
        day = following
    return found


class Charge(NamedTuple):
    """Cost in a period, summed over similar job runs. The runs have equal account, user, QOS and partition."""

    account: str
    user: str
    qos: str
    partition: str  # all partitions that the job named
    jobs: int  # 0 for the cost of warm nodes while no job used them
    hours: float
    dollars: float


#: charges between two epoch seconds
Charges = Callable[[float, float], Iterable[Charge]]


def sums(charges: Charges, by: Sequence[str], start: float, end: float, clock: Clock, cluster: str) -> list[Cells]:
    """Cost per group, sorted by month and descending cost."""
    spans = months(start, end, clock) if "Month" in by else [("", start, end)]
    totals: dict[tuple[str, ...], list[float]] = {}
    for month, first, last in spans:
        for charge in charges(max(first, start), min(last, end)):
            values = {"Account": charge.account, "Login": charge.user, "QOS": charge.qos, "Month": month,
                      "Partition": charge.partition.partition(",")[0]}  # fmt: skip
            if not charge.jobs and set(by) - {"Month", "Partition"}:
                continue  # charged to the partition
            held = totals.setdefault(tuple(values[name] for name in by), [0.0, 0.0, 0.0, 0.0])
            if not charge.jobs:
                held[3] += charge.dollars
                continue
            held[0] += charge.dollars
            held[1] += charge.jobs
            held[2] += charge.hours
    order = sorted(totals, key=lambda key: (key[0] if by[0] == "Month" else "", -totals[key][0], key))
    return [{"Cluster": cluster, **dict(zip(by, key)), "Cost": dollars(totals[key][0]), "Jobs": "%d" % totals[key][1],
             "Hours": "%.2f" % totals[key][2], "Idle": dollars(totals[key][3])} for key in order]  # fmt: skip
