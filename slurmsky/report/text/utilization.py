"""sreport: usage of cluster, accounts and users in a period.

slurmdbd aggregates usage by whole hours; here sums are computed from the accounting index, to the second.

Source: src/sreport/cluster_reports.c, job_reports.c, user_reports.c, common.c.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Optional

from slurmsky.language.key_values import matching_value
from slurmsky.model.cluster import ClusterConfig

from ..fields.field_tables import table
from . import named_columns, spending
from .named_columns import Cells
from .print_fields import Column, PrintField, TableStyle, table_text
from .units import Clock

RULE = "-" * 80
#: name, length of the shortest accepted prefix, heading, divisor of seconds (0: not shown), whether with percentage
_FORMATS = (
    ("SecPer", 6, "Seconds/Percentage of Total", 1, True), ("MinPer", 6, "Minutes/Percentage of Total", 60, True),
    ("HourPer", 6, "Hours/Percentage of Total", 3600, True), ("Seconds", 1, "Seconds", 1, False),
    ("Minutes", 1, "Minutes", 60, False), ("Hours", 1, "Hours", 3600, False),
    ("Percent", 1, "Percentage of Total", 0, True))  # fmt: skip


@dataclass(frozen=True)
class TimeFormat:
    """Unit and format of amounts of time."""

    heading: str
    divisor: int
    percent: bool

    @property
    def wide(self) -> bool:
        """Return whether a cell has number and percentage, in a wider column."""
        return self.percent and bool(self.divisor)

    def text(self, seconds: float, total: float) -> str:
        """Format an amount, with its percentage of the total."""
        share = "%.2f%%" % (100 * seconds / (total or 1))
        if not self.divisor:
            return share
        number = "%.0f" % (seconds / self.divisor)
        return f"{number}({share})" if self.percent else number


MINUTES = TimeFormat("Minutes", 60, False)


def time_format(word: str) -> Optional[TimeFormat]:
    """Parse the argument of -t."""
    return matching_value(word, ((name, least, TimeFormat(heading, divisor, percent))
                                  for name, least, heading, divisor, percent in _FORMATS))  # fmt: skip


@dataclass(frozen=True)
class UsageQuery:
    """Parameters of a report. ``kind`` is cluster, job, user or reservation, ``name`` a name in REPORTS[kind]."""

    kind: str
    name: str
    start: int
    end: int
    format: str = ""
    tres: tuple[str, ...] = ("cpu",)
    tres_given: bool = False
    time: TimeFormat = MINUTES
    style: TableStyle = field(default_factory=TableStyle)
    top: int = 10
    grouping: tuple[int, ...] = (50, 250, 500, 1000)
    individual: bool = False  # one group per job size
    count_jobs: bool = False
    flat: bool = False
    tree: bool = False
    accounts: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    wckeys: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()
    jobs: tuple[int, ...] = ()
    proper: dict[str, str] = field(default_factory=dict)  # user -> full name


#: kind -> reports, each with the length of its shortest accepted prefix
REPORTS = {
    "cluster": (("AccountUtilizationByQOS", 21), ("AccountUtilizationByUser", 21), ("UserUtilizationByAccount", 18),
                ("UserUtilizationByWckey", 18), ("Utilization", 2), ("WCKeyUtilizationByUser", 1)),
    "job": (("SizesByAccount", 1), ("SizesByAccountAndWcKey", 15), ("SizesByWcKey", 8)),
    "reservation": (("Utilization", 1),),
    "cost": tuple((name, least) for name, least, _ in spending.REPORTS),
    "user": (("TopUsage", 1),),
}  # fmt: skip


class Use(NamedTuple):
    """Usage of a period, summed over job runs.

    The runs have equal account, user, QOS, wckey and ``cpus`` (CPUs of one run).
    """

    account: str
    user: str
    qos: str
    wckey: str
    cpus: int
    submitted: float  # submit time of the first run
    ran: int  # number of runs in the period
    seconds: float
    node_seconds: float
    memory_seconds: float  # MiB
    waited: float  # seconds spent waiting for resources

    def amounts(self) -> dict[str, float]:
        """Seconds of usage by TRES."""
        cpu_seconds = self.cpus * self.seconds
        return {"cpu": cpu_seconds, "mem": self.memory_seconds, "node": self.node_seconds, "billing": cpu_seconds}


@dataclass(frozen=True)
class UsageHistory:
    """Usage in a period; only cost reports read ``charges``."""

    uses: Sequence[Use] = ()
    charges: spending.Charges = lambda start, end: ()


def capacity(cluster: ClusterConfig) -> dict[str, float]:
    """The cluster's amount of each TRES."""
    cpus = sum(node.cpus for node in cluster.nodes)
    return {"cpu": cpus, "mem": sum(node.memory_mib for node in cluster.nodes), "node": len(cluster.nodes),
            "billing": cpus}  # fmt: skip


def text(query: UsageQuery, cluster: ClusterConfig, history: UsageHistory, clock: Clock) -> tuple[str, list[str]]:
    """Build the report; return also its format's unknown fields."""
    make = {"cluster": _cluster, "cost": _cost, "job": _sizes, "reservation": _reservations,
            "user": _cluster}[query.kind]  # fmt: skip
    heading, default, rows = make(query, cluster, history, clock)
    columns, unknown = _columns(query, query.format or default)
    return heading + table_text(columns, rows, query.style), unknown


def _columns(query: UsageQuery, text: str) -> tuple[list[Column[Cells]], list[str]]:
    kind = "cluster" if query.kind == "reservation" else query.kind
    known = [row for row in table("sreport_fields") if row["report"] == kind]
    if query.kind == "reservation":
        known = [dict(zip(("names", "header", "width", "wide", "kind"), row)) for row in _RESERVATION]
    columns, unknown = named_columns.columns(text, known, "wide" if query.time.wide else "width")
    if query.tree:
        columns = [replace(column, width=-20) if column.name == "Account" else column for column in columns]
    if query.kind == "job":
        columns += [Column(header, 20 if query.time.wide else 13, PrintField("text", _get(header)))
                    for header in _groups(query)]  # fmt: skip
        columns += [Column(header, width, PrintField("text", _get(header)))
                    for header, width in (("Total Count", 11), ("% of cluster", 12))]  # fmt: skip
    return columns, unknown


def _get(header: str):  # type: ignore[no-untyped-def]
    return lambda cells: cells.get(header)


def _period(query: UsageQuery, clock: Clock, seconds: bool) -> str:
    span = f"{clock.text(query.start)} - {clock.text(query.end - 1)}"
    return f"{span} ({query.end - query.start} secs)" if seconds else span


def _heading(query: UsageQuery, title: str, unit: str) -> str:
    return f"{RULE}\n{title}\n{unit}\n{RULE}\n" if query.style.header else ""


def _reported_in(query: UsageQuery) -> str:
    name = "TRES" if query.tres_given else "CPU"
    heading = query.time.heading
    return f"Usage reported in {heading}" if not query.time.divisor else f"Usage reported in {name} {heading}"


def _cluster(
    query: UsageQuery, cluster: ClusterConfig, history: UsageHistory, clock: Clock
) -> tuple[str, str, list[Cells]]:
    """Report of usage by account, user or QOS, or of the cluster."""
    name = query.name
    tres_name = "TresName," if query.tres_given else ""
    energy = "" if query.tres_given else ",Energy"
    if name == "Utilization":
        heading = _heading(query, "Cluster Utilization " + _period(query, clock, False), _reported_in(query))
        default = f"Cluster,{tres_name}Allocated,Down,PlannedD,Idle,Planned,Reported"
        return heading, default, _utilization(query, cluster, history.uses, clock)
    titles = {
        "AccountUtilizationByUser": ("Cluster/Account/User Utilization", "Ac,Login,Proper", energy),
        "AccountUtilizationByQOS": ("Cluster/Account/QOS Utilization", "Ac,QOS", energy),
        "UserUtilizationByAccount": ("Cluster/User/Account Utilization", "Login,Proper,Ac", energy),
        "UserUtilizationByWckey": ("Cluster/User/WCKey Utilization", "Login,Proper,WCkey", ""),
        "WCKeyUtilizationByUser": ("Cluster/WCKey/User Utilization", "WCkey,Login,Proper", ""),
        "TopUsage": (f"Top {query.top} Users", "Login,Proper,Accounts", energy),
    }
    title, who, more = titles[name]
    default = f"Cluster,{who},{tres_name}Used{more}"
    heading = _heading(query, f"{title} {_period(query, clock, True)}", _reported_in(query))
    return heading, default, _by_association(query, cluster, history.uses)


def _utilization(query: UsageQuery, cluster: ClusterConfig, uses: Sequence[Use], clock: Clock) -> list[Cells]:
    """One row per TRES. All time since the first known job counts as reported."""
    began = min((use.submitted for use in uses), default=clock.now)
    seconds = max(0.0, min(query.end, clock.now) - max(query.start, began))
    if not seconds:
        return []
    rows: list[Cells] = []
    has = capacity(cluster)
    for name in query.tres:
        total = has.get(name, 0.0) * seconds
        used = min(sum(use.amounts().get(name, 0.0) for use in uses), total)
        waited = 0.0
        if name == "cpu":
            waited = sum(use.cpus * use.waited for use in uses)
        planned = min(waited, total - used)
        whole = has.get(name, 0.0) * (query.end - query.start)
        rows.append({"Cluster": cluster.name, "TRES Name": name, "TRES Count": "%d" % has.get(name, 0.0),
                     "Allocated": query.time.text(used, total), "Down": query.time.text(0, total),
                     "PLND Down": query.time.text(0, total), "Over Comm": query.time.text(0, total),
                     "Idle": query.time.text(total - used - planned, total),
                     "Planned": query.time.text(planned, total),
                     "Reported": query.time.text(total, whole)})  # fmt: skip
    return rows


def _by_association(query: UsageQuery, cluster: ClusterConfig, uses: Sequence[Use]) -> list[Cells]:
    sums: dict[tuple[str, str, str], dict[str, float]] = {}
    for use in uses:
        if not use.ran:
            continue
        last = use.wckey if "WC" in query.name.upper() else use.qos if "QOS" in query.name else ""
        if "WC" in query.name.upper() and not last:
            continue
        keys = [(use.account, use.user, last)]
        if query.name == "AccountUtilizationByUser":
            keys.append((use.account, "", ""))
        elif query.name == "AccountUtilizationByQOS":
            keys = [(use.account, "", last)]
        for key in keys:
            held = sums.setdefault(key, {})
            for name, seconds in use.amounts().items():
                held[name] = held.get(name, 0.0) + seconds
    total = {name: count * (query.end - query.start) for name, count in capacity(cluster).items()}
    order = sorted(sums)
    if query.name == "TopUsage":
        order = sorted(sums, key=lambda key: -sums[key].get(query.tres[0], 0.0))[: query.top]
    rows: list[Cells] = []
    for key in order:
        account, user, last = key
        for name in query.tres:
            rows.append({"Cluster": cluster.name, "Account": (" " if query.tree and user else "") + account,
                         "Login": user, "Proper Name": query.proper.get(user, user), "WCKey": last, "QOS": last,
                         "TRES Name": name, "Energy": query.time.text(0, 0),
                         "Used": query.time.text(sums[key].get(name, 0.0), total.get(name, 0.0))})  # fmt: skip
    return rows


def _groups(query: UsageQuery) -> list[str]:
    """Headers of the size groups, such as 0-49 CPUs, 50-249 CPUs, ..., >= 1000 CPUs."""
    last, found = 0, []
    what = "TRES" if query.tres_given and query.tres != ("cpu",) else "CPUs"
    if query.individual:
        return [f"{size} {what}" for size in query.grouping]
    for size in query.grouping:
        found.append(f"{last}-{(size - 1) % 2**32} {what}")
        last = size
    return [*found, f">= {last} {what}"] if last else found


def _sizes(
    query: UsageQuery, cluster: ClusterConfig, history: UsageHistory, clock: Clock
) -> tuple[str, str, list[Cells]]:
    """Jobs grouped by their number of CPUs."""
    title = "Job Sizes " + ("by Wckey " if query.name == "SizesByWcKey" else "") + _period(query, clock, True)
    unit = "Units are in number of jobs ran" if query.count_jobs else f"Time reported in {query.time.heading}"
    headers = _groups(query)
    sums: dict[tuple[str, str], list[float]] = {}
    for use in history.uses:
        if not use.ran:
            continue
        key = ("" if query.name == "SizesByWcKey" else use.account,
               use.wckey if "WcKey" in query.name else "")  # fmt: skip
        held = sums.setdefault(key, [0.0] * len(headers))
        if query.individual and use.cpus not in query.grouping:
            continue
        group = sum(use.cpus >= size for size in query.grouping)
        group = query.grouping.index(use.cpus) if query.individual else min(group, len(headers) - 1)
        held[group] += use.ran if query.count_jobs else use.cpus * use.seconds
    whole = sum(map(sum, sums.values()))
    rows: list[Cells] = []
    for (account, wckey), held in sorted(sums.items()):
        own = sum(held)
        cells = {"Cluster": cluster.name, "Wckey": wckey,
                 "Account": f"{account}:{wckey}" if query.name == "SizesByAccountAndWcKey" else account,
                 "Total Count": "%d" % own if query.count_jobs else query.time.text(own, 0),
                 "% of cluster": "%.2f%%" % (100 * own / whole)}  # fmt: skip
        for header, amount in zip(headers, held):
            cells[header] = "%d" % amount if query.count_jobs else query.time.text(amount, own)
        rows.append(cells)
    default = {"SizesByAccount": "Cl,a", "SizesByWcKey": "Cl,wc", "SizesByAccountAndWcKey": "Cl,a%-20"}[query.name]
    return _heading(query, title, unit), default, rows


def _cost(
    query: UsageQuery, cluster: ClusterConfig, history: UsageHistory, clock: Clock
) -> tuple[str, str, list[Cells]]:
    """Report of dollars spent on SkyPilot; Slurm lacks this report."""
    by = next(fields for name, _, fields in spending.REPORTS if name == query.name)
    heading = _heading(query, f"Cost {query.name} " + _period(query, clock, True), "Cost reported in US dollars")
    rows = spending.sums(history.charges, by, query.start, query.end, clock, cluster.name)
    idle = ("Idle",) if any(float(row["Idle"]) for row in rows) else ()  # for warm nodes only
    return heading, ",".join(("Cluster", *by, "Jobs", "Hours", "Cost", *idle)), rows


_RESERVATION = (
    ("Cluster:2", "Cluster", "9", "", "text"), ("Name:1", "Name", "9", "", "text"),
    ("Start:1", "Start", "19", "", "date"), ("End:1", "End", "19", "", "date"),
    ("TresName:5", "TRES Name", "14", "", "text"), ("Allocated:2", "Allocated", "20", "", "text"),
    ("Idle:1", "Idle", "20", "", "text"))  # fmt: skip


def _reservations(
    query: UsageQuery, cluster: ClusterConfig, history: UsageHistory, clock: Clock
) -> tuple[str, str, list[Cells]]:
    """An empty report, since the accounting has no reservations."""
    unit = query.time.heading if not query.time.divisor else f"TRES {query.time.heading}"
    heading = _heading(query, "Reservation Utilization " + _period(query, clock, False), f"Usage reported in {unit}")
    return heading, "Cluster,Name,Start,End,TresName,Allocated,Idle", []


def known_tres(words: Iterable[str]) -> tuple[str, ...]:
    """Known TRES among those of -T. ``ALL`` means all TRES that every cluster counts."""
    every = ("cpu", "mem", "energy", "node", "billing", "fs/disk", "vmem", "pages")
    found: list[str] = []
    for word in words:
        found += every if word.upper() == "ALL" else [word.lower()] if word.lower() in every else []
    return tuple(dict.fromkeys(found))
