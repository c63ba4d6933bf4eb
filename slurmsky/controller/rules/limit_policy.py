"""Limits of QOS and accounts: refusals at submit, and pending reasons.

The order of the checks is slurmctld's: numbers of jobs and the time limit first, then sizes, each for the partition's
QOS, the job's QOS and the account; the first QOS that sets a limit applies. A limit keeps a job waiting; with
DenyOnLimit a job that could never meet its limits is refused at submit. Source: slurmctld/acct_policy.c.

The module exceeds 400 lines because submission, pass and trial check the same sources with the same sums of use.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import TypeVar

from ...language import licenses
from ...model.allocation import NodeShare
from ...model.cluster import ClusterConfig, PartitionConfig
from ...model.job import Job
from ...model.policy import NORMAL, Limits, Tres
from ...model.spec import INFINITE, JobSpec
from ..slurm_errors import Errno, SlurmError
from .limit_reasons import EVER, KINDS, RUNNING, SENTENCES, SHARED, SIZES, SUBMITTED, UNITS, USAGE, USAGE_WALL, WALL
from .usage_limits import UsageLimits

Word = TypeVar("Word")


@dataclass(frozen=True)
class LimitSource:
    """A QOS, account or association with limits. ``open``: the fields that no earlier source has set."""

    kind: str  # qos | account | user; the name of a user's association is "account/user"
    name: str
    limits: Limits
    deny: bool = False
    open: frozenset[str] = frozenset()

    def select_reason(self, pair: Sequence[Word]) -> Word:
        """Select the form of a reason for a QOS or an association."""
        return pair[self.kind != "qos"]

    def has(self, name: str) -> bool:
        return name in self.open and getattr(self.limits, name) not in (None, ())


@dataclass(frozen=True)
class Exceeded:
    """A limit that makes a job wait. Slurm's reason, the limit's source, its value, and the value with this job."""

    reason: str
    source: LimitSource
    field: str
    resource: str  # "" for numbers of jobs and for time
    allowed: int
    wanted: int  # including the use of other jobs, if the limit counts it

    def __str__(self) -> str:
        rule, effect = SENTENCES[self.field]
        unit, key = UNITS.get(self.resource, self.resource), self.field.removesuffix("_min")
        have = "no limit" if self.wanted == INFINITE else str(self.wanted)
        who = f"{self.source.kind.replace('qos', 'QOS')} {self.source.name}"
        return f"{who} {rule.format(most=self.allowed, unit=unit)} ({key}); {effect.format(have=have)}"


_FIELDS = tuple(Limits.__dataclass_fields__)
_GROUP = frozenset(name for name in _FIELDS if name.startswith("grp_"))


@dataclass
class _Used:
    jobs: int = 0
    tres: Counter[str] = field(default_factory=Counter)


#: (kind, name, "" | "user" | "account", user or account): all jobs of a QOS or an account, or those of one user or
#: account in it
_Key = tuple[str, str, str, str]


def use_of(spec: JobSpec, shares: Sequence[NodeShare]) -> Counter[str]:
    """Resources of an allocation, by the names of TRES."""
    used = Counter({"node": len(shares)})
    for share in shares:
        used["cpu"] += share.cpus
        used["mem"] += share.memory_mib
        for key, ids in share.gres.items():
            for name in {key, key.partition(":")[0]}:
                used[f"gres/{name}"] += len(ids)
    used["billing"] = used["cpu"]
    if spec.licenses:
        used.update({f"license/{name}": count for name, count in _all_or_first(spec.licenses)})
    return used


def _all_or_first(text: str) -> Sequence[tuple[str, int]]:
    """Return the licences of a request; of alternatives the first. The free licence is not known yet."""
    wanted = licenses.parse(text)
    return wanted.counts[:1] if wanted.any else wanted.counts


class Policy:
    """Limits of one cluster. They have no effect if its site file has neither QOS nor accounts."""

    def __init__(
        self, cluster: ClusterConfig, running: Callable[[], Iterable[Job]], usage: UsageLimits | None = None
    ) -> None:
        self.cluster = cluster
        self.usage = usage
        self.running = running
        self.qos = {one.name: one for one in cluster.qos}
        self.accounts = {one.name: one for one in cluster.accounts}
        self.associations = {f"{one.account}/{one.user}": one for one in cluster.associations}
        self.active = bool(self.qos or self.accounts or self.associations)
        self._used: dict[_Key, _Used] | None = None
        self._planned: list[tuple[Job, list[NodeShare]]] = []  # jobs that count as running in a trial
        self._sources: dict[tuple[str, str, str, str], list[LimitSource]] = {}

    # --- the QOS and the account of a job

    def account_of(self, requested: str | None, own: str) -> str:
        """Return the account of a job. Raises SlurmError. An account that is not in the site file is an error."""
        if not requested:
            return next((one.name for one in self.accounts.values() if one.default), own)
        if self.accounts and requested not in self.accounts:
            if "associations" not in dict(self.cluster.parameters).get("AccountingStorageEnforce", ""):
                return own
            raise SlurmError(Errno.INVALID_ACCOUNT)
        return requested

    def qos_of(self, requested: str | None, account: str, user: str = "") -> str:
        """Return the QOS of a job, of a list the first of ``qos_list``. Raises SlurmError as that does."""
        return self.qos_list(requested, account, user)[0]

    def qos_list(self, requested: str | None, account: str, user: str = "") -> tuple[str, ...]:
        """Return the QOS that a job may run in, by descending priority.

        Raises SlurmError if one is unknown or not allowed, or if a list names a single one. Source: job_mgr.c
        _get_qos_ptr_list.
        """
        if not self.qos:
            return (requested or NORMAL.name,)
        here = self.cluster.account(account, user)
        if not requested:
            fallback = NORMAL.name if not here.qos or NORMAL.name in here.qos else here.qos[0]
            return (here.default_qos or fallback,)
        names = {name for name in requested.split(",") if name}
        if not names <= set(here.qos or self.qos) & set(self.qos) or (len(names) == 1) is ("," in requested):
            raise SlurmError(Errno.INVALID_QOS)
        return self._by_priority(name for name in requested.split(",") if name)

    def choices(self, job: Job) -> tuple[str, ...]:
        """Return the QOS with which a pending job may start, the best first."""
        names = job.spec.qos.split(",") if job.spec.qos else []
        return self._by_priority(names) if len(names) > 1 and set(names) <= set(self.qos) else (job.qos,)

    def _by_priority(self, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted(dict.fromkeys(names), key=lambda name: -self.qos[name].priority))

    def check_reserved(self, qos: str, reservation: str | None) -> None:
        """Raise SlurmError if the QOS requires a reservation."""
        if not reservation and qos in self.qos and "RequiresReservation" in self.qos[qos].flags:
            raise SlurmError(Errno.INVALID_QOS)

    def priority(self, job: Job) -> int:
        """Return the priority of the job's QOS."""
        return self.qos[job.qos].priority if job.qos in self.qos else 0

    def flags(self, job: Job) -> tuple[str, ...]:
        """Return the flags of the job's QOS."""
        return self.qos[job.qos].flags if job.qos in self.qos else ()

    def wall_limit_min(self, job: Job, partition: PartitionConfig) -> int:
        """Return the longest time limit in minutes, or INFINITE. A job without a limit gets this limit."""
        walls = [one.limits.max_wall_min for one in self.sources(job, partition) if one.has("max_wall_min")]
        return min((wall for wall in walls if wall is not None), default=INFINITE)

    def sources(self, job: Job, partition: PartitionConfig) -> list[LimitSource]:
        """Return the sources of a job's limits, in the order of checks."""
        key = (job.qos, job.account, job.user, partition.name)
        if key not in self._sources:
            if len(self._sources) > 5000:
                self._sources.clear()
            self._sources[key] = self._find_sources(job.qos, job.account, job.user, partition)
        return self._sources[key]

    def _find_sources(self, qos: str, account: str, user: str, partition: PartitionConfig) -> list[LimitSource]:
        both = [self.qos.get(partition.qos), self.qos.get(qos)]
        found = list(dict.fromkeys(one for one in both if one is not None))
        if len(found) == 2 and "OverPartQOS" in found[1].flags:
            found.reverse()
        left = frozenset(_FIELDS)
        sources = []
        for one in found:
            sources.append(LimitSource("qos", one.name, one.limits, "DenyOnLimit" in one.flags, left))
            left = _unset(left, one.limits)
        # The nearest association with a limit of jobs decides; limits of groups hold in each association.
        left = frozenset(_FIELDS) - _GROUP
        own = self.associations.get(f"{account}/{user}")
        if own is not None:
            sources.append(LimitSource("user", f"{account}/{user}", own.limits, open=left | _GROUP))
            left = _unset(left, own.limits)
        for above in self.cluster.lineage(account):
            name, limits = above.name, above.limits
            if name == account:
                sources.append(LimitSource("account", account, limits, open=left | _GROUP))
            else:
                sources.append(LimitSource("account", name, limits, open=_GROUP))
                sources.append(LimitSource("account", account, limits, open=left))
            left = _unset(left, limits)
        return sources

    def _associated(self, job: Job) -> list[tuple[str, str]]:
        """Return kinds and names of a job's associations."""
        accounts = [above.name for above in self.cluster.lineage(job.account)] or [job.account]
        return [*(("account", name) for name in accounts), ("user", f"{job.account}/{job.user}")]

    # --- at submit

    def refuse(self, jobs: Sequence[Job], present: Collection[Job], shares: Callable[[Job], list[NodeShare]]) -> None:
        """Raise SlurmError if a limit refuses a submission's jobs. The error is the limit's reason."""
        if not self.active:
            return
        for job in jobs:
            partition = self.cluster.partition(job.partition.partition(",")[0])
            assert partition is not None, "admission checks the partition"
            for source in self.sources(job, partition):
                reason = self._too_many(source, job, present, jobs)
                if not reason and source.deny:
                    own = shares(job)
                    over = self._never(source, job, use_of(job.spec, own), own)
                    if over is None and job.het_job_id:
                        # The components of one association count together. Source: acct_policy_validate_het_job.
                        parts = [one for one in jobs if (one.account, one.user) == (job.account, job.user)]
                        use = sum((use_of(one.spec, shares(one)) for one in parts), Counter())
                        over = self._never(source, job, use, own)
                    reason = over.reason if over else ""
                if reason:
                    raise SlurmError(Errno.JOB_LIMIT, reason)

    def _too_many(self, source: LimitSource, job: Job, present: Collection[Job], coming: Sequence[Job]) -> str:
        for name, (whose, *words) in SUBMITTED.items():
            if source.has(name):
                # A refused job counts together with the other jobs of its submission.
                known = (one for one in (*present, *coming) if not one.state.finished)
                count = sum(_records(one) for one in known if self._counts(source, whose, one, job))
                if count > getattr(source.limits, name):
                    return source.select_reason(words)
        return ""

    def _counts(self, source: LimitSource, whose: str, one: Job, job: Job) -> bool:
        if whose and getattr(one, whose) != getattr(job, whose):
            return False
        return source.name in self._qos_of(one) if source.kind == "qos" else (
            (source.kind, source.name) in self._associated(one))  # fmt: skip

    def _qos_of(self, job: Job) -> set[str]:
        partition = self.cluster.partition(job.partition.partition(",")[0])
        return {job.qos, partition.qos if partition else ""}

    # --- when the job could start

    def begin_pass(self) -> None:
        """Forget the summed use: jobs may have started or ended."""
        self._used = None

    def trial(self) -> Policy:
        """Copy these limits with separate sums of use. A scheduler pass adds its planned starts to the copy."""
        trial = copy(self)
        trial._used, trial._planned = None, []
        return trial

    @property
    def planned(self) -> int:
        """The number of jobs that a trial counts as running."""
        return len(self._planned)

    def plan(self, job: Job, shares: list[NodeShare]) -> None:
        """Count a job as running on these shares."""
        if self.active:
            self._planned.append((job, shares))
            if self._used is not None:
                self._add(self._used, job, shares)

    def forget_planned(self, since: int) -> None:
        """Count only the first ``since`` planned jobs."""
        if len(self._planned) > since:
            del self._planned[since:]
            self._used = None

    def first_exceeded(
        self, job: Job, partition: PartitionConfig, find_shares: Callable[[], Sequence[NodeShare]]
    ) -> Exceeded | None:
        """Return the first limit that a job on these shares exceeds, or None."""
        if not self.active:
            return None
        sources = self.sources(job, partition)
        for source in sources:
            found = self._numbers(source, job)
            if found:
                return found
        shares = find_shares()
        use = use_of(job.spec, shares)
        for source in sources:
            found = self._sizes(source, job, use, shares)
            if found:
                return found
        return None

    def exceeded_when_idle(
        self, job: Job, partition: PartitionConfig, find_shares: Callable[[], Sequence[NodeShare]]
    ) -> str:
        """Return the limit's reason if even an idle cluster is too small, or ""."""
        if not self.active:
            return ""
        shares = find_shares()
        use = use_of(job.spec, shares)
        sources = self.sources(job, partition)
        found = next(filter(None, (self._never(source, job, use, shares) for source in sources)), None)
        return found.reason if found else ""

    def _numbers(self, source: LimitSource, job: Job) -> Exceeded | None:
        for name, (whose, *words) in RUNNING.items():
            if source.has(name):
                running, most = self._use(source, whose, job).jobs, getattr(source.limits, name)
                if running >= most and source.select_reason(words):
                    return Exceeded(source.select_reason(words), source, name, "", most, running + 1)
        if self.usage and source.has("grp_wall_min"):
            have = self.usage.wall_reached((source.kind, source.name), source.limits, job)
            if have is not None:
                return Exceeded(
                    source.select_reason(USAGE_WALL), source, "grp_wall_min", "", source.limits.grp_wall_min or 0, have
                )
        return _too_long(source, job)

    def _sizes(self, source: LimitSource, job: Job, use: Counter[str], shares: Sequence[NodeShare]) -> Exceeded | None:
        if self.usage and source.has("grp_tres_mins"):
            owner = source.kind, source.name
            reached = self.usage.minutes_reached(owner, source.limits, job, use, self._left(source))
            if reached:
                resource, most, have = reached
                reason = source.select_reason(USAGE)[KINDS.index(resource)]
                return Exceeded(reason, source, "grp_tres_mins", resource, most, have)
        for name in SIZES:
            if source.has(name):
                others = self._use(source, SHARED[name], job).tres if name in SHARED else Counter[str]()
                found = _over(source, name, use, others, job, shares)
                if found:
                    return found
        return None

    def _left(self, source: LimitSource) -> Counter[str]:
        """Minutes of each resource reserved by a source's running jobs. They may use them until their time limits."""
        left: Counter[str] = Counter()
        for job, shares in [*((job, job.shares) for job in self.running()), *self._planned]:
            if self._counts(source, "", job, job) and self.usage:
                minutes = self.usage.minutes_left(job)
                left.update({resource: count * minutes for resource, count in use_of(job.spec, shares).items()})
        return left

    def _never(self, source: LimitSource, job: Job, use: Counter[str], shares: Sequence[NodeShare]) -> Exceeded | None:
        found = _too_long(source, job)
        for name in EVER:
            if not found and source.has(name):
                found = _over(source, name, use, Counter(), job, shares)
        return found

    def _use(self, source: LimitSource, whose: str, job: Job) -> _Used:
        if self._used is None:
            self._used = {}
            for one in self.running():
                self._add(self._used, one, one.shares)
            for one, shares in self._planned:
                self._add(self._used, one, shares)
        key = (source.kind, source.name, whose, getattr(job, whose) if whose else "")
        return self._used.get(key, _Used())

    def _add(self, used: dict[_Key, _Used], job: Job, shares: Sequence[NodeShare]) -> None:
        tres_used = use_of(job.spec, shares)
        names = [*(("qos", name) for name in self._qos_of(job)), *self._associated(job)]
        for kind, name in names:
            for whose, value in (("", ""), ("user", job.user), ("account", job.account)):
                entry = used.setdefault((kind, name, whose, value), _Used())
                entry.jobs += 1
                entry.tres.update(tres_used)


def _unset(fields: frozenset[str], limits: Limits) -> frozenset[str]:
    return frozenset(name for name in fields if getattr(limits, name) in (None, ()))


def _records(job: Job) -> int:
    """Number of jobs in a record; pending array elements count separately."""
    return job.pending_count or 1


def _too_long(source: LimitSource, job: Job) -> Exceeded | None:
    limit = source.limits.max_wall_min
    if not source.has("max_wall_min") or limit is None:
        return None
    wanted = INFINITE if job.time_limit_min is None else job.time_limit_min
    return Exceeded(source.select_reason(WALL), source, "max_wall_min", "", limit, wanted) if wanted > limit else None


def _over(
    source: LimitSource, name: str, use: Counter[str], others: Mapping[str, int], job: Job, shares: Sequence[NodeShare]
) -> Exceeded | None:
    """Return the first resource outside its limit, or None."""
    limits: Tres = getattr(source.limits, name)
    words = source.select_reason(SIZES[name])
    for resource, most in limits:
        have = use[resource] + others.get(resource, 0)
        if name == "max_tres_mins":
            have *= INFINITE if job.time_limit_min is None else job.time_limit_min
        elif name == "max_tres_per_node":
            have = max((use_of(replace(job.spec, licenses=None), [share])[resource] for share in shares), default=0)
        if have < most if name == "min_tres" else have > most:
            reason = words[KINDS.index(resource.partition("/")[0])]
            return Exceeded(reason, source, name, resource, most, have) if reason else None
    return None
