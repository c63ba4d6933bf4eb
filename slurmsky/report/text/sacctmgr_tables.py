"""sacctmgr show: tables of the accounting entities.

QOS, accounts and their limits come from the site file; fields and widths are sacctmgr's. Source:
src/sacctmgr/*_functions.c (default formats), common.c (fields).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from slurmsky.language.key_values import Given, Key, KeyTable, matching_value
from slurmsky.model.cluster import ClusterConfig
from slurmsky.model.job import Node
from slurmsky.model.policy import NORMAL, AccountConfig
from slurmsky.model.states import NodeFlag, NodeState

from ..fields import limit_cells
from ..fields.field_tables import table
from . import named_columns
from .named_columns import Cells
from .print_fields import Column, TableStyle, table_text
from .units import Clock

#: Slurm's protocol version of the emulated release (SLURM_25_11_PROTOCOL_VERSION)
RPC_VERSION = 44 << 8
#: TRES rows of every database (accounting_storage/as_mysql_tres.c)
TRES = (("cpu", "", 1), ("mem", "", 2), ("energy", "", 3), ("node", "", 4), ("billing", "", 5), ("fs", "disk", 6),
        ("vmem", "", 7), ("pages", "", 8))  # fmt: skip
FIRST_OTHER_TRES = 1001


@dataclass(frozen=True)
class Association:
    """Association of an account, or of a user in it. ``user`` is "" for an account."""

    number: int
    cluster: str
    account: str
    user: str = ""

    @property
    def root(self) -> bool:
        """Return whether this is the root account, which every cluster has."""
        return self.account == "root"


def associations(cluster: str, accounts: Iterable[str], user: str) -> list[Association]:
    """The root account, then the user's accounts. The user's association follows each account."""
    found = [Association(1, cluster, "root")]
    if user == "root":
        found.append(Association(2, cluster, "root", "root"))
    for account in dict.fromkeys(accounts):
        if account != "root":
            found.append(Association(len(found) + 1, cluster, account))
            found.append(Association(len(found) + 1, cluster, account, user))
    return found


@dataclass(frozen=True)
class Entity:
    """Entity of ``show``: default fields, also those with WithAssoc."""

    name: str
    least: int
    format: str
    with_associations: str = ""
    primary: str = ""  # header of the column that a word without "=" is compared with


_ASSOCIATION = "Cluster,Account,User,Part"
_LIMITS = ("Share,Priority,GrpJ,GrpTRES,GrpS,GrpWall,GrpTRESMins,MaxJ,MaxTRES,MaxTRESPerN,MaxS,MaxW,MaxTRESMins,QOS,"
           "DefaultQOS,GrpTRESRunMins")  # fmt: skip
#: in lookup order of abbreviated words (sacctmgr.c, _show_it)
ENTITIES = (
    Entity("Accounts", 2, "Acc,Des,O", "Cl,ParentN,U,Share,Priority,GrpJ,GrpN,GrpCPUs,GrpMEM,GrpS,GrpWall,GrpCPUMins,"
           "MaxJ,MaxN,MaxCPUs,MaxS,MaxW,MaxCPUMins,QOS,DefaultQOS", "Account"),
    Entity("Associations", 2, f"{_ASSOCIATION},{_LIMITS}"),
    Entity("Clusters", 2, "Cl,Controlh,Controlp,RPC,Fa,GrpJ,GrpTRES,GrpS,MaxJ,MaxTRES,MaxS,MaxW,QOS,DefaultQOS",
           primary="Cluster"),
    Entity("Configuration", 2, ""),
    Entity("Events", 1, "Cluster,NodeName,Start,End,State,Reason,User"),
    Entity("Federation", 1, "Federation,Cluster,ID%2,Features,FedState"),
    Entity("Instances", 1, "Cluster,NodeName,Start,End,InstanceId,InstanceType,Extra"),
    Entity("Problems", 1, "Cl,Acct,User,Problem"),
    Entity("QOS", 1, "Name,Prio,GraceT,Preempt,PreemptE,PreemptM,Flags%40,UsageThres,UsageFactor,GrpTRES,GrpTRESMins,"
           "GrpTRESRunMins,GrpJ,GrpS,GrpW,MaxTRES,MaxTRESPerN,MaxTRESMins,MaxW,MaxTRESPerUser,MaxJobsPerUser,"
           "MaxSubmitJobsPerUser,MaxTRESPerAcct,MaxTRESRunMinsPerAcct%22,MaxTRESRunMinsPerUser%22,MaxJobsPerAcct,"
           "MaxSubmitJobsPerAcct,MinTRES", primary="Name"),
    Entity("Resource", 4, "Name,Server,Type,Count,LastConsumed,Allocated,ServerType,Flags", primary="Name"),
    Entity("Reservations", 4, "Cluster,Name%15,TRES%30,TimeStart,TimeEnd,Unused", primary="Name"),
    Entity("RunAwayJobs", 2, ""),
    Entity("Stats", 1, ""),
    Entity("Transactions", 1, "Time,Action,Actor,Where,Info"),
        Entity("Users", 1, "U,DefaultA,Ad", "Cl,Acc,Part,Share,Priority,MaxJ,MaxN,MaxCPUs,MaxS,MaxW,MaxCPUMins,QOS,"
           "DefaultQOS", "User"),
    Entity("WCKeys", 1, "Name,Cluster,User", primary="Name"),
    Entity("TRES", 2, "Type,Name%15,ID", primary="Type"),
)  # fmt: skip
UNKNOWN_ENTITY = (
    "No valid entity in list command",
    'Input line must include "Account", "Association", "Cluster", "Configuration",',
    '"Event", "Federation", "Problem", "QOS", "Resource", "Reservation",',
    '"RunAwayJobs", "Stats", "Transaction", "TRES", "User", or "WCKey"',
)


class BadRequest(ValueError):
    """Error with the lines that sacctmgr prints before exit code 1."""


def entity(word: str) -> Optional[Entity]:
    """The entity that a word matches."""
    named = ((one.name, one.least, one) for one in ENTITIES)
    return matching_value(word, [*named, *(("Txn", 1, one) for one in ENTITIES if one.name == "Transactions")])


def tres_count(cluster: ClusterConfig) -> str:
    """The cluster's TRES as ``show cluster format=TRES`` prints them."""
    cpus = sum(node.cpus for node in cluster.nodes)
    memory = sum(node.memory_mib for node in cluster.nodes)
    return (f"billing={cpus},cpu={cpus},energy=0,fs/disk=0,mem={memory}M,node={len(cluster.nodes)},"
            "pages=0,vmem=0")  # fmt: skip


@dataclass(frozen=True)
class Records:
    """The data from which all entities are built."""

    cluster: ClusterConfig
    host: str
    user: str
    accounts: tuple[str, ...]
    nodes: tuple[Node, ...]
    clock: Clock
    users: Mapping[str, Sequence[str]] = field(default_factory=dict)  # the accounts of other users
    admin_levels: Mapping[str, str] = field(default_factory=dict)
    unused_accounts: tuple[AccountConfig, ...] = ()  # accounts without any association

    def rows(self, wanted: Entity, with_associations: bool) -> list[Cells]:
        """All rows of an entity, as cells by header. An entity that this cluster lacks has no rows."""
        make = {
            "Accounts": self._accounts, "Associations": self._associations, "Clusters": self._clusters,
            "Events": self._events, "QOS": self._qos, "TRES": self._tres, "Users": self._users,
        }.get(wanted.name)  # fmt: skip
        if make is None:
            return []
        rows = make()
        if not with_associations or not wanted.with_associations:
            return rows
        return [{**row, **cells} for row in rows for cells in self._associations()
                if all(row.get(key, cells[key]) == cells[key] for key in ("Account", "User"))]  # fmt: skip

    def associations(self) -> list[Association]:
        """All associations. The user's are first; after each account follow those of other users."""
        own = associations(self.cluster.name, self.accounts, self.user)
        others = [(account, user) for user, accounts in self.users.items() for account in accounts]
        more = [Association(len(own) + number, self.cluster.name, account, user)
                for number, (account, user) in enumerate(others, 1)]  # fmt: skip
        order = {one.account: place for place, one in enumerate(own)}
        return sorted([*own, *more], key=lambda one: order.get(one.account, len(own)))

    def _associations(self) -> list[Cells]:
        return [{"Cluster": one.cluster, "Account": one.account, "User": one.user, "Partition": "",
                 "ID": str(one.number), "ParentName": "" if one.user or one.root else self.parent(one.account),
                 **limit_cells.association(self.cluster, one.account, one.user)}
                for one in self.associations()]  # fmt: skip

    def parent(self, account: str) -> str:
        """The account above an account."""
        return next((one.parent for one in self.cluster.accounts if one.name == account), "root")

    def _accounts(self) -> list[Cells]:
        unused = [one.name for one in self.unused_accounts]
        names = dict.fromkeys([*(cells["Account"] for cells in self._associations()), *unused])
        known = (*self.cluster.accounts, *self.unused_accounts)
        orgs = {one.name: one.organization or (one.parent if one.parent != "root" else "") for one in known}
        texts = {one.name: one.description for one in known if one.description}
        return [{"Account": name, "Descr": texts.get(name) or ("default root account" if name == "root" else name),
                 "Org": orgs.get(name) or ("root" if name == "root" else name)} for name in names]  # fmt: skip

    def _clusters(self) -> list[Cells]:
        return [{"Cluster": self.cluster.name, "ControlHost": self.host, "ControlPort": "6817",
                 "RPC": str(RPC_VERSION), "Share": "1", "QOS": NORMAL.name, "Def QOS": "",
                 "TRES": tres_count(self.cluster), "NodeCount": str(len(self.cluster.nodes))}]  # fmt: skip

    def _users(self) -> list[Cells]:
        users = {self.user: self.accounts, **self.users}
        return [{"User": name, "Def Acct": next(iter(names), ""), "Coord Accounts": "",
                 "Admin": self.admin_levels.get(name, "Administrator" if name == "root" else "None")}
                for name, names in sorted(users.items())]  # fmt: skip

    def _qos(self) -> list[Cells]:
        return limit_cells.qos(self.cluster)

    def _tres(self) -> list[Cells]:
        rows: list[Cells] = [{"Type": kind, "Name": name, "ID": str(number)} for kind, name, number in TRES]
        extra = [item for item in dict(self.cluster.parameters).get("AccountingStorageTRES", "").split(",") if item]
        known = {kind if not name else f"{kind}/{name}" for kind, name, _ in TRES}
        for offset, item in enumerate(item for item in extra if item not in known):
            kind, _, name = item.partition("/")
            rows.append({"Type": kind, "Name": name, "ID": str(FIRST_OTHER_TRES + offset)})
        return rows

    def _events(self) -> list[Cells]:
        """Nodes that are down or drained, with start time and reason."""
        rows: list[Cells] = []
        for node in self.nodes:
            if node.reason and (node.state is NodeState.DOWN or node.flags & NodeFlag.DRAIN):
                state = "DOWN" if node.state is NodeState.DOWN else "DRAIN"
                rows.append({"Cluster": self.cluster.name, "NodeName": node.config.name, "State": state,
                             "TimeStart": self.clock.text(node.reason_time), "TimeEnd": "Unknown",
                             "Reason": node.reason, "User": node.reason_user})  # fmt: skip
        return rows


Tests = dict[str, set[str]]  # accepted cells by header


@dataclass
class _Conditions:
    """Filter in the words after an entity: accepted cells by header."""

    wanted: Entity
    hint: str = ""
    format: str = ""
    with_associations: bool = False
    tests: Tests = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def accept(self, header: str, names: str) -> None:
        """Accept cells of a column. Several conditions on one column add to one list."""
        self.tests.setdefault(header, set()).update(names.lower().split(","))

    def fault(self, line: str, hint: bool = False) -> None:
        """Record an invalid word. With ``hint``, sacctmgr's advice for some entities follows."""
        self.faults += [line, f" Use keyword 'set' to modify {self.hint}"] if hint and self.hint else [line]


def _condition(header: str) -> Callable[[_Conditions, Given], dict[str, Any]]:
    """Reader of a condition that filters one column."""

    def read(requested: _Conditions, given: Given) -> dict[str, Any]:
        if given.key == "Format":
            requested.format += "," + (given.unquoted or "%")  # Slurm reads an empty list as a field without a name
        elif header:
            requested.accept(header, given.unquoted)
        return {}

    return read


def _unknown(requested: _Conditions, given: Given) -> dict[str, Any]:
    requested.fault(f" Unknown condition: {given.name}={given.unquoted}", hint=True)
    return {}


def _bare(requested: _Conditions, given: Given) -> dict[str, Any]:
    """Read a word without "=" as a value of the first condition."""
    wanted, word = requested.wanted, given.word
    if wanted.name == "Transactions":
        requested.fault(f"sacctmgr: error: Invalid value for Transaction ID ({word})")
    elif wanted.name == "Events" and word.lower() not in ("cluster", "node"):
        requested.fault(f" Unknown event type: '{word}'  Valid events are Cluster and Node.")
    elif wanted.name in ("Reservations", "Instances"):
        requested.fault(f" Unknown condition: {word}", hint=True)
    elif wanted.primary:
        requested.accept(wanted.primary, word)
    return {}


#: the name of the key that a word without "=" means; no typed name is a prefix of it
_BARE = " "


def _requested(wanted: Entity, words: Sequence[str]) -> _Conditions:
    """Parse the words after an entity. Raises BadRequest."""
    row = next((row for row in table("sacctmgr_conditions") if row["entity"] == wanted.name), None)
    flags: list[tuple[str, int, dict[str, Any]]] = []
    keys = [Key(_BARE, 1, "", _bare)]
    if row is not None:
        named = (word.partition(":") for word in row["flags"].split(";"))
        flags = [(name, int(least), {name: True}) for name, _, least in named if name]
        parts = (word.split(":") for word in row["conditions"].split(";"))
        keys += [Key(name, int(least), "", _condition(header)) for name, least, header in parts]
    requested = _Conditions(wanted, row["hint"] if row is not None else "")
    known = KeyTable(keys, lambda word, rest: Given(word, _BARE, word),
                     _unknown if row is not None else lambda requested, given: {}, flags=flags)  # fmt: skip
    update = known.read(requested, [word for word in words if word.lower() not in ("where", "set")])
    requested.with_associations = "WithAssociations" in update
    if requested.faults:
        raise BadRequest(*requested.faults)
    return requested


def _passes(row: Cells, tests: Tests) -> bool:
    return all(row.get(header, "").lower() in values for header, values in tests.items())


#: show wckey has its own list of fields
_WCKEY_FIELDS = (("WCKeys", 1, "Name"), ("Names", 1, "Name"), ("Clusters", 1, "Cluster"), ("IDs", 1, "ID"),
                 ("Users", 1, "User"))  # fmt: skip


def selected(records: Records, wanted: Entity, words: Sequence[str]) -> list[bool]:
    """Return whether the words select each row of an entity. Raises BadRequest for an invalid word."""
    tests = _requested(wanted, words).tests
    return [_passes(row, tests) for row in records.rows(wanted, False)]


def show(records: Records, wanted: Entity, words: Sequence[str], style: TableStyle) -> str:
    """Table of an entity. Raises BadRequest for an invalid word."""
    requested = _requested(wanted, words)
    text = requested.format.strip(",") or ",".join(
        part for part in (wanted.format, wanted.with_associations if requested.with_associations else "") if part
    )
    if wanted.name == "WCKeys":
        names = [item.partition("%")[0] for item in text.split(",") if item]
        unknown = [name for name in names if matching_value(name, _WCKEY_FIELDS) is None]
        if unknown:
            raise BadRequest(*(f"Unknown field '{name.lower()}'" for name in unknown))
    columns, unknown = named_columns.columns(text, table("sacctmgr_fields"))
    if unknown:
        raise BadRequest(*(f"Unknown field '{name}'" for name in unknown))
    if wanted.name == "WCKeys":
        columns = [Column("WCKey" if column.name == "Name" else column.name, column.width, column.field)
                   for column in columns]  # fmt: skip
    rows = [row for row in records.rows(wanted, requested.with_associations) if _passes(row, requested.tests)]
    return table_text(columns, rows, style)


#: keys of ``show configuration``, each padded to its width. Source: src/sacctmgr/config_functions.c
_CONFIGURATION = """AccountingStorageBackupHost:29 AccountingStorageHost:23 AccountingStorageParameters:28
    AccountingStoragePass:23 AccountingStoragePort:23 AccountingStorageType:23 AuthType:23 MessageTimeout:23
    PluginDir:23 PrivateData:23 SlurmUserId:23 SLURM_CONF:23 SLURM_VERSION:23 TCPTimeout:23 TrackWCKey:23"""


def configuration(parameters: Mapping[str, str], clock: Clock) -> str:
    """Text of ``show configuration``, with the accounting parameters."""
    lines = [f"Configuration data as of {clock.text(clock.now)}"]
    for item in _CONFIGURATION.split():
        name, _, width = item.partition(":")
        lines.append(f"{name:<{width}}= {parameters.get(name, '(null)')}")
    return "\n".join(lines) + "\n"
