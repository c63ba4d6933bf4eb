"""Limits of usage over time: GrpTRESMins and GrpWall.

The usage includes all runs in the store and running jobs up to now; it does not decay. With ``safe`` in
AccountingStorageEnforce a job starts only if it can end within the limit. Source: slurmctld/acct_policy.c
_validate_tres_usage_limits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from ...model.cluster import ClusterConfig
from ...model.job import Job
from ...model.policy import Limits
from ...model.spec import INFINITE
from ...report.text.utilization import Use

#: seconds for which a sum is valid; slurmctld adds usage each PriorityCalcPeriod, 300 s
REFRESH_S = 10
#: key of the elapsed time in the sums
WALL = "wall"

#: names (kind, name) of the QOS or association
Owner = tuple[str, str]


class UsageLimits:
    """Usage of each QOS and association, and the exceeded limits."""

    def __init__(self, cluster: ClusterConfig, uses: Callable[[], Iterable[Use]], clock: Callable[[], float]) -> None:
        self._cluster = cluster
        self._uses = uses
        self._clock = clock
        self._safe = "safe" in cluster.parameter("AccountingStorageEnforce")
        self._spent: dict[Owner, Counter[str]] = {}
        self._summed_at = float("-inf")

    def spent(self, kind: str, name: str) -> Counter[str]:
        """Minutes that an owner's jobs have used, by resource and WALL."""
        if self._clock() >= self._summed_at + REFRESH_S:
            self._sum()
        return self._spent.get((kind, name), Counter())

    def _sum(self) -> None:
        seconds: dict[Owner, Counter[str]] = {}
        factors = {one.name: one.usage_factor for one in self._cluster.qos}
        for use in self._uses():
            amounts = {"cpu": use.cpus * use.seconds, "mem": use.memory_seconds, "node": use.node_seconds,
                       "billing": use.cpus * use.seconds, WALL: use.seconds}  # fmt: skip
            accounts = [above.name for above in self._cluster.lineage(use.account)] or [use.account]
            factor = factors.get(use.qos, 1.0)
            for owner in (("qos", use.qos), *(("account", name) for name in accounts),
                          ("user", f"{use.account}/{use.user}")):  # fmt: skip
                total = seconds.setdefault(owner, Counter())
                for resource, amount in amounts.items():
                    total[resource] += int(amount * factor)
        self._spent = {
            owner: Counter({resource: amount // 60 for resource, amount in total.items()})
            for owner, total in seconds.items()
        }
        self._summed_at = self._clock()

    def wall_reached(self, owner: Owner, limits: Limits, job: Job) -> int | None:
        """Return the elapsed minutes that exceed GrpWall, or None."""
        most = limits.grp_wall_min
        if most is None:
            return None
        have = self.spent(*owner)[WALL]
        planned = have + _limit_of(job)
        return have if have >= most else planned if self._safe and planned > most else None

    def minutes_reached(
        self, owner: Owner, limits: Limits, job: Job, use: Mapping[str, int], planned: Mapping[str, int]
    ) -> tuple[str, int, int] | None:
        """Return the first exceeded resource of GrpTRESMins: name, limit, minutes.

        ``planned``: the minutes that the owner's running jobs may still use.
        """
        for resource, most in limits.grp_tres_mins:
            have = self.spent(*owner)[resource]
            if not use.get(resource):
                continue
            whole = have + (planned[resource] + use[resource] * _limit_of(job) if self._safe else 0)
            if have >= most or whole > most:
                return resource, most, whole
        return None

    def minutes_left(self, job: Job) -> int:
        """Minutes until a job's time limit, if it runs or starts now."""
        if job.state.active and job.end_time:
            return max(0, int(job.end_time - self._clock()) // 60)
        return _limit_of(job)


def _limit_of(job: Job) -> int:
    return INFINITE if job.time_limit_min is None else job.time_limit_min
