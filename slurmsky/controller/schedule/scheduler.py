"""The scheduler: runs passes, and answers queries about pending jobs.

Queries are squeue --start, slurmsky why and --test-only; ``plan`` runs a pass (scheduling_pass.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ...language import hostlist
from ...model.allocation import NodeShare
from ...model.cluster import PartitionConfig
from ...model.job import Job
from ...model.spec import INFINITE, JobSpec
from ...model.states import JobState, NodeFlag
from ..jobs.job_table import JobTable
from ..jobs.plan import Plan
from ..rules import dependencies, partition_access
from ..rules.demand import Demand, demand_of
from ..rules.job_feasibility import too_big
from ..rules.job_placement import Place, consumes_memory, place
from ..rules.limit_policy import Exceeded
from ..rules.node_use import NodeUse
from ..rules.provisional_shares import cloud_shares, ordered_shares
from ..rules.virtual_nodes import Fit
from .scheduling_pass import SchedulingPass


class PassBudget(Protocol):
    """Budgets during one pass, with the pass's planned starts."""

    prices: dict[int, tuple[Job, float]]
    unpriced: list[tuple[Job, str]]
    over_budget: bool

    def wait_reason(
        self, job: Job, partition: PartitionConfig, shares: Sequence[NodeShare] = ()
    ) -> tuple[str, str] | None:
        """Return (reason, text) if a budget blocks the start, or None. ``shares``: the job's shares of warm nodes."""

    def plan(self, job: Job) -> None:
        """Count a job as running."""

    def forget(self, jobs: Sequence[Job]) -> None:
        """Remove jobs that do not start."""


class NoBudget:
    """Budgets of a site without budgets: every job may start."""

    def __init__(self) -> None:
        self.prices: dict[int, tuple[Job, float]] = {}
        self.unpriced: list[tuple[Job, str]] = []
        self.over_budget = False

    def wait_reason(
        self, job: Job, partition: PartitionConfig, shares: Sequence[NodeShare] = ()
    ) -> tuple[str, str] | None:
        """Return None: every job may start."""
        return None

    def plan(self, job: Job) -> None:
        """Do nothing."""

    def forget(self, jobs: Sequence[Job]) -> None:
        """Do nothing."""


class Scheduler:
    """Plans which jobs start; ``jobs.plan.apply`` starts them.

    ``places_in``: returns True for a partition with fixed nodes.
    """

    def __init__(
        self,
        job_table: JobTable,
        places_in: Callable[[str], bool] = lambda partition: True,
        packs: Callable[[JobSpec, str], bool] = lambda spec, partition: False,
        *,
        budget: Callable[[], PassBudget] = NoBudget,
        undecided: Callable[[str], str] = lambda partition: "",
        shared: Callable[[str, list[NodeUse]], list[NodeUse]] = lambda partition, uses: uses,
        ready_in: Callable[[Sequence[str], str], float] = lambda names, partition: 0.0,
        place: Place = place,
        place_later: Place = place,
        neighbourhoods: Callable[[Sequence[NodeUse]], list[list[NodeUse]]] = lambda nodes: [list(nodes)],
    ) -> None:
        self.job_table = job_table
        self.places_in = places_in
        #: the budgets for one pass
        self.budget = budget
        #: returns why a partition's engine is not chosen yet, or ""
        self.undecided = undecided
        #: nodes of a partition without the resources that other users of the machine hold
        self.shared = shared
        #: seconds until nodes of a partition are expected to be up
        self.ready_in = ready_in
        #: places a job on nodes; power saving prefers nodes that are up
        self.place = place
        #: plans a job on nodes in their expected later state
        self.place_later = place_later
        #: groups of nodes with a network connection to each other
        self.neighbourhoods = neighbourhoods
        self.packs = packs  # the engine of an array applies its %N and receives all elements
        self._demands: dict[int, tuple[JobSpec, Demand]] = {}
        self._fits: dict[int, tuple[JobSpec, Fit]] = {}
        self.consume_memory = consumes_memory(job_table.cluster)

    def demand(self, spec: JobSpec) -> Demand:
        """Return the demand of a spec, from a cache."""
        known = self._demands.get(id(spec))
        if known is None or known[0] is not spec:
            if len(self._demands) > 5000:
                self._demands.clear()
            known = self._demands[id(spec)] = (spec, demand_of(spec))
        return known[1]

    def fit(self, spec: JobSpec) -> Fit:
        """Return a spec's demand on this machine's nodes, from a cache."""
        known = self._fits.get(id(spec))
        if known is None or known[0] is not spec:
            if len(self._fits) > 5000:
                self._fits.clear()
            known = self._fits[id(spec)] = (spec, self.job_table.virtual.fit(self.demand(spec)))
        return known[1]

    def uses(self, partition: str) -> list[NodeUse]:
        """The partition's nodes with their current use."""
        return self.shared(
            partition, [self.job_table.uses[node.name] for node in self.job_table.partition_nodes[partition]]
        )

    def plan(self) -> Plan:
        """Evaluate all pending jobs once. The job table does not change; ``jobs.plan.apply`` applies the plan."""
        return SchedulingPass(self, self.job_table.clock()).plan()

    @property
    def order(self) -> Callable[[Job], tuple[float, ...]]:
        """The sort key of pending jobs in a pass."""
        return self.rank if self.job_table.ranked else _age

    def rank(self, job: Job) -> tuple[float, ...]:
        """Sort key of pending jobs: tier, QOS, priority, age."""
        tiers = [
            part.priority_tier for name in job.partition.split(",") if (part := self.job_table.cluster.partition(name))
        ]
        return (-max(tiers, default=1), -self.job_table.policy.priority(job), *_age(job))

    def lasting_limit(self, job: Job, partition: PartitionConfig) -> tuple[str, str] | None:
        """Return the reason that blocks a job until a user's change, or None.

        The user changes the job or the partition.
        """
        state = self.job_table.partition_state(partition)
        if state == "DOWN":
            return ("PartitionDown", "")
        if state == "INACTIVE":
            return ("PartitionInactive", "")
        refused = partition_access.not_permitted(job, partition)
        if refused:
            return refused
        partition = partition_access.exempted(partition, self.job_table.policy.flags(job))
        if not self.places_in(partition.name):
            return self._limit_on_created_nodes(job, partition) or self._time_limit(job, partition)
        fitted, nodes = self.fit(job.spec).demand, self.job_table.partition_nodes[partition.name]
        reason = too_big(fitted, partition, nodes)
        if reason:
            return (reason, "")
        return self._time_limit(job, partition)

    def never_starts(self, job: Job) -> str:
        """Return why a job can never start, or "". A change of the job or the cluster may change the answer."""
        if job.state is not JobState.PENDING or job.priority == 0:
            return ""
        if job.dependency:
            verdict = dependencies.evaluate(
                job.dependency, job, self.job_table.referenced, self.singletons(job), self.job_table.clock()
            )
            if verdict.state == "never":
                return "DependencyNeverSatisfied"
        reason = ""
        for name in job.partition.split(","):
            partition = self.job_table.cluster.partition(name)
            if partition is None:
                continue
            limit = self.lasting_limit(job, partition)
            reason = (
                limit[0]
                if limit
                else self.job_table.policy.exceeded_when_idle(job, partition, self.requested(job, partition))
            )
            if not reason:
                return ""
        return reason

    def exceeded_limit(self, job: Job, partition: PartitionConfig) -> Exceeded | None:
        """Return the limit of QOS or account that the job exceeds now."""
        return self.job_table.policy.first_exceeded(job, partition, self.requested(job, partition))

    def requested(self, job: Job, partition: PartitionConfig) -> Callable[[], list[NodeShare]]:
        demand = self.demand(job.spec)
        if self.places_in(partition.name):
            return lambda: cloud_shares(demand, job.job_id)
        return lambda: ordered_shares(demand, job.spec, partition, job.job_id)

    def _limit_on_created_nodes(self, job: Job, partition: PartitionConfig) -> tuple[str, str] | None:
        """Return the reason by the site's limits for nodes of an engine."""
        demand = self.demand(job.spec)
        if max(demand.min_nodes, partition.min_nodes) > partition.max_nodes:
            return ("PartitionNodeLimit", "")
        return None

    def _time_limit(self, job: Job, partition: PartitionConfig) -> tuple[str, str] | None:
        limit = job.time_limit_min
        minimum = job.spec.time_min_min or limit
        if minimum is not None and partition.max_time_min != INFINITE and minimum > partition.max_time_min:
            return ("PartitionTimeLimit", "")
        return None

    def unavailable(self, demand: Demand) -> str:
        """Return the text after ReqNodeNotAvail for unavailable required nodes."""
        gone = [
            name
            for name in demand.required
            if (node := self.job_table.nodes.get(name)) is not None
            and not self.job_table.uses[name].available
            and (node.flags & NodeFlag.DRAIN or node.state.value == "down")
        ]
        return f"ReqNodeNotAvail, UnavailableNodes:{hostlist.compress(gone)}" if gone else ""

    # --- dependencies

    def singletons(self, job: Job) -> list[Job]:
        if "singleton" not in job.dependency:
            return []
        return [
            other
            for other in self.job_table.jobs.values()
            if other.name == job.name
            and other.user == job.user
            and other.job_id != job.job_id
            and (not job.array_job_id or other.array_job_id != job.array_job_id)
        ]


def _age(job: Job) -> tuple[float, ...]:
    return (-job.priority, job.submit_time, job.job_id)
