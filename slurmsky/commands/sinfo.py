"""sinfo: partitions and nodes as a table.

Source: src/sinfo/sinfo.c, opts.c.
"""

from __future__ import annotations

from dataclasses import replace

from ..controller.command_context import CommandContext
from ..language import hostlist
from ..model.cluster import ClusterConfig, PartitionConfig
from ..model.job import Node
from ..model.states import NodeState
from ..options import help as helps
from ..options.query import SinfoQuery, parse_sinfo
from ..report.fields import field_tables
from ..report.fields.node_state import matches
from ..report.text import sinfo_rows as report
from ..report.text.show_reservations import reservations_text
from ..report.text.units import Scale
from ..site.assumed import with_partitions
from .common import verbosity
from .common.caller_settings import read_context
from .common.command_errors import streaming
from .common.data_output import check_style, write
from .common.iteration import repeat
from .common.report_settings import known_cluster, nodes_and_cluster
from .common.report_settings import report as report_context


@streaming
async def main(ctx: CommandContext) -> int:
    """Print once, or every --iterate seconds until interrupted."""
    query = parse_sinfo(ctx.args, read_context(ctx))
    check_style(ctx, query.json, query.yaml)
    for line in query.warnings:
        ctx.err(line)
    if query.helpformat or query.helpformat2 or query.helpstate:
        ctx.out(helps.field_help(query, field_tables.table("sinfo_fields")))
        return 0
    if not known_cluster(ctx, query.clusters):
        return 1
    if query.reservation:
        known = ctx.controller.job_table.reservations.all
        ctx.out(
            reservations_text(known.values(), report_context(ctx, query), header=not query.noheader)
            if known
            else "No reservations in the system\n"
        )
        return 0

    if query.verbose:
        ctx.out(verbosity.sinfo(query))
        verbosity.debug(ctx, query.verbose)

    async def show() -> int:
        if query.iterate or query.verbose:
            ctx.out(report_context(ctx, query).clock.date_line() + "\n")
        return _print(ctx, query)

    return await repeat(ctx, query.iterate, show)


def _print(ctx: CommandContext, query: SinfoQuery) -> int:
    context = report_context(ctx, query, Scale(None, not query.noconvert))
    everything, cluster = nodes_and_cluster(ctx)
    if cluster.open:  # on such a cluster any name is a partition, whether a job has used it or not
        cluster = with_partitions(cluster, query.partitions or ())
    partitions = partition_views(ctx, cluster)
    nodes = [node for node in everything.values() if _passes(query, node)]
    shown = replace(cluster, partitions=tuple(partitions))
    if query.json is not None or query.yaml is not None:
        return write(
            ctx,
            query.json,
            query.yaml,
            lambda form, about: form.sinfo_document(nodes, shown, about, ctx.controller.clock(), query.node),
        )
    if query.clusters and not query.noheader:
        ctx.out(f"CLUSTER: {ctx.controller.job_table.cluster.name}\n")
    options = report.Options(
        letters=query.format,
        names=query.format2,
        long=query.long,
        summarize=query.summarize,
        by_node=query.node,
        reasons=query.list_reasons,
        states=query.states is not None,
        exact=query.exact,
        header=not query.noheader,
        sort=query.sort,
        partitions=query.partitions,
    )
    text, unknown = report.sinfo_text(nodes, partitions, options, context)
    for field in unknown:
        if query.format2 is not None:
            ctx.error(f"Invalid job format specification: {field}")
        else:
            ctx.err(f"Invalid node format specification: {field}")
    ctx.out(text)
    return 0


def partition_views(ctx: CommandContext, cluster: ClusterConfig) -> list[PartitionConfig]:
    """Partitions with the states set by scontrol update."""
    states = ctx.controller.job_table.partition_states
    return [replace(part, state=states.get(part.name, part.state)) for part in cluster.partitions]


def _passes(query: SinfoQuery, node: Node) -> bool:
    """Return whether a node passes -n, -t, -r and -d."""
    if node.state is NodeState.FUTURE and not query.future:
        return False
    if query.nodelist is not None and node.config.name not in hostlist.expand(query.nodelist):
        return False
    responding = not matches(node, "no_respond") and node.state.value != "down"
    if query.responding and not responding:
        return False
    if query.dead and responding:
        return False
    if query.states is None or "all" in query.states:
        return True
    return any(
        all(matches(node, word.lstrip("~")) != word.startswith("~") for word in entry.split("&"))
        for entry in query.states
    )
