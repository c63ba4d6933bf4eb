"""The fields of sinfo: how each value is read from a line. Source: print.c of sinfo."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable

from slurmsky.language.hostlist import compress, compress_sorted
from slurmsky.model.cluster import PartitionConfig
from slurmsky.model.job import Node
from slurmsky.model.spec import INFINITE
from slurmsky.model.states import NodeFlag, NodeState

from ..report_context import ReportContext
from ..text.columns import Field
from ..text.units import amount, null_if_empty, short_duration
from .field_tables import table
from .node_state import complete_state, state_words
from .tres_texts import device_text


@dataclass
class NodeRow:
    """A line of sinfo: a partition, and its nodes that have equal values in the shown fields."""

    partition: PartitionConfig
    index: int  # position of the partition in the configuration
    nodes: list[Node] = field(default_factory=list)

    @property
    def names(self) -> str:
        """Sorted node names."""
        return compress_sorted(node.config.name for node in self.nodes)

    @property
    def count_allocated(self) -> int:
        """Number of allocated nodes."""
        return sum(map(_in_use, self.nodes))


def _in_use(node: Node) -> bool:
    return node.state in (NodeState.ALLOCATED, NodeState.MIXED) or NodeFlag.COMPLETING in node.flags


def node_usable(node: Node) -> bool:
    """False for a node that is down, drained or failing."""
    return NodeFlag.DRAIN not in node.flags and node.state is not NodeState.DOWN


def nodes_aiot(row: NodeRow) -> tuple[int, int, int, int]:
    """Numbers of nodes: allocated, idle, other, total."""
    used = row.count_allocated
    other = sum(1 for node in row.nodes if not node_usable(node) and not _in_use(node))
    return used, len(row.nodes) - used - other, other, len(row.nodes)


def gres_text(node: Node) -> str:
    """``gpu:h100:4``; "(null)" for none."""
    return ",".join("%s:%d" % (_device(name, kind), count) for name, kind, count in node.config.gres) or "(null)"


def _device(name: str, kind: str) -> str:
    return name + ":" + kind if kind else name


def gres_used_text(node: Node) -> str:
    """``gpu:h100:2(IDX:0-1)``, ``gpu:h100:0(IDX:N/A)``; "(null)" for a node without devices."""
    parts = []
    for name, kind, _ in node.config.gres:
        device = _device(name, kind)
        indices = node.alloc_gres_ids.get(device, ())
        parts.append(
            device_text(device, indices) if indices else "%s:%d(IDX:N/A)" % (device, node.alloc_gres.get(device, 0))
        )
    return ",".join(parts) or "(null)"


def oversubscribe(partition: PartitionConfig) -> str:
    """``NO``, ``EXCLUSIVE``, ``FORCE:4``, ``YES:4``; four is Slurm's default count."""
    word, _, count = partition.oversubscribe.upper().partition(":")
    return word if word in ("NO", "EXCLUSIVE") else "%s:%s" % (word, count or "4")


# Fields of the format that split lines (opts.c fmt_data).
MATCHES: dict[str, tuple[str, ...]] = {
    "allocmem": ("alloc_mem",),
    "available": ("avail",),
    "comment": ("comment",),
    "cores": ("cores",),
    "cpus": ("cpus",),
    "cpusload": ("cpu_load",),
    "cpusstate": ("cpus",),
    "defaulttime": ("default_time",),
    "disk": ("disk",),
    "features": ("features",),
    "features_act": ("features_act",),
    "freemem": ("free_mem",),
    "gres": ("gres",),
    "gresused": ("gres_used",),
    "groups": ("groups",),
    "maxcpuspernode": ("max_cpus_per_node",),
    "memory": ("memory",),
    "nodeaddr": ("node_addr",),
    "nodehost": ("hostnames",),
    "partition": ("partition",),
    "partitionname": ("partition",),
    "port": ("port",),
    "preemptmode": ("preempt_mode",),
    "priorityjobfactor": ("priority_job_factor",),
    "prioritytier": ("priority_tier",),
    "reason": ("reason",),
    "root": ("root",),
    "share": ("oversubscribe",),
    "size": ("job_size",),
    "sockets": ("sockets",),
    "socketcorethread": ("sct",),
    "statecompact": ("state",),
    "statecomplete": ("state_complete",),
    "statelong": ("state",),
    "threads": ("threads",),
    "time": ("max_time",),
    "timestamp": ("reason_time",),
    "user": ("reason_user",),
    "userlong": ("reason_user",),
    "version": ("version",),
    "weight": ("weight",),
}
for _row in table("sinfo_fields"):
    if _row["letter"] and _row["name"].lower() in MATCHES:
        MATCHES.setdefault(_row["letter"], MATCHES[_row["name"].lower()])

Value = Callable[[NodeRow], str]


def node_fields(context: ReportContext) -> dict[str, Field[NodeRow]]:
    """Fields of sinfo by letter and by long name in lower case."""
    values = _values(context)
    fields: dict[str, Field[NodeRow]] = {}
    for row in table("sinfo_fields"):
        name = row["name"].lower()
        # Only these headers are printed whole where the column is too narrow.
        whole = name in ("nodelist", "nodehost", "nodeaddr")
        fields[name] = Field(
            row["header"], values[name], cut_header=not whole, sized=_starred if name == "partition" else None
        )
        if row["letter"]:
            fields.setdefault(row["letter"], fields[name])
    return fields


def _starred(width: int) -> Value:
    """The partition name with ``*``, which replaces the last character where the column is too narrow."""

    def value(row: NodeRow) -> str:
        name = row.partition.name
        if not row.partition.default:
            return name
        return name + "*" if width <= 0 or len(name) < width else name[: width - 1] + "*"

    return value


def _range(value: Callable[[Node], float], form: Callable[[float], str], between: str = "") -> Value:
    """Minimum and maximum of a value: ``8``, ``8+``, or ``0.36-0.40`` if ``between`` is given."""

    def text(row: NodeRow) -> str:
        values = [value(node) for node in row.nodes] or [0]
        least, most = form(min(values)), form(max(values))
        if min(values) == max(values):
            return most
        return least + between + most if between else least + "+"

    return text


def _first(value: Callable[[Node], str], empty: str = "(null)") -> Value:
    return lambda row: value(row.nodes[0]) if row.nodes else empty


def _hosts(value: Callable[[Node], str]) -> Value:
    return lambda row: compress(dict.fromkeys(value(node) for node in row.nodes))


def _minutes(limit: Any, missing: str) -> str:
    if limit is None:
        return missing
    return "infinite" if limit == INFINITE else short_duration(limit * 60)


def size(partition: PartitionConfig) -> str:
    """JOB_SIZE: ``1-infinite``."""
    least, most = max(partition.min_nodes, 1 if partition.max_nodes > 0 else 0), partition.max_nodes
    if least == most:
        return amount(most)
    return "%s-%s" % (amount(least), "infinite" if most == INFINITE else amount(most))


def _values(context: ReportContext) -> dict[str, Value]:
    def whole(number: float) -> str:
        return "%d" % number

    def count(number: float) -> str:
        return amount(number, 0, context.scale)

    def state(form: Callable[[Node], str]) -> Value:
        return lambda row: form(row.nodes[0]).lower() if row.nodes else "n/a"

    def cpus_aiot(row: NodeRow) -> str:
        used = sum(node.alloc_cpus for node in row.nodes)
        other = sum(node.config.cpus - node.alloc_cpus for node in row.nodes if not node_usable(node))
        total = sum(node.config.cpus for node in row.nodes)
        return "%d/%d/%d/%d" % (used, total - used - other, other, total)

    def user_long(node: Node) -> str:
        if not node.reason_user:
            return "Unknown"
        uid = context.uids.get(node.reason_user)
        return node.reason_user if uid is None else "%s(%d)" % (node.reason_user, uid)

    sockets, cores, threads = (_range(_config(name), count) for name in ("sockets", "cores", "threads"))

    def shared(row: NodeRow) -> str:
        return oversubscribe(row.partition)

    return {
        "allocmem": lambda row: str(row.nodes[-1].alloc_memory_mib if row.nodes else 0),
        "allocnodes": lambda row: "all",
        "available": lambda row: row.partition.state.lower(),
        "cluster": lambda row: "N/A",
        "comment": _first(lambda node: null_if_empty(node.comment)),
        "cores": cores,
        "cpus": _range(_config("cpus"), count),
        "cpusload": _range(lambda node: round(node.load * 100), lambda load: "%.2f" % (load / 100), "-"),
        "cpusstate": cpus_aiot,
        "defaulttime": lambda row: _minutes(row.partition.default_time_min, "n/a"),
        "disk": _range(_config("tmp_mib"), whole),
        "extra": _first(lambda node: null_if_empty(node.extra)),
        "features": _first(lambda node: null_if_empty(",".join(node.config.features))),
        "features_act": _first(lambda node: null_if_empty(",".join(node.config.active))),
        "freemem": _range(lambda node: node.free_mib, whole, "-"),
        "gres": _first(gres_text),
        "gresused": _first(gres_used_text),
        "groups": lambda row: ",".join(row.partition.allow_groups) or "all",
        "maxcpuspernode": lambda row: (
            "UNLIMITED" if row.partition.max_cpus_per_node == INFINITE else str(row.partition.max_cpus_per_node)
        ),
        "memory": _range(_config("memory_mib"), whole),
        "nodeaddr": _hosts(lambda node: node.config.address),
        "nodeai": lambda row: "%d/%d" % nodes_aiot(row)[:2],
        "nodeaiot": lambda row: "%d/%d/%d/%d" % nodes_aiot(row),
        "nodehost": _hosts(lambda node: node.config.host_name or node.config.name),
        "nodelist": lambda row: row.names,
        "nodes": lambda row: str(len(row.nodes)),
        "oversubscribe": shared,
        "partition": lambda row: row.partition.name + "*" * row.partition.default,
        "partitionname": lambda row: row.partition.name,
        "port": _first(lambda node: str(node.config.port), "0"),
        "preemptmode": lambda row: row.partition.preempt_mode,
        "priorityjobfactor": lambda row: count(row.partition.priority_job_factor),
        "prioritytier": lambda row: count(row.partition.priority_tier),
        "reason": _first(lambda node: node.reason or "none", "none"),
        "reservation": lambda row: row.nodes[0].reservation if row.nodes else "",
        "root": lambda row: "yes" if row.partition.root_only else "no",
        "share": shared,
        "size": lambda row: size(row.partition),
        "sockets": sockets,
        "socketcorethread": lambda row: "%s:%s:%s" % (sockets(row), cores(row), threads(row)),
        "statecompact": state(lambda node: state_words(node)[1]),
        "statecomplete": state(complete_state),
        "statelong": state(lambda node: state_words(node)[0]),
        "threads": threads,
        "time": lambda row: _minutes(row.partition.max_time_min, "infinite"),
        "timestamp": _first(lambda node: context.clock.text(node.reason_time), "Unknown"),
        "user": _first(lambda node: node.reason_user or "Unknown", "Unknown"),
        "userlong": _first(user_long, "Unknown"),
        "version": _first(lambda node: node.version or "N/A", "N/A"),
        "weight": _range(_config("weight"), whole),
    }


def _config(name: str) -> Callable[[Node], float]:
    return lambda node: float(getattr(node.config, name))
