"""sstat outside the job. Source: src/sstat/sstat.c."""
from __future__ import annotations

from ..controller.context import Context
from ..options import help as helps
from ..options.query import parse_sstat
from ..report import stats as report
from ..report.print_fields import InvalidField, Look
from ..report.tables import table as facts
from ._agent import hand_over
from ._command import streaming
from ._report import report as report_context
from ._surroundings import surroundings

_NO_JOB = "couldn't get steps"


@streaming
async def main(ctx: Context) -> int:
    """Ask the agent of the first job that runs; of those that do not, say so."""
    query = parse_sstat(ctx.args, surroundings(ctx))
    if query.helpformat:
        ctx.out(helps.in_columns([row["name"] for row in facts("sstat_fields")]))
        return 0
    try:
        columns = report.sstat_columns(query.format or (report.PIDS if query.pidformat else report.DEFAULT),
                                       report_context(ctx, query))
    except InvalidField as error:
        ctx.error(str(error))
        return 1
    for wanted in query.jobs:
        code = await hand_over(ctx, wanted)
        if code is not None:
            return code
    parsable = 2 if query.parsable2 else 1 if query.parsable else 0
    ctx.out(report.sstat_text([], columns, Look(parsable=parsable, header=not query.noheader)))
    for wanted in query.jobs:
        known = wanted.job_id in ctx.queue.book.jobs
        ctx.error(f"{'No steps running' if known else _NO_JOB} for job {wanted.job_id}")
    return 0
