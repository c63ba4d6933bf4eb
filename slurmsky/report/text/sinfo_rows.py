"""sinfo: nodes grouped into lines by the shown fields.

text, unknown = sinfo_text(nodes, partitions, Options(), context)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Callable, Optional

from slurmsky.model.cluster import PartitionConfig
from slurmsky.model.job import Node
from slurmsky.model.states import NodeFlag, NodeState

from ..fields.node_state import state_number
from ..fields.node_values import NODE_VALUES
from ..fields.sinfo_fields import NodeKey, NodeRow, PartitionKey, node_fields, split_keys, text_of
from ..report_context import ReportContext
from .columns import FormatItem, compile_layout, items_of
from .squeue_rows import host_key, sort_keys, sorted_by

DEFAULT = "partition:9 ,available:.5 ,time:.10 ,nodes:.6 ,statecompact:.6 ,nodelist:0"
LONG = (
    "partition:9 ,available:.5 ,time:.10 ,size:.10 ,root:.4 ,oversubscribe:.8 ,groups:.10 ,nodes:.6 ,"
    "statelong:.11 ,reservation:.11 ,nodelist:0"
)
SUMMARY = "partition:9 ,available:.5 ,time:.10 ,nodeaiot:.16 ,nodelist:0"
BY_NODE = "nodelist:0 ,nodes:.6 ,partition:.9 ,statecompact:6"
BY_NODE_LONG = (
    "nodelist:0 ,nodes:.6 ,partition:.9 ,statelong:.11 ,cpus:4 ,socketcorethread:.8 ,memory:.6 ,disk:.8 ,"
    "weight:.6 ,features:.8 ,reason:20"
)
REASONS = "reason:20 ,user:9 ,timestamp:19 ,nodelist:0"
REASONS_LONG = "reason:20 ,userlong:12 ,timestamp:19 ,statecompact:6 ,nodelist:0"
SORT = "#P,-t"
NODE_SORT = "N"
FIELD_WIDTH = 9  # initial width of PARTITION and NODELIST, which grow with their contents


@dataclass(frozen=True)
class Options:
    """Options of sinfo.

    ``letters`` is -o or SINFO_FORMAT, ``names`` is -O, ``partitions`` is -p. The caller applies -n, -t, -r and -d
    before sinfo_text. ``reasons`` (-R) keeps nodes that are down, failing or drained, unless -t has selected the nodes
    (``states``).
    """

    letters: Optional[str] = None
    names: Optional[str] = None
    long: bool = False
    summarize: bool = False
    by_node: bool = False
    reasons: bool = False
    states: bool = False
    exact: bool = False
    header: bool = True
    sort: Optional[str] = None
    partitions: Optional[tuple[str, ...]] = None

    def default_names(self) -> str:
        """The default format for these options."""
        if self.summarize:
            return SUMMARY
        if self.by_node:
            return BY_NODE_LONG if self.long else BY_NODE
        if self.reasons:
            return REASONS_LONG if self.long else REASONS
        return LONG if self.long else DEFAULT


class _Lines:
    """Groups nodes into lines (sinfo.c _build_sinfo_data)."""

    def __init__(self, options: Options, node_key: Sequence[NodeKey], part_key: Sequence[PartitionKey]) -> None:
        self.options, self.node_key, self.part_key = options, node_key, part_key
        self.rows: list[NodeRow] = []
        self.empty: list[NodeRow] = []
        self.known: dict[Any, NodeRow] = {}
        self.placed: set[tuple[int, int]] = set()

    def _partition_key(self, partition: PartitionConfig) -> Any:
        return None if self.options.reasons else tuple(read(partition) for read in self.part_key)

    def open(self, index: int, partition: PartitionConfig) -> None:
        """Create a line for a partition without matching nodes so far."""
        self.rows.append(NodeRow(partition, index))
        self.empty.append(self.rows[-1])

    def add(self, index: int, partition: PartitionConfig, node: Node) -> None:
        """Add a node of a partition to its line."""
        where = self._partition_key(partition)
        key = (where, tuple([read(node) for read in self.node_key]))
        row = None if self.options.by_node else self.known.get(key)
        if row is None:
            row = next((row for row in self.empty if self._partition_key(row.partition) == where), None)
            if row is None:
                row = NodeRow(partition, index)
                self.rows.append(row)
            else:
                self.empty.remove(row)
            self.known[key] = row
        if (id(row), id(node)) not in self.placed:
            self.placed.add((id(row), id(node)))
            row.nodes.append(node)


def node_rows(
    nodes: Iterable[Node],
    partitions: Sequence[PartitionConfig],
    items: Iterable[FormatItem],
    options: Options,
    context: ReportContext,
) -> list[NodeRow]:
    """Unsorted lines of sinfo. A format that names partitions includes partitions without nodes."""
    node_key, part_key, by_partition = split_keys((item.name for item in items), options.exact, context)
    by_name = {node.config.name: node for node in nodes if not options.reasons or options.states or _unfit(node)}
    lines = _Lines(options, node_key, part_key)
    wanted = [
        (index, partition)
        for index, partition in enumerate(partitions)
        if options.partitions is None or partition.name in options.partitions
    ]
    if by_partition and not options.by_node:
        for index, partition in wanted:
            lines.open(index, partition)
    for index, partition in wanted:
        for name in partition.nodes:
            node = by_name.get(name)
            if node is not None:
                lines.add(index, partition, node)
    return lines.rows


def _unfit(node: Node) -> bool:
    return node.state is NodeState.DOWN or bool(node.flags & (NodeFlag.DRAIN | NodeFlag.FAIL))


def _sort_keys(context: ReportContext) -> dict[str, Callable[[NodeRow], Any]]:
    ups = {"DOWN": 1, "UP": 3, "DRAIN": 2, "INACTIVE": 0}
    keys: dict[str, Callable[[NodeRow], Any]] = {
        "a": lambda row: ups.get(row.partition.state, 0),
        "A": lambda row: row.count_allocated,
        "D": lambda row: len(row.nodes),
        "g": lambda row: ",".join(row.partition.allow_groups),
        "h": lambda row: row.partition.oversubscribe,
        "H": lambda row: row.nodes[0].reason_time if row.nodes else 0.0,
        "l": lambda row: row.partition.max_time_min,
        "M": lambda row: row.partition.preempt_mode,
        "n": lambda row: host_key([node.config.host_name for node in row.nodes[:1]]),
        "N": lambda row: min((host_key([node.config.name]) for node in row.nodes), default=host_key([])),
        "p": lambda row: row.partition.priority_tier,
        "P": lambda row: row.partition.name,
        "#P": lambda row: row.index,
        "r": lambda row: row.partition.root_only,
        "s": lambda row: (row.partition.min_nodes, row.partition.max_nodes),
        "S": lambda row: row.partition.priority_job_factor,
        "t": lambda row: state_number(row.nodes[0]) if row.nodes else 0,
        "z": _least(attrgetter("config.sockets", "config.cores", "config.threads")),
        **{
            field.name: _SORTS[field.form](NODE_VALUES.reader(field.value, context))
            for field in NODE_VALUES.fields_of("sort")
        },
    }
    keys.update({"F": keys["A"], "R": keys["P"], "#R": keys["#P"], "T": keys["t"], "U": keys["u"]})
    return keys


def _least(value: Callable[[Node], Any]) -> Callable[[NodeRow], Any]:
    return lambda row: min(map(value, row.nodes), default=0)


def _first(value: Callable[[Node], Any]) -> Callable[[NodeRow], Any]:
    return lambda row: text_of(value(row.nodes[0])) if row.nodes else ""


_SORTS = {"least": _least, "first": _first}


def sort_nodes(rows: Iterable[NodeRow], context: ReportContext, spec: str = SORT) -> list[NodeRow]:
    """Sort lines as sinfo does. ``#P`` is the order of the configuration. Unknown keys are ignored."""
    return sorted_by(rows, _sort_keys(context), _with_order(spec))


def _with_order(spec: str) -> Iterator[tuple[str, bool]]:
    # "#" replaces "-": the configured order cannot be reversed.
    for letter, descending in sort_keys(spec.replace("#P", "\1").replace("#R", "\1").replace("#", "")):
        yield ("#P" if letter == "\1" else letter), descending


def sinfo_text(
    nodes: Iterable[Node], partitions: Sequence[PartitionConfig], options: Options, context: ReportContext
) -> tuple[str, list[str]]:
    """Text of sinfo, and the format's unknown fields.

    For an unknown letter sinfo prints ``Invalid node format specification: X`` on stderr, for an unknown name
    ``sinfo: error: Invalid job format specification: X``; it continues in both cases.
    """
    fields = node_fields(context)
    own = options.letters is None and options.names is None
    items = items_of(fields, options.letters, options.default_names() if options.names is None else options.names, " ")
    sort = options.sort if options.sort is not None else NODE_SORT if options.by_node else SORT
    rows = sort_nodes(node_rows(nodes, partitions, items, options, context), context, sort)
    if own:
        items = _widened(items, rows, options)
    layout, unknown = compile_layout(items, fields)
    first = context.clock.date_line() + "\n" if options.long and options.header else ""
    return first + layout.text(rows, options.header), unknown


def _widened(items: list[FormatItem], rows: list[NodeRow], options: Options) -> list[FormatItem]:
    """Widen PARTITION, and with -N NODELIST, to their contents. sinfo does so in its default formats only."""
    if options.reasons and not options.by_node and not options.summarize:
        return items
    widths = {"partition": max([FIELD_WIDTH, *(len(row.partition.name) + row.partition.default for row in rows)])}
    if options.by_node and not options.summarize:
        widths["nodelist"] = max([FIELD_WIDTH, *(len(row.names) for row in rows)])
    return [item._replace(width=widths.get(item.name, item.width)) for item in items]
