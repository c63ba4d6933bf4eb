"""sdiag: statistics of the controller.

Source: src/sdiag/sdiag.c, opts.c.
"""

from __future__ import annotations

import os
import time

from ..controller.command_context import CommandContext
from ..options.family import parse
from ..report.json.manager_records import statistics_record
from ..report.text.controller_statistics import Counters, sdiag_text
from ..report.text.units import Clock
from .common.caller_settings import read_context, user_name
from .common.command_errors import command
from .common.data_output import as_data, check_style, document
from .common.report_settings import caller_zone, known_cluster


@command
def main(ctx: CommandContext) -> int:
    """Print the statistics, or reset them."""
    request = parse("sdiag", ctx.args, read_context(ctx))
    check_style(ctx, request.get("json"), request.get("yaml"))
    if not known_cluster(ctx, request.get("clusters")):
        return 1
    controller = ctx.controller
    if request.get("reset"):
        controller.job_table.counters = Counters(since=controller.clock())
        ctx.out("Reset scheduling statistics\n")
        return 0
    orders = (("by_id", "id"), ("by_time", "time"), ("by_average", "average"))
    order = next((word for field, word in orders if request.get(field)), "count")
    uid = os.geteuid()
    pending = sum(max(1, controller.job_table.jobs[job].pending_count) for job in controller.job_table.pending)
    clock, running = Clock(controller.clock(), caller_zone(ctx)), len(controller.job_table.active)
    who = (user_name(uid), uid)
    if as_data(request):
        one = statistics_record(controller.job_table.counters, clock.now, pending, running, who, _latency())
        return document(ctx, request, "statistics", one)
    ctx.out(sdiag_text(controller.job_table.counters, clock, pending, running, who, _latency(), order))
    return 0


def _latency() -> int:
    start = time.perf_counter()
    for _ in range(1000):
        time.time()
    return int((time.perf_counter() - start) * 1e6)
