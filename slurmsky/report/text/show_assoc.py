"""scontrol show assoc_mgr: users, associations and QOS.

As in slurmctld, usage is counted only if the site enforces limits (AccountingStorageEnforce). Keys and order:
scontrol's info_assoc_mgr.c.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Callable, Optional

from slurmsky.model.cluster import ClusterConfig
from slurmsky.model.job import Job
from slurmsky.model.policy import NORMAL, Limits, QosConfig, Tres

from ..fields import limit_cells
from .sacctmgr_tables import TRES, Association, associations

#: minutes of each resource, and of elapsed time ("wall"), used by the jobs of a QOS or association
Spent = Callable[[str, str], Mapping[str, int]]
SECTIONS = ("assoc", "qos", "users")
_KEYS = ("accounts", "flags", "qos", "users")


class BadWord(ValueError):
    """Error for a word that selects nothing. Its text is scontrol's error message, ``code`` its exit code."""

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class AssocChoice:
    """Selection: sections, and names in each section (empty: all)."""

    sections: frozenset[str] = frozenset(SECTIONS)
    accounts: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    qos: frozenset[str] = frozenset()


def choice(words: Sequence[str]) -> AssocChoice:
    """Parse words such as ``users=ada flags=assoc``. Raises BadWord."""
    given: dict[str, frozenset[str]] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not value:
            raise BadWord("No value given for option %s" % word)
        name = next((name for name in _KEYS if name.startswith(key.lower())), None)
        if name is None:
            raise BadWord("invalid entity: %s for keyword:show assoc_mgr" % word, 1)
        given[name] = given.get(name, frozenset()) | frozenset(value.lower().split(","))
    sections = given.pop("flags", frozenset(SECTIONS))
    found = set()
    for flag in sections:
        section = next((name for name in SECTIONS if name.startswith(flag)), None)
        if section is None:
            raise BadWord("invalid flag '%s', valid options are 'Assoc, QOS, and/or Users'" % flag)
        found.add(section)
    return AssocChoice(frozenset(found), **given)


@dataclass
class _TresUsage:
    """Current usage of a QOS's or account's jobs."""

    jobs: int = 0
    submitted: int = 0
    cpus: int = 0
    memory_mib: int = 0
    nodes: int = 0

    def of(self, name: str) -> int:
        """Usage of a TRES by its name."""
        return {"cpu": self.cpus, "billing": self.cpus, "mem": self.memory_mib, "node": self.nodes}.get(name, 0)


def _use(jobs: Iterable[Job]) -> _TresUsage:
    use = _TresUsage()
    for job in jobs:
        use.submitted += 0 if job.state.finished else max(job.pending_count, 1)
        if job.state.active:
            use.jobs += 1
            use.cpus += job.num_cpus
            use.nodes += len(job.shares)
            use.memory_mib += sum(share.memory_mib for share in job.shares)
    return use


def show(
    cluster: ClusterConfig,
    user: str,
    uid: int,
    accounts: Sequence[str],
    chosen: AssocChoice,
    oneliner: bool = False,
    jobs: Iterable[Job] = (),
    spent: Spent = lambda kind, name: Counter(),
) -> str:
    """Text of the selected records. ``jobs`` are the active jobs, ``spent`` the minutes used by kind and name."""
    # Without limits no usage is counted.
    known_jobs = list(jobs) if cluster.qos or cluster.accounts or cluster.associations else []
    gap, first = ("", " ") if oneliner else ("\n", "\n    ")
    parts = ["Current Association Manager state\n"]

    def section(name: str, title: str, none: str, records: Iterable[str]) -> None:
        if name in chosen.sections:
            lines = "".join(record + "\n" for record in records)
            parts.append("%s%s\n%s%s" % (gap, title, gap, lines) if lines else "%s%s\n%s" % (gap, none, gap))

    known = not chosen.users or user.lower() in chosen.users
    level = "Administrator" if uid == 0 else "None"
    record = "UserName=%s(%d) DefAccount=%s DefWckey= AdminLevel=%s" % (user, uid, accounts[0], level)
    section("users", "User Records", "No users currently cached in Slurm.", [record] if known else [])
    section("assoc", "Association Records", "No associations currently cached in Slurm.", (
        first.join(_association(one, uid, cluster, known_jobs, spent))
        for one in associations(cluster.name, accounts, user)
        if (not chosen.accounts or one.account.lower() in chosen.accounts)
        and (not chosen.users or not one.user or one.user.lower() in chosen.users)
    ))  # fmt: skip
    section("qos", "QOS Records", "No QOS currently cached in Slurm.", (
        _qos_record(one, number, first, oneliner, _use(job for job in known_jobs if job.qos == one.name),
                    spent("qos", one.name))
        for number, one in enumerate(cluster.qos or (NORMAL,), 1) if not chosen.qos or one.name.lower() in chosen.qos
    ))  # fmt: skip
    return "".join(parts)


def _count(limit: Optional[int], used: int) -> str:
    return "%s(%d)" % ("N" if limit is None else limit, used)


def _tres(limits: Tres = (), use: Callable[[str], int] = lambda name: 0) -> str:
    """Each TRES with its limit, or N, and its usage."""
    known = dict(limits)
    names = [("%s/%s" % (kind, name) if name else kind) for kind, name, _ in TRES]
    names += [name for name in known if name not in names]
    return ",".join("%s=%s" % (name, _count(known.get(name), use(name))) for name in names)


def _text(number: Optional[int]) -> str:
    return "" if number is None else str(number)


def _over_time(limits: Limits, spent: Mapping[str, int]) -> str:
    """GrpTRESMins with usage. Under priority/basic slurmctld sums no usage; slurmsky sums it if a limit needs it."""
    known = spent if limits.grp_tres_mins else {}
    return _tres(limits.grp_tres_mins, lambda name: known.get(name, 0))


def _wall(limits: Limits, spent: Mapping[str, int]) -> str:
    most = limits.grp_wall_min
    return "N(0.00)" if most is None else "%d(%.2f)" % (most, spent.get("wall", 0))


def _association(one: Association, uid: int, cluster: ClusterConfig, jobs: Sequence[Job], used: Spent) -> list[str]:
    user = "%s(%d)" % (one.user, uid) if one.user else ""
    lineage = "/" if one.account == "root" else f"/{one.account}/"
    lineage += f"0-{one.user}/" if one.user else ""
    use = _use(job for job in jobs if job.account == one.account)
    record = limit_cells.nearest(cluster, one.account, one.user)
    limits = record.limits
    spent = used("user", f"{one.account}/{one.user}") if one.user else used("account", one.account)
    return [
        "ClusterName=%s Account=%s UserName=%s Partition= Priority=0 ID=%d"
        % (one.cluster, one.account, user, one.number),
        # priority/basic does not traverse the tree of shares.
        "SharesRaw/Norm/Level/Factor=%d/18446744073709551616.00/1/0.00"
        % (2147483647 if record.fair_share is None else record.fair_share),
        "UsageRaw/Norm/Efctv=0.00/1.00/0.00",
        "ParentAccount=%s Lineage=%s DefAssoc=%s"
        % ("" if one.user or one.root else "root", lineage, "Yes" if one.user else "No"),
        "GrpJobs=%s GrpJobsAccrue=N(0)" % _count(limits.grp_jobs, use.jobs),
        "GrpSubmitJobs=%s GrpWall=%s"
        % (_count(limits.grp_submit_jobs, use.submitted), _wall(limits, spent)),
        "GrpTRES=" + _tres(limits.grp_tres, use.of),
        "GrpTRESMins=" + _over_time(limits, spent),
        "GrpTRESRunMins=" + _tres(),
        "MaxJobs=%s MaxJobsAccrue= MaxSubmitJobs=%s MaxWallPJ=%s" % (
            _text(limits.max_jobs_per_user), _text(limits.max_submit_jobs_per_user), _text(limits.max_wall_min)),
        "MaxTRESPJ=" + _plain(limits.max_tres),
        "MaxTRESPN=" + _plain(limits.max_tres_per_node),
        "MaxTRESMinsPJ=" + _plain(limits.max_tres_mins),
        "MinPrioThresh=",
        "Comment=(null)",
    ]  # fmt: skip


def _plain(tres: Tres) -> str:
    """Limits of each job: numbers without a unit."""
    return ",".join(f"{name}={count}" for name, count in tres)


def _qos_record(
    one: QosConfig, number: int, first: str, oneliner: bool, use: _TresUsage, spent: Mapping[str, int]
) -> str:
    none = ("=No Accounts", "=No Users") if oneliner else ("\n        No Accounts", "\n        No Users")
    limits = one.limits
    return first.join([
        "QOS=%s(%d)" % (one.name, number),
        "UsageRaw=0.000000",
        "GrpJobs=%s GrpJobsAccrue=N(0) GrpSubmitJobs=%s GrpWall=%s"
        % (_count(limits.grp_jobs, use.jobs), _count(limits.grp_submit_jobs, use.submitted), _wall(limits, spent)),
        "GrpTRES=" + _tres(limits.grp_tres, use.of),
        "GrpTRESMins=" + _over_time(limits, spent),
        "GrpTRESRunMins=" + _tres(),
        "MaxWallPJ=" + _text(limits.max_wall_min),
        "MaxTRESPJ=" + _plain(limits.max_tres),
        "MaxTRESPN=" + _plain(limits.max_tres_per_node),
        "MaxTRESMinsPJ=" + _plain(limits.max_tres_mins),
        "MinPrioThresh= ",
        "MinTRESPJ=" + _plain(limits.min_tres),
        "PreemptMode=OFF",
        "Priority=%d" % one.priority,
        "Account Limits" + none[0],
        "User Limits" + none[1],
    ])  # fmt: skip
