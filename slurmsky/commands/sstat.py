"""sstat outside the job. Source: src/sstat/sstat.c."""

from __future__ import annotations

from ..agent.srun.step_stats import ONE_STEP
from ..controller.command_context import CommandContext
from ..options import help as helps
from ..options.query import JobId, parse_sstat
from ..report.fields.field_tables import table as field_table
from ..report.text import sstat_rows as report
from ..report.text.print_fields import InvalidField, TableStyle
from .common.agent_request import hand_over
from .common.caller_settings import read_context
from .common.command_errors import streaming
from .common.report_settings import report as report_context


@streaming
async def main(ctx: CommandContext) -> int:
    """Query the agent of each running job; report other jobs."""
    query = parse_sstat(ctx.args, read_context(ctx))
    if query.helpformat:
        ctx.out(helps.in_columns([row["name"] for row in field_table("sstat_fields")]))
        return 0
    try:
        columns = report.sstat_columns(
            query.format or (report.PIDS if query.pidformat else report.DEFAULT), report_context(ctx, query)
        )
    except InvalidField as error:
        ctx.error(str(error))
        return 1
    if query.verbose >= 2:
        listed = [f"\t: {f'All steps for job {one.job_id}' if one.step is None else one}" for one in query.jobs]
        for line in ("Jobs requested:", *listed):
            ctx.info(f"debug:  {line}\n")  # Slurm's lines end with a newline of their own
    parsable = 2 if query.parsable2 else 1 if query.parsable else 0
    ctx.out(report.sstat_text([], columns, TableStyle(parsable=parsable, header=not query.noheader)))
    for named in query.jobs:
        # The id selects one job: array elements and het components are ignored. That of an array selects its elements.
        array = ctx.controller.job_table.array(named.job_id)
        elements = [one.job_id for one in array if one.steps and not one.state.finished]
        wanted = JobId(min(elements, default=named.job_id), step=named.step)
        if wanted.job_id not in ctx.controller.job_table.jobs:
            ctx.error(f"couldn't get steps for JobId={wanted.job_id}")
        elif await hand_over(ctx, wanted, {ONE_STEP: str(wanted)}) is None:
            where = f"StepId={wanted} not found running." if wanted.step is not None else None
            ctx.error(where or f"No steps running for job {wanted.job_id}")
    return 0
