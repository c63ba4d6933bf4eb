"""The scheduler: decides which pending jobs start now, on which nodes, and why the others wait.

One pass evaluates the pending jobs by priority. The first job of a partition that finds no room gets a planned
start from the ends of the running jobs; a later job may start if that plan still holds with it (EASY backfill,
Slurm's sched/backfill with bf_max_job_test=1 per partition). Every other reason to wait is the first in Slurm's order
that is true of the job: held, dependency, begin time, array limit, partition, limits, licences, resources.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ...language import hostlist, licenses
from ...model.allocation import NodeShare
from ...model.cluster import PartitionConfig
from ...model.job import Job
from ...model.spec import INFINITE, JobSpec
from ...model.states import JobFlag, JobState, NodeFlag
from ..jobs import transitions
from ..jobs.job_table import JobTable
from ..jobs.submitter import limit_in, split_element
from ..rules import deadlines, dependencies, partition_access
from ..rules.advance_reservations import RESERVED
from ..rules.demand import Demand, demand_of
from ..rules.limit_policy import Over
from ..rules.provisional_shares import cloud_shares, ordered_shares
from ..rules.resources import NodeUse, Place, consumes_memory, place, too_big
from ..rules.virtual_nodes import Fit


@dataclass
class Plan:
    """The decisions of one pass."""

    starts: list[tuple[Job, list[NodeShare]]] = field(default_factory=list)
    #: jobs whose dependency can never hold and that requested to be cancelled then
    hopeless: list[Job] = field(default_factory=list)
    #: jobs whose deadline has passed
    expired: list[Job] = field(default_factory=list)
    #: jobs whose scheduling raised, with the exception; the pass goes on with the others
    broken: list[tuple[Job, Exception]] = field(default_factory=list)
    #: epoch second at which time alone may change the answer
    wake: float | None = None


@dataclass
class _Blocked:
    demand: Demand
    start: float
    nodes: list[NodeUse]


class Scheduler:
    """Decides which jobs start; the life cycle starts them. ``places_in``: whether a partition has fixed nodes."""

    def __init__(
        self,
        book: JobTable,
        places_in: Callable[[str], bool] = lambda partition: True,
        packs: Callable[[JobSpec, str], bool] = lambda spec, partition: False,
        *,
        money: Callable[[Job, PartitionConfig], tuple[str, str] | None] = lambda job, partition: None,
        undecided: Callable[[str], str] = lambda partition: "",
        on_pass: Callable[[], None] = lambda: None,
        shared: Callable[[str, list[NodeUse]], list[NodeUse]] = lambda partition, uses: uses,
        ready_in: Callable[[Sequence[str], str], float] = lambda names, partition: 0.0,
        place: Place = place,
    ) -> None:
        self.book = book
        self.places_in = places_in
        #: why the budget keeps a job from starting on paid nodes, (reason, text); None: the job may start
        self.money = money
        #: why the engine of a partition's jobs is not known yet; "" where it is known
        self.undecided = undecided
        #: called at the beginning of each pass
        self.on_pass = on_pass
        #: nodes of a partition without what other users of the machine hold
        self.shared = shared
        #: seconds until nodes of a partition are expected to be up
        self.ready_in = ready_in
        #: places a job on nodes; power saving knows which of the nodes are up
        self.place = place
        self.packs = packs  # an array's engine applies its %N itself, and receives all elements
        self._demands: dict[int, tuple[JobSpec, Demand]] = {}
        self._fits: dict[int, tuple[JobSpec, Fit]] = {}
        self.consume_memory = consumes_memory(book.cluster)

    def demand(self, spec: JobSpec) -> Demand:
        """The demand of a spec, remembered while the spec lives."""
        known = self._demands.get(id(spec))
        if known is None or known[0] is not spec:
            if len(self._demands) > 5000:
                self._demands.clear()
            known = self._demands[id(spec)] = (spec, demand_of(spec))
        return known[1]

    def fit(self, spec: JobSpec) -> Fit:
        """The demand of a spec on the nodes of this machine, remembered while the spec lives."""
        known = self._fits.get(id(spec))
        if known is None or known[0] is not spec:
            if len(self._fits) > 5000:
                self._fits.clear()
            known = self._fits[id(spec)] = (spec, self.book.virtual.fit(self.demand(spec)))
        return known[1]

    def uses(self, partition: str) -> list[NodeUse]:
        """The partition's nodes with their present use."""
        return self.shared(partition, [self.book.uses[node.name] for node in self.book.partition_nodes[partition]])

    # --- the pass

    def run(self) -> Plan:
        """Evaluate all pending jobs once."""
        book, now = self.book, self.book.clock()
        self.on_pass()
        book.policy.begin_pass()
        plan = Plan()
        book.mark_reserved()
        change = book.reservations.next_change(now)
        if change is not None:
            self._wake(plan, change)
        blocked: dict[str, _Blocked] = {}
        failed: set[tuple[int, str]] = set()
        pending = [book.jobs[job_id] for job_id in book.pending]
        pending.sort(key=self.rank if book.ranked else _age)
        done_het: set[int] = set()
        pending = [job for job in pending if not job.launched]
        for job in pending:
            if job.state is not JobState.PENDING:
                continue
            try:
                self._consider(job, now, plan, blocked, failed, done_het)
            except Exception as problem:
                plan.broken.append((job, problem))
        return plan

    def _consider(
        self,
        job: Job,
        now: float,
        plan: Plan,
        blocked: dict[str, _Blocked],
        failed: set[tuple[int, str]],
        done_het: set[int],
    ) -> None:
        """Start one pending job, or as many elements of an array as fit, or set the reason why it waits."""
        reason = self._not_eligible(job, now, plan)
        if reason is not None:
            self._wait(job, *reason)
            return
        if job.het_job_id:
            if job.het_job_id not in done_het:
                done_het.add(job.het_job_id)
                self._het(job, now, plan, blocked)
            return
        while job.state is JobState.PENDING:
            if not self._try(job, now, plan, blocked, failed):
                return
            if plan.starts[-1][0] is job or not job.pending_tasks:
                return
            reason = self._not_eligible(job, now, plan)
            if reason is not None:
                self._wait(job, *reason)
                return

    def rank(self, job: Job) -> tuple[float, ...]:
        """The sort key of pending jobs: the tier of the partition, the QOS, the job's priority, its age."""
        tiers = [part.priority_tier for name in job.partition.split(",") if (part := self.book.cluster.partition(name))]
        return (-max(tiers, default=1), -self.book.policy.priority(job), *_age(job))

    def _try(
        self, job: Job, now: float, plan: Plan, blocked: dict[str, _Blocked], failed: set[tuple[int, str]]
    ) -> bool:
        """Start the job or one of its elements now; False when it has to wait (reason set)."""
        reason = ("Resources", "")
        for name in job.partition.split(","):
            partition = self.book.cluster.partition(name)
            if partition is None:
                continue
            limit = self._partition_limit(job, partition)
            if limit:
                reason = limit
                continue
            if (id(job.spec), name) in failed:
                reason = ("Priority", "")
                continue
            lacking = self._lacking_license(job.spec)
            if lacking:
                reason = ("Licenses", "")
                continue
            if not self.places_in(name):
                demand = self.demand(job.spec).within(partition)
                element = self._element(job)
                if element is None:
                    self._wait(job, "Dependency", "")
                    return False
                element.partition = name
                ordered = ordered_shares(demand, element.spec, partition, element.job_id)
                self._take(element, ordered, plan, launched=True)
                return True
            fit = self.fit(job.spec)
            demand = fit.demand.within(partition)
            every = self.uses(name)
            nodes = self.book.reservations.open_to(job, every, now)
            shares = self.place(demand, nodes, self.consume_memory)
            if shares is None and nodes != every and self.place(demand, every, self.consume_memory) is not None:
                reason = (RESERVED, "")
                continue
            if shares is None:
                failed.add((id(job.spec), name))
                missing = self._unavailable(demand)
                if missing:
                    reason = ("ReqNodeNotAvail", missing)
                elif name in blocked:
                    reason = ("Priority", "")
                else:
                    reason = ("Resources", "")
                    start = self._block(job, demand, nodes, now, blocked, name)
                    if start is not None:
                        transitions.plan_start(job, start)
                continue
            placed = self.book.virtual.placed(fit, shares)
            objection = self._refused(job, partition, placed)
            if objection:
                reason = (objection, "")
                continue
            shortened = None
            if name in blocked and not self._harmless(job, shares, now, blocked[name], name):
                shortened = _shortened(job, now, blocked[name].start)
                if shortened is None:
                    reason = ("Priority", "")
                    continue
            element = self._element(job)
            if element is None:
                self._wait(job, "Dependency", "")
                return False
            if "," in element.partition or element.partition != name:
                element.partition = name
                element.time_limit_min = limit_in(self.book, element, partition)
            element.time_limit_min = shortened or element.time_limit_min
            if job.spec.time_min_min and element.time_limit_min is not None:
                element.time_limit_min = min(element.time_limit_min, partition.max_time_min)
            element.sched_main = name not in blocked
            self._take(element, placed, plan)
            return True
        self._wait(job, *reason)
        return False

    def _take(self, job: Job, shares: list[NodeShare], plan: Plan, launched: bool = False) -> None:
        job.time_limit_min = deadlines.limit_until(job, self.book.clock())
        transitions.take(job, shares, launched)
        self.book.policy.took(job)
        self.book.book_shares(job)
        self.book.touch(job)
        plan.starts.append((job, shares))

    def _element(self, job: Job) -> Job | None:
        """The job itself, or the lowest eligible element of an array, moved to its own record."""
        if not job.pending_tasks:
            return job
        if "aftercorr" in job.dependency:
            for part in job.pending_tasks:
                for task in part:
                    if dependencies.corresponding_ready(job.dependency, task, self.lookup):
                        return split_element(self.book, job, task)
            return None
        return split_element(self.book, job, job.pending_tasks[0][0])

    def _het(self, leader: Job, now: float, plan: Plan, blocked: dict[str, _Blocked]) -> None:
        """All components or none."""
        components = self.book.components(leader)
        if any(part.state is not JobState.PENDING or part.priority == 0 for part in components):
            return
        if not self.places_in(leader.partition):
            self._het_on_cloud(components, plan)
            return
        together = self.book.virtual.together([self.demand(part.spec) for part in components])
        if together is not None:
            self._het_virtual(components, together, now, plan)
            return
        taken: list[tuple[Job, list[NodeShare]]] = []
        # Components get separate nodes (backfill.c _het_job_start_now), where the cluster has that many at all.
        apart = sum(self.demand(part.spec).min_nodes for part in components) <= len(self.book.nodes)
        for part in components:
            name = part.partition.split(",")[0]
            partition = self.book.cluster.partition(name)
            shares = None
            used = {share.name for _, others in taken for share in others} if apart else set()
            reason: tuple[str, str] | None = None
            if partition is not None:
                reason = self._partition_limit(part, partition)
                if reason is None and not self._lacking_license(part.spec):
                    free = self.book.reservations.open_to(part, self.uses(name), now)
                    uses = [use for use in free if use.config.name not in used]
                    shares = self.place(self.fit(part.spec).demand.within(partition), uses, self.consume_memory)
                    if (
                        shares is not None
                        and name in blocked
                        and not self._harmless(part, shares, now, blocked[name], name)
                    ):
                        shares = None
            if shares is None:
                for other, _ in taken:
                    self.book.free_shares(other)
                    transitions.give_back(other)
                self.book.policy.begin_pass()  # counted anew, without those
                for other in components:
                    self._wait(other, *(reason or ("Resources", "")))
                return
            transitions.take(part, shares)
            self.book.book_shares(part)
            self.book.policy.took(part)
            taken.append((part, shares))
        for part, shares in taken:
            self.book.touch(part)
            plan.starts.append((part, shares))

    def _het_virtual(self, components: Sequence[Job], fits: Sequence[Fit], now: float, plan: Plan) -> None:
        """Start components that are too large for this machine on virtual nodes, or none of them."""
        leader = components[0]
        reason: tuple[str, str] | None = None
        for part in components:
            part.partition = part.partition.split(",")[0]
            partition = self.book.cluster.partition(part.partition)
            reason = reason or (self._partition_limit(part, partition) if partition is not None else ("Resources", ""))
        nodes = self.book.reservations.open_to(leader, self.uses(leader.partition), now)
        real = None if reason else place(fits[0].demand, nodes, self.consume_memory)
        if real is None:
            for part in components:
                self._wait(part, *(reason or ("Resources", "")))
            return
        for part, fit in zip(components, fits, strict=True):
            self._take(part, self.book.virtual.placed(fit, []), plan)

    def _het_on_cloud(self, components: Sequence[Job], plan: Plan) -> None:
        """Start components on nodes made to order: all at once, or none of them."""
        for number, part in enumerate(components):
            part.partition = part.partition.split(",")[0]
            partition = self.book.cluster.partition(part.partition)
            reason = self._partition_limit(part, partition) if partition is not None else ("Resources", "")
            if reason is None and self._lacking_license(part.spec):
                reason = ("Licenses", "")
            if reason is not None:
                for other in components[:number]:
                    self.book.free_shares(other)
                    transitions.give_back(other)
                    self.book.touch(other)
                del plan.starts[len(plan.starts) - number :]
                self.book.policy.begin_pass()  # counted anew, without those
                for other in components:
                    self._wait(other, *reason)
                return
            shares = ordered_shares(self.demand(part.spec), part.spec, partition, part.job_id)
            self._take(part, shares, plan, launched=True)

    # --- reasons

    def _wait(self, job: Job, reason: str, desc: str = "") -> None:
        if transitions.wait(job, reason, desc, self.book.clock()):
            self.book.touch(job)

    def _wake(self, plan: Plan, when: float) -> None:
        plan.wake = when if plan.wake is None else min(plan.wake, when)

    def _not_eligible(self, job: Job, now: float, plan: Plan) -> tuple[str, str] | None:
        """The reason that keeps the job waiting whatever resources are free, or None."""
        if job.spec.deadline is not None:
            latest = deadlines.latest_start(job)
            if latest is not None and now > latest:
                plan.expired.append(job)
                return ("DeadLine", "")
            self._wake(plan, (latest or 0) + 0.1)
        if job.priority == 0:
            if job.reason in _HOLD_REASONS:
                return (job.reason, job.reason_desc)
            return (job.reason if job.reason.startswith("JobHeld") else "JobHeldUser", "")
        if job.dependency:
            verdict = dependencies.evaluate(job.dependency, job, self.lookup, self._singletons(job), now)
            if verdict.recheck is not None:
                self._wake(plan, verdict.recheck)
            if verdict.state != "met":
                if (job.dependency_shown,) != (verdict.shown,):
                    rest = job.dependency if "aftercorr" in job.dependency else verdict.rest
                    transitions.dependency_unmet(job, rest, verdict.shown)
                    self.book.touch(job)
                if verdict.state == "never":
                    if job.spec.kill_on_invalid_dep:
                        plan.hopeless.append(job)
                    return ("DependencyNeverSatisfied", "")
                return ("Dependency", "")
            if "aftercorr" not in job.dependency or not job.array_job_id:
                transitions.dependency_met(job, now)
                self.book.touch(job)
        reserved = self.book.reservations.waits(job, now)
        if reserved is not None:
            return (reserved[0], "")
        begin = max(job.spec.begin or 0, job.eligible_time)
        if begin > now:
            self._wake(plan, begin)
            transitions.plan_start(job, begin)
            return ("BeginTime", "")
        if (
            job.pending_tasks
            and job.array_max_running
            and self.book.running_elements(job.array_job_id) >= job.array_max_running
            and not self.packs(job.spec, job.partition)
        ):
            transitions.not_eligible(job)
            return ("JobArrayTaskLimit", "")
        transitions.make_eligible(job, now)
        return None

    def _partition_limit(self, job: Job, partition: PartitionConfig) -> tuple[str, str] | None:
        """The limit that keeps the job waiting whatever nodes are free, or None."""
        undecided = self.undecided(partition.name)
        if undecided:
            return ("ReqNodeNotAvail", f"ReqNodeNotAvail, {undecided}")
        return (
            self._lasting_limit(job, partition)
            or self._policy(job, partition)
            or (None if self.places_in(partition.name) else self.money(job, partition))
        )

    def _lasting_limit(self, job: Job, partition: PartitionConfig) -> tuple[str, str] | None:
        """What keeps the job out of the partition until a user changes the job or the partition."""
        state = self.book.partition_states.get(partition.name, partition.state).upper()
        if state == "DOWN":
            return ("PartitionDown", "")
        if state == "INACTIVE":
            return ("PartitionInactive", "")
        refused = partition_access.not_permitted(job, partition)
        if refused:
            return refused
        if not self.places_in(partition.name):
            return self._cloud_limit(job, partition) or self._time_limit(job, partition)
        fitted, nodes = self.fit(job.spec).demand, self.book.partition_nodes[partition.name]
        reason = too_big(fitted, partition, nodes, len(self.book.cluster.nodes))
        if reason:
            return (reason, "")
        return self._time_limit(job, partition)

    def stuck(self, job: Job) -> str:
        """The reason why a job can never start unless it or the cluster changes; "" where it may start."""
        if job.state is not JobState.PENDING or job.priority == 0:
            return ""
        if job.dependency:
            verdict = dependencies.evaluate(job.dependency, job, self.lookup, self._singletons(job), self.book.clock())
            if verdict.state == "never":
                return "DependencyNeverSatisfied"
        reason = ""
        for name in job.partition.split(","):
            partition = self.book.cluster.partition(name)
            if partition is None:
                continue
            limit = self._lasting_limit(job, partition)
            reason = limit[0] if limit else self.book.policy.never(job, partition, self._asked(job, partition))
            if not reason:
                return ""
        return reason

    def _refused(self, job: Job, partition: PartitionConfig, shares: list[NodeShare]) -> str:
        return self.book.policy.objection(job, partition, lambda: shares)

    def _policy(self, job: Job, partition: PartitionConfig) -> tuple[str, str] | None:
        """The limit of QOS or account that the request exceeds; the allocation is checked once it is known."""
        if not self.book.policy.active:
            return None
        found = self.over(job, partition)
        return (found.reason, "") if found else None

    def over(self, job: Job, partition: PartitionConfig) -> Over | None:
        """The limit of its QOS or account that the job as requested would exceed now."""
        return self.book.policy.over(job, partition, self._asked(job, partition))

    def _asked(self, job: Job, partition: PartitionConfig) -> Callable[[], list[NodeShare]]:
        demand = self.demand(job.spec)
        if self.places_in(partition.name):
            return lambda: cloud_shares(demand, job.job_id)
        return lambda: ordered_shares(demand, job.spec, partition, job.job_id)

    def _cloud_limit(self, job: Job, partition: PartitionConfig) -> tuple[str, str] | None:
        """The site's limits that also hold where nodes are made to order."""
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

    def _lacking_license(self, spec: JobSpec) -> bool:
        if not spec.licenses:
            return False
        total = dict(self.book.cluster.licenses)
        if self.book.cluster.open and not total:
            return False
        return licenses.parse(spec.licenses).taken(self.book.free_licenses) is None

    def _unavailable(self, demand: Demand) -> str:
        """The text after ReqNodeNotAvail when a node that the job names is down or drained."""
        gone = [
            name
            for name in demand.required
            if (node := self.book.nodes.get(name)) is not None
            and not self.book.uses[name].available
            and (node.flags & NodeFlag.DRAIN or node.state.value == "down")
        ]
        return f"ReqNodeNotAvail, UnavailableNodes:{hostlist.compress(gone)}" if gone else ""

    # --- dependencies

    def lookup(self, job_id: int, task: int | str | None) -> list[Job]:
        """The records in memory that a dependency target means; empty when the job is unknown."""
        book = self.book
        if job_id in book.members:
            records = list(book.array(job_id))
            if isinstance(task, int):
                return [
                    job
                    for job in records
                    if job.array_task_id == task or any(task in part for part in job.pending_tasks)
                ]
            return records
        job = book.jobs.get(job_id)
        if job is None:
            return []
        return book.components(job) if job.het_job_id == job_id else [job]

    def _singletons(self, job: Job) -> list[Job]:
        if "singleton" not in job.dependency:
            return []
        return [
            other
            for other in self.book.jobs.values()
            if other.name == job.name
            and other.user == job.user
            and other.job_id != job.job_id
            and (not job.array_job_id or other.array_job_id != job.array_job_id)
        ]

    # --- backfill

    def _ends(self, now: float, names: set[str]) -> list[tuple[float, Job]]:
        ends = []
        for job_id in self.book.active:
            job = self.book.jobs[job_id]
            if any(share.name in names for share in self.book.virtual.held(job)):
                limit = job.time_limit_min
                if JobFlag.COMPLETING in job.flags:
                    end = now
                elif limit in (None, INFINITE):
                    end = now + 365 * 86400.0
                else:
                    assert limit is not None
                    end = max(now, (job.start_time or now) + limit * 60.0)
                ends.append((end, job))
        ends.sort(key=lambda pair: pair[0])
        return ends

    def _block(
        self,
        job: Job,
        demand: Demand,
        nodes: list[NodeUse],
        now: float,
        blocked: dict[str, _Blocked],
        name: str,
    ) -> float | None:
        """Plan the start of the first job of a partition that finds no room."""
        future = {use.config.name: use.copy() for use in nodes}
        for end, running in self._ends(now, set(future)):
            for share in self.book.virtual.held(running):
                use = future.get(share.name)
                if use is not None:
                    use.give(running.job_id, share, running.partition)
            shares = place(demand, list(future.values()), self.consume_memory)
            if shares is not None:
                blocked[name] = _Blocked(demand, end, list(future.values()))
                transitions.plan_nodes(job, [share.name for share in shares])
                return end if end < now + 364 * 86400 else None
        # No running job explains the wait (a node is down): the blocked job then delays no other job.
        return None

    def _harmless(self, job: Job, shares: list[NodeShare], now: float, first: _Blocked, name: str) -> bool:
        """Whether the plan of the blocked job still holds when this job starts now."""
        limit = job.time_limit_min
        if limit not in (None, INFINITE) and limit is not None and now + limit * 60 <= first.start:
            return True
        future = {use.config.name: use.copy() for use in first.nodes}
        for share in shares:
            if share.name in future:
                future[share.name].take(job.job_id, share, self.demand(job.spec).exclusive, name)
        if place(first.demand, list(future.values()), self.consume_memory) is None:
            return False
        first.nodes = list(future.values())
        return True


def _age(job: Job) -> tuple[float, ...]:
    return (-job.priority, job.submit_time, job.job_id)


def _shortened(job: Job, now: float, until: float) -> int | None:
    """The limit in minutes with which a --time-min job ends before a planned start, or None when it cannot.

    Source: backfill.c, which lowers the limit of such a job as far as --time-min to start it earlier.
    """
    least = job.spec.time_min_min
    room = int(until - now) // 60
    return room if least and room >= least else None


_HOLD_REASONS = frozenset({
    "launch failed requeued held", "JobHoldMaxRequeue", "job requeued in held state", "ReservationDeleted",
    transitions.SYSTEM_FAILURE,
})  # fmt: skip


def predict_start(
    scheduler: Scheduler, job_like: Job, partition: PartitionConfig, now: Callable[[], float]
) -> tuple[float, list[NodeShare]] | None:
    """When and where a job would start (--test-only): now if it fits, else at the end of enough running jobs."""
    fit = scheduler.fit(job_like.spec)
    demand, placed = fit.demand.within(partition), scheduler.book.virtual.placed
    nodes = scheduler.uses(partition.name)
    shares = scheduler.place(demand, nodes, scheduler.consume_memory)
    if shares is not None:
        return now() + scheduler.ready_in([share.name for share in shares], partition.name), placed(fit, shares)
    future = {use.config.name: use.copy() for use in nodes}
    for end, running in scheduler._ends(now(), set(future)):
        for share in scheduler.book.virtual.held(running):
            if share.name in future:
                future[share.name].give(running.job_id, share, running.partition)
        shares = place(demand, list(future.values()), scheduler.consume_memory)
        if shares is not None:
            return end, placed(fit, shares)
    return None
