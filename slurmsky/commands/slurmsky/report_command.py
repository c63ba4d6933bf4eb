"""slurmsky report: an HTML page about one job or many."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from copy import copy
from dataclasses import dataclass, replace

import click

from ...controller.command_context import CommandContext
from ...model.job import Job
from ...options.query import SacctQuery, parse_sacct
from ...options.usage_errors import CommandError
from ...page import explanations
from ...page.group_page import group_page, span_of
from ...page.job_page import job_page
from ...page.timeline import Period
from ...report.report_context import ReportContext as Report
from ...report.text.units import Clock
from .._files import opener
from ..common.caller_settings import read_context
from ..common.command_errors import absolute
from ..common.report_settings import caller_zone
from ..common.site_options import table
from ..sacct import check_window, select, unknown
from ._base import SlurmskyCommand, failed, in_controller
from .why_command import answers

#: with more jobs than this, a curve of their averages would not change visibly
MOST_WITH_SERIES = 1000


@dataclass
class Call:
    """Options and operands of the command line."""

    values: dict[str, str]
    allusers: bool
    jobs: list[str]


@click.command(
    cls=SlurmskyCommand, example="slurmsky report 42\nslurmsky report --since midnight -o today.html", page="guide"
)
@click.option("-S", "--since", metavar="WHEN", help="Jobs that waited or ran since then: now-2hours, midnight, "
              "2026-11-20, 14:30, as sacct's -S.")  # fmt: skip
@click.option("-E", "--until", metavar="WHEN", help="End of the period (default: now).")
@click.option("-u", "--user", metavar="LIST", help="Jobs of these users (default: you; for root all users).")
@click.option("-a", "--allusers", is_flag=True, help="Jobs of all users.")
@click.option("-o", "--output", metavar="FILE", help="Write to this file (default: report-JOB.html or report.html; "
              "- is stdout).")  # fmt: skip
@click.argument("jobs", nargs=-1, metavar="[JOB]...")
@in_controller
def command(ctx: CommandContext, jobs: tuple[str, ...], allusers: bool, **values: str | None) -> Awaitable[int]:
    """Write a self-contained HTML page about jobs, or about all jobs of a period.

    The page shows a timeline of jobs and steps, used and allocated CPUs, memory and GPUs, waiting times, cost, exit
    codes and reasons. Without -o, and if stdout is not a terminal, the page is written to stdout.
    """
    call = Call({name: value for name, value in values.items() if value is not None}, allusers, list(jobs))
    requested = bool({"since", "until"} & set(call.values))
    if bool(call.jobs) == ("since" in call.values) or (call.jobs and requested):
        raise click.UsageError("a job or --since, not both" if call.jobs else "a job or --since is needed")
    try:
        query = _query(ctx, call)
    except CommandError as error:
        lines = tuple(line.replace("sacct: ", "slurmsky: report: ", 1) for line in error.lines)
        raise failed(*lines) from error
    return _report(ctx, call, query)


async def _report(ctx: CommandContext, call: Call, query: SacctQuery) -> int:
    # Copy pending jobs: they belong to the queue, and a thread builds the page while the queue changes.
    jobs = [_copied(job) for job in select(ctx, query, held=True)]
    if call.jobs and not jobs:
        raise failed("slurmsky: report: Invalid job id specified")
    if len(jobs) <= MOST_WITH_SERIES:
        ctx.controller.store.add_series(jobs)
    clock = Clock(ctx.controller.clock(), caller_zone(ctx))
    context = Report(clock=clock, cluster=ctx.controller.job_table.cluster)
    # All records are read; a thread computes the page, so that no other command is blocked.
    some = explanations.similar_jobs(jobs)
    explained = some[: explanations.MOST_KINDS]
    answered = await answers(ctx, [alike[0] for alike in explained])
    why = [explanations.Similar(*pair) for pair in zip(explained, answered, strict=True)]
    page = await asyncio.to_thread(_page, jobs, query, context, call, why, len(some) - len(explained))
    return _write(ctx, page, call)


def _copied(job: Job) -> Job:
    job = copy(job)
    job.steps = dict(job.steps)
    return job


def _query(ctx: CommandContext, call: Call) -> SacctQuery:
    """sacct query with the same times, users and job ids."""
    argv = ["--duplicates"]
    for option, name in (("-S", "since"), ("-E", "until"), ("-u", "user")):
        if name in call.values:
            argv += [option, call.values[name]]
    if call.allusers:
        argv.append("-a")
    if call.jobs:
        argv += ["-j", ",".join(call.jobs)]
    # Only the command line counts; the caller's SACCT_FORMAT is ignored.
    around = replace(read_context(ctx), env={}, timezone=caller_zone(ctx))
    query = parse_sacct(argv, around, table(ctx, "sacct"))
    check_window(ctx, query)
    problem = unknown(ctx, query)
    if problem:
        raise CommandError(problem, 1)
    return query


def _page(
    jobs: list[Job], query: SacctQuery, context: Report, call: Call, why: list[explanations.Similar], omitted: int
) -> str:
    zone = context.clock.zone
    if call.jobs:
        if len({job.job_id for job in jobs}) == 1:
            runs = sorted(jobs, key=lambda job: job.restarts)
            return job_page(runs, context, why[0].answer if why else None)
        arrays = {job.array_job_id or job.het_job_id for job in jobs}
        one = f"Job {arrays.pop()}" if len(arrays) == 1 and 0 not in arrays else f"{len(jobs)} jobs"
        named = {job.name for job in jobs}
        title = f"{one}: {named.pop()}" if len(named) == 1 else one
        return group_page(jobs, context, title, span_of(jobs, context.now, zone), False, why, omitted)
    end = min(query.endtime if query.endtime is not None else context.now, context.now)
    start = query.starttime or 0
    all_users = query.allusers or (os.geteuid() == 0 and not query.users)
    whose = "" if all_users else " of " + ", ".join(sorted({job.user for job in jobs})) if jobs else ""
    period = Period(start, max(end, start + 1), zone)
    return group_page(jobs, context, "Jobs" + whose, period, True, why, omitted)


def _write(ctx: CommandContext, page: str, call: Call) -> int:
    name = call.values.get("output", "")
    if name == "-" or (not name and not ctx.request.ttys[1]):
        ctx.out(page)
        return 0
    if not name:
        plain = all(char.isalnum() or char in "_+" for char in "".join(call.jobs))
        name = f"report-{call.jobs[0]}.html" if len(call.jobs) == 1 and plain else "report.html"
    try:
        # The page contains names, paths and command lines, so only its owner may read it.
        file = opener(absolute(ctx, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(file, "w", encoding="utf-8", errors="replace") as out:
            out.write(page)
    except OSError as error:
        ctx.err(f"slurmsky: report: {name}: {error.strerror}")
        return 1
    if "output" not in call.values:
        ctx.out(f"{name}\n")
    return 0
