"""One evaluation of all pending jobs: a Plan of starts and reasons.

The first job of a partition with too few free nodes gets a planned start from the ends of the running jobs; a later job
may start if this plan remains valid (EASY backfill, Slurm's sched/backfill with bf_max_job_test=1 per partition). Every
other pending reason is the first in Slurm's order that applies to the job: held, dependency, begin time, array limit,
partition, limits, licences, resources. A pass does not change the job table: a Trial holds the planned starts.

The module exceeds 400 lines because starts and reasons share the state of one pass.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from ...model.allocation import NodeShare
from ...model.cluster import PartitionConfig
from ...model.job import Job
from ...model.states import JobState
from ..jobs import transitions
from ..jobs.plan import Plan, Start, Wait
from ..jobs.submitter import limit_in
from ..rules import deadlines, dependencies
from ..rules.advance_reservations import RESERVED
from ..rules.demand import Demand
from ..rules.job_placement import place
from ..rules.node_use import NodeUse
from ..rules.partition_access import exempted
from ..rules.provisional_shares import ordered_shares
from ..rules.virtual_nodes import Fit
from .backfill import Blocked, earliest, nodes_after_start, shortened, shown_start
from .trial import Trial

if TYPE_CHECKING:
    from .scheduler import Scheduler

_HOLD_REASONS = frozenset({
    "launch failed requeued held", "JobHoldMaxRequeue", "job requeued in held state", "ReservationDeleted",
    transitions.SYSTEM_FAILURE,
})  # fmt: skip

_Reason = tuple[str, str]


class _Elements:
    """The pending elements of an array without a planned start."""

    def __init__(self, job: Job) -> None:
        self.left = job.pending_count - len(job.followers)
        self.planned: set[int] = {task for task, _, _ in job.followers}  # an agent starts these
        self._order = (task for part in job.pending_tasks for task in part if task not in self.planned)
        self.first = next(self._order, -1)

    def plan(self, task: int) -> None:
        """Remove an element that is planned to start."""
        self.left -= 1
        self.planned.add(task)
        while self.left and self.first in self.planned:
            self.first = next(self._order)


class SchedulingPass:
    """State of one pass. ``rules``: decisions that do not depend on the pass."""

    def __init__(self, rules: Scheduler, now: float) -> None:
        self._rules = rules
        self._job_table = rules.job_table
        self._now = now
        self._trial = Trial(rules.job_table, rules.shared)
        self._limits = rules.job_table.policy.trial()
        self._budget = rules.budget()
        self._blocked: dict[str, Blocked] = {}
        self._failed: set[tuple[int, str]] = set()  # (id of a spec, partition) without enough free nodes
        self._planned_het: set[int] = set()
        self._elements: dict[int, _Elements] = {}
        self._running: dict[int, int] = {}  # elements that run, by array
        self._next_id = rules.job_table.next_job_id
        self._met: set[int] = set()
        self._reserved = False  # free resources are reserved for an element; no job after its array starts
        self._waits: list[Wait] = []
        self._eligible: list[Job] = []
        self._dependency_met: list[Job] = []
        self._corresponding: list[Job] = []
        self._hopeless: list[Job] = []
        self._expired: list[Job] = []
        self._broken: list[tuple[Job, Exception]] = []
        self._wake: float | None = rules.job_table.reservations.next_change(now)

    def plan(self) -> Plan:
        """Evaluate all pending jobs."""
        job_table = self._job_table
        pending = [job for job_id in job_table.pending if not (job := job_table.jobs[job_id]).awaits_nodes]
        pending.sort(key=self._rules.order)
        for job in pending:
            if job.state is not JobState.PENDING:
                continue
            try:
                self._plan_job(job)
            except Exception as problem:
                self._broken.append((job, problem))
            if self._reserved:
                break
        return Plan(
            [start for start, _ in self._trial.starts],
            self._waits,
            self._eligible,
            self._dependency_met,
            self._corresponding,
            self._hopeless,
            self._expired,
            self._broken,
            list(self._budget.prices.values()),
            self._budget.unpriced,
            self._budget.over_budget,
            self._wake,
        )

    def _plan_job(self, job: Job) -> None:
        """Plan the start of a job or its elements, or record its wait."""
        wait = self._not_eligible(job)
        while wait is None:
            if job.het_job_id:
                if job.het_job_id not in self._planned_het:
                    self._planned_het.add(job.het_job_id)
                    self._plan_het_job(job)
                return
            wait = self._plan_element(job)
            if wait is None:
                elements = self._elements.get(job.job_id)
                if elements is None or not elements.left:
                    return
                wait = self._not_eligible(job)
        self._waits.append(wait)

    # --- a job, or an array's element

    def _plan_element(self, job: Job) -> Wait | None:
        """Plan a start in the first possible partition. Return the wait if there is none."""
        wait = Wait(job, "Resources")
        planned: tuple[float | None, tuple[str, ...] | None] = None, None
        record = job
        for name, qos in product(job.partition.split(","), self._limits.choices(job)):
            partition = self._job_table.cluster.partition(name)
            if partition is None:
                continue
            job = record if qos == record.qos else replace(record, qos=qos)
            reason = self._partition_limit(job, partition)
            if reason is None and (id(job.spec), name) in self._failed:
                reason = ("Priority", "")
            if reason is None and job.spec.licenses and self._trial.lacks_license(job.spec.licenses):
                reason = ("Licenses", "")
            if reason is not None:
                found: Wait | None = Wait(job, *reason)
            elif self._rules.places_in(name):
                found = self._plan_on_nodes(job, partition)
            else:
                found = self._plan_on_created_nodes(job, partition)
            if found is None:
                return None
            wait = found._replace(job=record)
            planned = (wait.start, wait.nodes) if wait.nodes is not None else planned
        return wait._replace(start=planned[0], nodes=planned[1]) if planned != (wait.start, wait.nodes) else wait

    def _plan_on_created_nodes(self, job: Job, partition: PartitionConfig) -> Wait | None:
        element = self._next_element(job)
        if element is None:
            return Wait(job, "Dependency")
        task, job_id = element
        demand = self._rules.demand(job.spec).limited_to(partition)
        shares = ordered_shares(demand, job.spec, partition, job_id)
        self._start(job, job_id, task, partition.name, shares, job.time_limit_min, awaits_nodes=True)
        return None

    def _plan_on_nodes(self, job: Job, partition: PartitionConfig) -> Wait | None:
        """Plan a start on nodes of a partition, or return the wait."""
        name, rules = partition.name, self._rules
        fit = rules.fit(job.spec)
        demand = fit.demand.limited_to(partition)
        every = self._trial.uses(name)
        nodes = self._job_table.reservations.open_to(job, every, self._now)
        shares = rules.place(demand, nodes, rules.consume_memory)
        if shares is None:
            if nodes != every and rules.place(demand, every, rules.consume_memory) is not None:
                return Wait(job, RESERVED)
            self._failed.add((id(job.spec), name))
            return self._wait_for_resources(job, demand, nodes, name)
        placed = self._job_table.virtual.placed(fit, shares)
        exceeded = self._limits.first_exceeded(job, partition, lambda: placed)
        if exceeded:
            return Wait(job, exceeded.reason)
        too_dear = self._budget.wait_reason(job, partition, placed)
        if too_dear is not None:
            return Wait(job, *too_dear)
        shorter = None
        if name in self._blocked and not self._keeps_blocked_plan(job, shares, name):
            shorter = shortened(job, self._now, self._blocked[name].start)
            if shorter is None:
                return Wait(job, "Priority")
        element = self._next_element(job)
        if element is None:
            return Wait(job, "Resources" if self._reserved else "Dependency")
        task, job_id = element
        limit = shorter or (job.time_limit_min if job.partition == name else limit_in(self._job_table, job, partition))
        if job.spec.time_min_min and limit is not None:
            limit = min(limit, exempted(partition, self._limits.flags(job)).max_time_min)
        self._start(job, job_id, task, name, placed, limit, main=name not in self._blocked)
        return None

    def _wait_for_resources(self, job: Job, demand: Demand, nodes: Sequence[NodeUse], name: str) -> Wait:
        missing = self._rules.unavailable(demand)
        if missing:
            return Wait(job, "ReqNodeNotAvail", missing)
        if name in self._blocked:
            return Wait(job, "Priority")
        memory, later = self._rules.consume_memory, self._rules.place_later
        found = earliest(self._job_table, demand, nodes, self._now, memory, later, self._trial.starts)
        if found is None or "NoReserve" in self._limits.flags(job):
            return Wait(job, "Resources")  # the job then delays no other job
        start, shares, future = found
        self._blocked[name] = Blocked(demand, start, future)
        names = tuple(share.name for share in shares)
        ready = self._rules.ready_in(names, name)
        return Wait(job, "Resources", "", shown_start(start + ready, self._now), names)

    def _keeps_blocked_plan(self, job: Job, shares: Sequence[NodeShare], name: str) -> bool:
        """True if the blocked job's plan remains valid with this start."""
        first = self._blocked[name]
        left = nodes_after_start(job, shares, self._now, first, name, self._rules)
        if left is None:
            return False
        first.nodes = left
        return True

    def _next_element(self, job: Job) -> tuple[int | None, int] | None:
        """Return an array's next element, and the id of its record.

        For another job: None and its own id. None instead of a pair: no element's dependency is met. The last element
        takes the array's record.
        """
        if not job.pending_tasks:
            return None, job.job_id
        elements = self._elements.get(job.job_id)
        if elements is None:
            elements = self._elements[job.job_id] = _Elements(job)
        if job.followers and elements.left < 2:
            self._reserved = True  # until the followers are dropped: the last element has the array's record
            return None
        task: int | None = elements.first
        if "aftercorr" in job.dependency:
            task = next(
                (
                    task
                    for part in job.pending_tasks
                    for task in part
                    if task not in elements.planned
                    and dependencies.corresponding_ready(job.dependency, task, self._rules.job_table.referenced)
                ),
                None,
            )
        if task is None:
            return None
        return task, job.job_id if elements.left == 1 else self._next_id

    def _start(
        self,
        job: Job,
        job_id: int,
        task: int | None,
        partition: str,
        shares: list[NodeShare],
        limit: int | None,
        awaits_nodes: bool = False,
        main: bool | None = None,
    ) -> None:
        """Plan a start, and book its resources."""
        limit = deadlines.limit_until(job, limit, self._now)
        self._add_start(Start(job, job_id, shares, partition, limit, task, awaits_nodes, main), self._trial)
        if task is not None:
            self._elements[job.job_id].plan(task)
            self._next_id += job_id == self._next_id
        if job.array_max_running:  # also an element that was split off its array
            self._running[job.array_job_id] = self._running_elements(job) + 1

    def _add_start(self, start: Start, trial: Trial) -> None:
        trial.add(start)
        self._limits.plan(start.job, start.shares)
        self._budget.plan(start.job)

    # --- heterogeneous jobs

    def _plan_het_job(self, leader: Job) -> None:
        """Plan to start all components of a het job, or none."""
        components = self._job_table.components(leader)
        if any(part.state is not JobState.PENDING or part.priority == 0 for part in components):
            return
        names = dict.fromkeys(part.partition.split(",")[0] for part in components)
        nodes = {use.config.name: use for name in names for use in self._trial.uses(name)}
        reason: _Reason = ("Resources", "")
        for group in self._rules.neighbourhoods(list(nodes.values())) or [[]]:
            fork, counted = self._trial.fork(), self._limits.planned
            objection = self._het_starts(components, fork, {use.config.name for use in group})
            if objection is None:
                self._trial.merge(fork)
                return
            reason = objection
            self._limits.forget_planned(counted)
            self._budget.forget(components)
        self._waits += [Wait(part, *reason) for part in components]

    def _het_starts(self, components: Sequence[Job], fork: Trial, group: Collection[str]) -> _Reason | None:
        """Plan the starts of all components on a group of nodes.

        Return the reason why one cannot start, or None. ``fork`` has the planned starts.
        """
        if not self._rules.places_in(components[0].partition):
            return self._het_on_created_nodes(components, fork)
        together = self._job_table.virtual.fit_components([self._rules.demand(part.spec) for part in components])
        if together is not None:
            return self._het_on_virtual_nodes(components, together, fork)
        # Components get separate nodes (backfill.c _het_job_start_now) if the cluster has enough.
        apart = sum(self._rules.demand(part.spec).min_nodes for part in components) <= len(self._job_table.nodes)
        for part in components:
            name = part.partition.split(",")[0]
            reason, _ = self._component_limit(part, fork)
            if reason is not None:
                return reason
            used = {share.name for start, _ in fork.starts for share in start.shares} if apart else set()
            free = self._job_table.reservations.open_to(part, fork.uses(name), self._now)
            uses = [use for use in free if use.config.name in group and use.config.name not in used]
            partition = self._job_table.cluster.partition(name)
            assert partition is not None
            demand = self._rules.fit(part.spec).demand.limited_to(partition)
            shares = self._rules.place(demand, uses, self._rules.consume_memory)
            if shares is None or (name in self._blocked and not self._keeps_blocked_plan(part, shares, name)):
                return ("Resources", "")
            too_dear = self._budget.wait_reason(part, partition, shares)
            if too_dear is not None:
                return too_dear
            self._start_component(part, name, shares, fork)
        return None

    def _het_on_virtual_nodes(self, components: Sequence[Job], fits: Sequence[Fit], fork: Trial) -> _Reason | None:
        """Plan components that are too large for this machine on virtual nodes."""
        for part in components:
            reason, _ = self._component_limit(part, fork, licenses=False)
            if reason is not None:
                return reason
        leader = components[0]
        nodes = self._job_table.reservations.open_to(leader, fork.uses(leader.partition.split(",")[0]), self._now)
        if place(fits[0].demand, nodes, self._rules.consume_memory) is None:
            return ("Resources", "")
        for part, fit in zip(components, fits, strict=True):
            self._start_component(part, part.partition.split(",")[0], self._job_table.virtual.placed(fit, []), fork)
        return None

    def _het_on_created_nodes(self, components: Sequence[Job], fork: Trial) -> _Reason | None:
        """Plan to start components on nodes that the engine creates."""
        for part in components:
            reason, partition = self._component_limit(part, fork)
            if reason is not None or partition is None:
                return reason
            shares = ordered_shares(self._rules.demand(part.spec), part.spec, partition, part.job_id)
            self._start_component(part, partition.name, shares, fork, awaits_nodes=True)
        return None

    def _component_limit(
        self, part: Job, fork: Trial, licenses: bool = True
    ) -> tuple[_Reason | None, PartitionConfig | None]:
        partition = self._job_table.cluster.partition(part.partition.split(",")[0])
        if partition is None:
            return ("Resources", ""), None
        reason = self._partition_limit(part, partition)
        if reason is None and licenses and part.spec.licenses and fork.lacks_license(part.spec.licenses):
            reason = ("Licenses", "")
        return reason, partition

    def _start_component(
        self, part: Job, partition: str, shares: list[NodeShare], fork: Trial, awaits_nodes: bool = False
    ) -> None:
        limit = deadlines.limit_until(part, part.time_limit_min, self._now)
        self._add_start(Start(part, part.job_id, shares, partition, limit, None, awaits_nodes), fork)

    # --- reasons

    def _wake_at(self, when: float) -> None:
        self._wake = when if self._wake is None else min(self._wake, when)

    def _not_eligible(self, job: Job) -> Wait | None:
        """Return why the job waits regardless of free resources, or None."""
        now = self._now
        if job.spec.deadline is not None:
            latest = deadlines.latest_start(job)
            if latest is not None and now > latest:
                self._expired.append(job)
                return Wait(job, "DeadLine")
            self._wake_at((latest or 0) + 0.1)
        if job.priority == 0:
            if job.reason in _HOLD_REASONS:
                return Wait(job, job.reason, job.reason_desc)
            return Wait(job, job.reason if job.reason.startswith("JobHeld") else "JobHeldUser")
        if job.qos in self._job_table.overrides.deleted_qos:
            return Wait(job, "InvalidQOS")
        if job.dependency and job.job_id not in self._met:
            unmet = self._dependency(job)
            if unmet is not None:
                return unmet
        reserved = self._job_table.reservations.waits(job, now)
        if reserved is not None:
            return Wait(job, reserved[0])
        begin = max(job.spec.begin or 0, job.eligible_time)
        if begin > now:
            self._wake_at(begin)
            return Wait(job, "BeginTime", start=begin)
        if (
            job.array_max_running
            and self._running_elements(job) >= job.array_max_running
            and not self._rules.packs(job.spec, job.partition)
        ):
            return Wait(job, "JobArrayTaskLimit", eligible=False)
        if not job.eligible_time and job.job_id not in self._elements:
            self._eligible.append(job)
        return None

    def _dependency(self, job: Job) -> Wait | None:
        """The reason of a wait for other jobs, or None."""
        lookup, singletons = self._rules.job_table.referenced, self._rules.singletons(job)
        verdict = dependencies.evaluate(job.dependency, job, lookup, singletons, self._now)
        if verdict.recheck is not None:
            self._wake_at(verdict.recheck)
        corresponding = "aftercorr" in job.dependency
        if corresponding and job.pending_tasks:
            self._corresponding.append(job)
        if verdict.state == "met":
            if not corresponding or not job.pending_tasks:
                self._dependency_met.append(job)
                self._met.add(job.job_id)
            return None
        changed = None
        if job.dependency_shown != verdict.shown:
            # The elements of the other array are found by their own numbers until the result is known.
            keeps = corresponding and verdict.state == "wait"
            changed = (job.dependency if keeps else verdict.rest, verdict.shown)
        if verdict.state != "never":
            return Wait(job, "Dependency", dependency=changed)
        if job.spec.kill_on_invalid_dep:
            self._hopeless.append(job)
        return Wait(job, "DependencyNeverSatisfied", dependency=changed)

    def _running_elements(self, job: Job) -> int:
        """Number of an array's elements that run or will start."""
        known = self._running.get(job.array_job_id)
        if known is None:
            known = self._running[job.array_job_id] = self._job_table.running_elements(job.array_job_id)
        return known

    def _partition_limit(self, job: Job, partition: PartitionConfig) -> _Reason | None:
        """Return the limit that blocks the job regardless of nodes, or None."""
        rules = self._rules
        undecided = rules.undecided(partition.name)
        if undecided:
            return ("ReqNodeNotAvail", f"ReqNodeNotAvail, {undecided}")
        reason = rules.lasting_limit(job, partition)
        if reason is None and self._limits.active:
            over = self._limits.first_exceeded(job, partition, rules.requested(job, partition))
            reason = (over.reason, "") if over else None
        if reason is None and not rules.places_in(partition.name):
            reason = self._budget.wait_reason(job, partition)
        return reason
