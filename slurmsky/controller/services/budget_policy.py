"""Budgets and price ceilings of the site file, checked before a launch.

Slurm's Billing represents dollars an hour, a BillingMinute dollars; a job that waits for its budget shows slurmctld's
reason for the limit on Billing. Prices are SkyPilot's: the optimizer's for jobs that have not started, the cost
report's for the others. Prices are requested in the background; a job waits until its price is known.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ...engines.base import EngineError, background
from ...engines.cloud import PriceQuestion
from ...model.allocation import NodeShare
from ...model.cluster import PartitionConfig
from ...model.job import Job
from ...model.spec import INFINITE, JobSpec
from ...report.text.spending import part_in
from ...site.record import Budget, Site
from ..jobs.job_table import JobTable

log = logging.getLogger("slurmsky.money")

PRICE_AGE_S = 3600.0  # seconds for which a price is valid
ASK_GAP_S = 4.0  # seconds between two requests to the optimizer, each of which is two HTTP requests
RETRY_S = 30.0  # pause after SkyPilot did not answer

#: (owner of the budget, its limit) -> Slurm's reason
REASONS = {
    ("account", "month"): "AssocGrpBillingMinutes",
    ("account", "hourly"): "AssocGrpBilling",
    ("user", "month"): "QOSMaxBillingPerUser",
    ("user", "hourly"): "QOSMaxBillingPerUser",
    ("qos", "month"): "QOSGrpBillingMinutes",
    ("qos", "hourly"): "QOSGrpBilling",
    ("", "month"): "AssocGrpBillingMinutes",
    ("", "hourly"): "AssocGrpBilling",
}
JOB_HOURLY, JOB_TOTAL = "QOSMaxBillingPerJob", "AssocMaxBillingMinutesPerJob"

#: requests the price of a job in a partition; None: the job runs on this machine
Ask = Callable[[Job, str], "PriceQuestion | None"]


@dataclass
class _Price:
    dollars: float  # an hour, all nodes
    known_at: float


@dataclass(frozen=True)
class BudgetUse:
    """Use of a budget, in dollars.

    This calendar month's cost, the cost that running jobs may still cause until their time limits, and the cost per
    hour of all running jobs.
    """

    spent: float
    promised: float
    hourly: float


class BudgetPolicy:
    """Spending of this month, and prices."""

    def __init__(
        self,
        job_table: JobTable,
        site: Site,
        schedule_soon: Callable[[], None],
        ask: Ask,
        on_nodes: Callable[[Sequence[NodeShare]], float | None] = lambda shares: 0.0,
        costs: Callable[[Job], bool] = lambda job: True,
    ) -> None:
        self.job_table = job_table
        self.site = site
        self.schedule_soon = schedule_soon
        self.ask = ask
        self.on_nodes = on_nodes  # returns dollars an hour of shares of nodes; None: not known yet
        self.costs = costs  # False for a job on this machine, which is free
        self._questions: dict[tuple[tuple[JobSpec, ...], str], PriceQuestion | None] = {}
        self._prices: dict[str, _Price] = {}
        self._requests: dict[str, Callable[[], Awaitable[float | None]]] = {}
        self._budget_blocks = False  # the last pass made a job wait for its budget
        self._month = (0.0, 0.0)
        self._charges: dict[tuple[int, int], tuple[Job, float]] = {}  # (job id, run) -> job, dollars this month

    # --- spending

    def record_cost(self, job: Job) -> None:
        """Record the changed cost of a job."""
        now = self.job_table.clock()
        self._change_month(now)
        self._charges[job.job_id, job.restarts] = (job, job.cost * part_in(job, *self._month, now))

    def trial(self) -> BudgetTrial:
        """The budgets for one scheduler pass."""
        return BudgetTrial(self)

    def request_prices(self, unpriced: Iterable[tuple[Job, str]], over_budget: bool) -> None:
        """Request the prices that a pass needed."""
        self._budget_blocks = over_budget
        for job, partition in unpriced:
            self._request(job, partition)

    def recheck(self) -> None:
        """Schedule a pass if jobs wait for a budget. Called at intervals, because a month may have begun."""
        if self._budget_blocks:
            self.schedule_soon()

    def spent(self, budget: Budget) -> float:
        """Dollars that a budget has paid this month."""
        self._change_month(self.job_table.clock())
        return sum(dollars for job, dollars in self._charges.values() if covers(budget, job))

    def _change_month(self, now: float) -> None:
        if self._month[0] <= now < self._month[1]:
            return
        self._month = month_of(now)
        self._charges.clear()
        for job in self.job_table.store.charged(self._month[0]):
            live = self.job_table.jobs.get(job.job_id)
            kept = live if live is not None and live.restarts == job.restarts else job
            self._charges[job.job_id, job.restarts] = (kept, job.cost * part_in(job, *self._month, now))

    def running(self) -> Iterable[Job]:
        """Jobs on nodes that cost money."""
        found = (self.job_table.jobs[job_id] for job_id in self.job_table.active)
        return (job for job in found if self.costs(job) and not job.state.finished)

    # --- prices

    def _question(self, job: Job, partition: str) -> PriceQuestion | None:
        if len(self._questions) > 5000:
            self._questions.clear()
        case = (tuple(part.spec for part in self.job_table.components(job)), partition)
        if case not in self._questions:
            self._questions[case] = self.ask(job, partition)
        return self._questions[case]

    def quote(self, job: Job, partition: str) -> tuple[float | None, bool]:
        """Return the dollars an hour, and whether to request the price.

        None: the price is not known. A het job's price includes all components.
        """
        question = self._question(job, partition)
        if question is None:
            return 0.0, False  # the job runs on this machine
        known = self._prices.get(question[0])
        if known is None:
            return None, True
        return known.dollars, time.monotonic() - known.known_at > PRICE_AGE_S

    def _request(self, job: Job, partition: str) -> None:
        question = self._question(job, partition)
        if question is not None:
            if not self._requests:
                background(self._answer())
            self._requests.setdefault(*question)

    async def _answer(self) -> None:
        """Request missing prices sequentially."""
        await asyncio.sleep(0)
        while self._requests:
            key, ask = next(iter(self._requests.items()))
            try:
                price = await ask()
            except EngineError as error:
                log.warning("no price: %s", error)
                await asyncio.sleep(RETRY_S)
                continue
            # If SkyPilot has no price, no limit applies; if it finds no nodes, the launch will report this.
            self._prices[key] = _Price(price or 0.0, time.monotonic())
            del self._requests[key]
            self.schedule_soon()
            await asyncio.sleep(ASK_GAP_S)


class BudgetTrial:
    """Budgets during one scheduler pass, with its planned starts."""

    def __init__(self, policy: BudgetPolicy) -> None:
        self._policy = policy
        self._uses: dict[Budget, BudgetUse] = {}  # summed once per pass and start, not for each pending job
        self._planned: list[Job] = []
        #: job id -> the job, and its price in dollars an hour
        self.prices: dict[int, tuple[Job, float]] = {}
        #: jobs and partitions whose price must be requested
        self.unpriced: list[tuple[Job, str]] = []
        self.over_budget = False

    def plan(self, job: Job) -> None:
        """Count a job as running."""
        if job.job_id in self.prices:
            self._planned.append(job)
            self._uses.clear()

    def forget(self, jobs: Sequence[Job]) -> None:
        """Remove jobs that do not start."""
        left_out = {job.job_id for job in jobs}
        self._planned = [job for job in self._planned if job.job_id not in left_out]
        self._uses.clear()

    def use_of(self, budget: Budget) -> BudgetUse:
        """The use of a budget, with the planned jobs."""
        known = self._uses.get(budget)
        if known is None:
            paid = [(job, job.hourly_cost) for job in self._policy.running()]
            paid += [self.prices[job.job_id] for job in self._planned]
            mine = [(job, hourly) for job, hourly in paid if covers(budget, job)]
            known = self._uses[budget] = BudgetUse(
                self._policy.spent(budget),
                sum(max(0.0, estimate(job, hourly) - job.cost) for job, hourly in mine if _bounded(job)),
                sum(hourly for _, hourly in mine),
            )
        return known

    def wait_reason(
        self, job: Job, partition: PartitionConfig, shares: Sequence[NodeShare] = ()
    ) -> tuple[str, str] | None:
        """Return why a job waits for its budget, or None.

        ``shares``: allocated parts of nodes, for a job on warm nodes or on this machine.
        """
        site = self._policy.site
        budgets = [budget for budget in site.budgets if covers(budget, job)]
        ceilings = (site.sky_partition(partition.name).max_hourly_cost,
                    site.routes(job.qos, job.account)[0].max_hourly_cost)  # fmt: skip
        ceiling = min((dollars for dollars in ceilings if dollars is not None), default=None)
        most = site.sky.budget
        if not budgets and ceiling is None and most is None:
            return None
        if shares and self._policy.on_nodes(shares) == 0.0:
            return None  # the job runs on this machine
        word = self._objection(job, partition.name, budgets, ceiling, most, shares)
        if word is None:
            return None
        self.over_budget = True
        return (word, "")

    def _objection(
        self,
        job: Job,
        partition: str,
        budgets: list[Budget],
        ceiling: float | None,
        most: float | None,
        shares: Sequence[NodeShare],
    ) -> str | None:
        for budget in budgets:  # needs no price, and so no request
            if budget.month is not None and self.use_of(budget).spent >= budget.month:
                return reason(budget, "month")
        hourly, outdated = (self._policy.on_nodes(shares), False) if shares else self._policy.quote(job, partition)
        if outdated:
            self.unpriced.append((job, partition))
        if hourly is None:
            return "None"
        for part, share in [(job, 1.0)] if shares else divided(self._policy.job_table.components(job)):
            self.prices[part.job_id] = (part, hourly * share)
        whole = estimate(job, hourly)
        if ceiling is not None and hourly > ceiling:
            return JOB_HOURLY
        if most is not None and whole > most:
            return JOB_TOTAL
        for budget in budgets:
            use = self.use_of(budget)
            if budget.hourly is not None and use.hourly + hourly > budget.hourly:
                return reason(budget, "hourly")
            if budget.month is not None and use.spent + use.promised + whole > budget.month:
                return reason(budget, "month")
        return None


def divided(components: Sequence[Job]) -> list[tuple[Job, float]]:
    """Divide a price among jobs by their number of nodes."""
    whole = sum(max(1, job.num_nodes) for job in components)
    return [(job, max(1, job.num_nodes) / whole) for job in components]


def covers(budget: Budget, job: Job) -> bool:
    """True if a budget pays for a job. Each user, account or QOS of the budget must be the job's."""
    pairs = ((budget.account, job.account), (budget.user, job.user), (budget.qos, job.qos))
    return all(not wanted or wanted == value for wanted, value in pairs)


def reason(budget: Budget, what: str) -> str:
    """Return Slurm's reason for a job that waits for a budget."""
    who = "user" if budget.user else "qos" if budget.qos else "account" if budget.account else ""
    return REASONS[who, what]


def _bounded(job: Job) -> bool:
    return job.time_limit_min is not None and job.time_limit_min < INFINITE


def estimate(job: Job, hourly: float) -> float:
    """Largest cost of a job in dollars until its time limit; infinite without one."""
    if not hourly:
        return 0.0
    return hourly * (job.time_limit_min or 0) / 60 if _bounded(job) else float("inf")


def month_of(now: float) -> tuple[float, float]:
    """First second of this machine's calendar month, and of the next."""
    day = datetime.fromtimestamp(now).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = day.replace(year=day.year + day.month // 12, month=day.month % 12 + 1)
    return day.timestamp(), following.timestamp()
