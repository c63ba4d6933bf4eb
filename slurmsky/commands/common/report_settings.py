"""The caller's settings for reports: clock, time format, unit scale."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import tzinfo

from ...controller.command_context import CommandContext
from ...model.cluster import ClusterConfig
from ...model.job import Node
from ...options.query import Query
from ...report.report_context import ReportContext as Report
from ...report.text.units import EXACT, Clock, Scale
from ...site.assumed import unknown_cluster


def report(ctx: CommandContext, query: Query, scale: Scale = EXACT, expand_patterns: bool = False) -> Report:
    """Build the report context of one call."""
    zone = caller_zone(ctx)
    clock = Clock(ctx.controller.clock(), zone, query.time_format, ctx.error)
    return Report(
        clock=clock,
        cluster=ctx.controller.job_table.cluster,
        scale=scale,
        bitstr_len=query.bitstr_len,
        expand_patterns=expand_patterns,
    )


def midnight(now: float) -> int:
    """Epoch seconds at which the current day began."""
    local = time.localtime(now)
    return int(time.mktime((local.tm_year, local.tm_mon, local.tm_mday, 0, 0, 0, 0, 0, -1)))


def caller_zone(ctx: CommandContext) -> tzinfo | None:
    """The caller's time zone if its TZ differs from the controller's. None means local time."""
    name = ctx.env.get("TZ")
    if not name or name == ctx.controller.environment.get("TZ"):
        return None
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name.lstrip(":"))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def nodes_and_cluster(ctx: CommandContext) -> tuple[Mapping[str, Node], ClusterConfig]:
    """All nodes, and their cluster. On SkyPilot the nodes are as of the last read of its infras."""
    infra = ctx.controller.infra
    if infra is None:
        return ctx.controller.job_table.with_virtual_nodes()
    infra.request_refresh()
    return infra.nodes(), infra.cluster()


def known_cluster(ctx: CommandContext, clusters: str | None) -> bool:
    """-M: accept this cluster's names; print Slurm's errors for others."""
    word = unknown_cluster(ctx.controller.job_table.cluster, clusters) if clusters else ""
    if word:
        ctx.error(f"No cluster '{word}' known by database.")
        ctx.error(
            f"'{word}' can't be reached now, or it is an invalid entry for --cluster.  "
            "Use 'sacctmgr list clusters' to see available clusters."
        )
        if ctx.command not in ("sbatch", "srun", "salloc"):
            ctx.err(f"{ctx.command}: fatal: Could not get cluster information")
    return not word
