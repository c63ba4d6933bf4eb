"""Fields of sinfo: readers of a line's values.

Source: print.c of sinfo.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from operator import attrgetter
from typing import Any, Callable

from slurmsky.language.hostlist import compress, compress_sorted
from slurmsky.model.cluster import PartitionConfig
from slurmsky.model.job import Node
from slurmsky.model.spec import INFINITE
from slurmsky.model.states import NodeFlag, NodeState

from ..report_context import ReportContext
from ..text.columns import Field
from ..text.units import amount, short_duration
from .field_tables import table
from .node_values import NODE_VALUES


@dataclass
class NodeRow:
    """Line of sinfo: a partition and similar nodes. The nodes have equal values in the shown fields."""

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


def oversubscribe(partition: PartitionConfig) -> str:
    """OverSubscribe of a partition, with Slurm's default count of four.

    Forms: ``NO``, ``EXCLUSIVE``, ``FORCE:4``, ``YES:4``.
    """
    word, _, count = partition.oversubscribe.upper().partition(":")
    return word if word in ("NO", "EXCLUSIVE") else "%s:%s" % (word, count or "4")


Value = Callable[[NodeRow], str]
NodeKey = Callable[[Node], Any]
PartitionKey = Callable[[PartitionConfig], Any]

# Values of a partition that split lines, by the field of the format that shows them (opts.c fmt_data).
_OF_PARTITION = {
    "available": "state",
    "defaulttime": "default_time_min",
    "groups": "allow_groups",
    "maxcpuspernode": "max_cpus_per_node",
    "partition": "name",
    "partitionname": "name",
    "preemptmode": "preempt_mode",
    "priorityjobfactor": "priority_job_factor",
    "prioritytier": "priority_tier",
    "root": "root_only",
    "share": "oversubscribe",
    "size": "min_nodes+max_nodes",
    "time": "max_time_min",
}
# Fields that show several values of a node.
_COMBINED = {"cpusstate": ("cpus",), "socketcorethread": ("sockets", "cores", "threads")}


def split_keys(
    names: Iterable[str], exact: bool, context: ReportContext
) -> tuple[list[NodeKey], list[PartitionKey], bool]:
    """Values of nodes and partitions that split a format's lines. The flag is true if the format names partitions."""
    shown = {name.lower() if len(name) > 1 else _by_letter().get(name, "") for name in names}
    shown.update(*(_COMBINED[name] for name in shown & _COMBINED.keys()))
    rows = [row for row in table("node_fields") if row["split"] == "always" or (exact and row["split"])]
    values = [row["value"] for row in rows if row["sinfo"].partition(":")[0] in shown]
    parts = sorted({_OF_PARTITION[name] for name in shown & _OF_PARTITION.keys()})
    readers = [NODE_VALUES.reader(value, context) for value in values]
    return readers, [attrgetter(*value.split("+")) for value in parts], "name" in parts


@cache
def _by_letter() -> dict[str, str]:
    known = {field.name for field in NODE_VALUES.fields_of("sinfo")} | _OF_PARTITION.keys() | _COMBINED.keys()
    names = [(row["letter"], row["name"].lower()) for row in table("sinfo_fields")]
    return {letter: name for letter, name in reversed(names) if letter and name in known}


def node_fields(context: ReportContext) -> dict[str, Field[NodeRow]]:
    """Fields of sinfo by letter and by lower-case long name."""
    values = _values(context)
    fields: dict[str, Field[NodeRow]] = {}
    for row in table("sinfo_fields"):
        name = row["name"].lower()
        # Only these headers are not cut if the column is too narrow.
        whole = name in ("nodelist", "nodehost", "nodeaddr")
        fields[name] = Field(
            row["header"], values[name], cut_header=not whole, sized=_starred if name == "partition" else None
        )
        if row["letter"]:
            fields.setdefault(row["letter"], fields[name])
    return fields


def _starred(width: int) -> Value:
    """Partition name with ``*`` for the default partition.

    ``*`` replaces the last character if the column is too narrow.
    """

    def value(row: NodeRow) -> str:
        name = row.partition.name
        if not row.partition.default:
            return name
        return name + "*" if width <= 0 or len(name) < width else name[: width - 1] + "*"

    return value


def _range(value: Callable[[Node], float], form: Callable[[float], str], between: str = "") -> Value:
    """Minimum and maximum of a value: ``8``, ``8+``, or with ``between`` ``0.36-0.40``."""

    def text(row: NodeRow) -> str:
        values = [value(node) for node in row.nodes] or [0]
        least, most = form(min(values)), form(max(values))
        if min(values) == max(values):
            return most
        return least + between + most if between else least + "+"

    return text


def _first(empty: str) -> Callable[[Callable[[Node], Any]], Value]:
    """Value of a line's first node; ``empty`` without nodes."""

    def made(value: Callable[[Node], Any]) -> Value:
        return lambda row: text_of(value(row.nodes[0])) or empty if row.nodes else empty

    return made


def text_of(value: Any) -> str:
    """Value as text; 0 and missing values are empty."""
    return ",".join(value) if isinstance(value, tuple) else str(value or "")


def _minutes(limit: Any, missing: str) -> str:
    if limit is None:
        return missing
    return "infinite" if limit == INFINITE else short_duration(limit * 60)


def size(partition: PartitionConfig) -> str:
    """JOB_SIZE of a partition: ``1-infinite``."""
    least, most = max(partition.min_nodes, 1 if partition.max_nodes > 0 else 0), partition.max_nodes
    if least == most:
        return amount(most)
    return "%s-%s" % (amount(least), "infinite" if most == INFINITE else amount(most))


def _forms(context: ReportContext) -> dict[str, Callable[[Callable[[Node], Any]], Value]]:
    """Forms in which a line shows a value of its nodes."""

    def whole(number: float) -> str:
        return "%d" % number

    def count(number: float) -> str:
        return amount(number, 0, context.scale)

    return {
        "count": lambda value: _range(value, count),
        "hosts": lambda value: lambda row: compress(dict.fromkeys(value(node) for node in row.nodes)),
        "last": lambda value: lambda row: str(value(row.nodes[-1]) if row.nodes else 0),
        "load": lambda value: _range(lambda node: round(value(node) * 100), lambda load: "%.2f" % (load / 100), "-"),
        "na": _first("N/A"),
        "none": _first("none"),
        "null": _first("(null)"),
        "raw": _first(""),
        "span": lambda value: _range(value, whole, "-"),
        "state": lambda value: lambda row: value(row.nodes[0]).lower() if row.nodes else "n/a",
        "time": lambda value: _first("Unknown")(lambda node: context.clock.text(value(node))),
        "unknown": _first("Unknown"),
        "whole": lambda value: _range(value, whole),
        "zero": _first("0"),
    }


def _values(context: ReportContext) -> dict[str, Value]:
    def count(number: float) -> str:
        return amount(number, 0, context.scale)

    def cpus_aiot(row: NodeRow) -> str:
        used = sum(node.alloc_cpus for node in row.nodes)
        other = sum(node.config.cpus - node.alloc_cpus for node in row.nodes if not node_usable(node))
        total = sum(node.config.cpus for node in row.nodes)
        return "%d/%d/%d/%d" % (used, total - used - other, other, total)

    forms = _forms(context)
    of_nodes = {
        field.name: forms[field.form](NODE_VALUES.reader(field.value, context))
        for field in NODE_VALUES.fields_of("sinfo")
    }

    def shared(row: NodeRow) -> str:
        return oversubscribe(row.partition)

    return {
        **of_nodes,
        "allocnodes": lambda row: "all",
        "available": lambda row: row.partition.state.lower(),
        "cluster": lambda row: "N/A",
        "cpusstate": cpus_aiot,
        "defaulttime": lambda row: _minutes(row.partition.default_time_min, "n/a"),
        "groups": lambda row: ",".join(row.partition.allow_groups) or "all",
        "maxcpuspernode": lambda row: (
            "UNLIMITED" if row.partition.max_cpus_per_node == INFINITE else str(row.partition.max_cpus_per_node)
        ),
        "nodeai": lambda row: "%d/%d" % nodes_aiot(row)[:2],
        "nodeaiot": lambda row: "%d/%d/%d/%d" % nodes_aiot(row),
        "nodelist": lambda row: row.names,
        "nodes": lambda row: str(len(row.nodes)),
        "oversubscribe": shared,
        "partition": lambda row: row.partition.name + "*" * row.partition.default,
        "partitionname": lambda row: row.partition.name,
        "preemptmode": lambda row: row.partition.preempt_mode,
        "priorityjobfactor": lambda row: count(row.partition.priority_job_factor),
        "prioritytier": lambda row: count(row.partition.priority_tier),
        "root": lambda row: "yes" if row.partition.root_only else "no",
        "share": shared,
        "size": lambda row: size(row.partition),
        "socketcorethread": lambda row: ":".join(of_nodes[name](row) for name in _COMBINED["socketcorethread"]),
        "time": lambda row: _minutes(row.partition.max_time_min, "infinite"),
    }
