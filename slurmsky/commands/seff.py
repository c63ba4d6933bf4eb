"""seff: CPU and memory efficiency of a job.

Source: contribs/seff/seff (arguments, lines, exit codes).
"""

from __future__ import annotations

from ..controller.command_context import CommandContext
from ..language.syntax_errors import LanguageError
from ..options.family import parse
from ..options.ids import step_or_job
from ..options.usage_errors import CommandError, Printed
from ..report.report_context import ReportContext as Report
from ..report.text.seff_report import seff_text
from ..report.text.units import Clock
from .common.caller_settings import read_context
from .common.command_errors import command
from .common.report_settings import caller_zone

_USAGE = """Usage: seff [Options] <Jobid>
       Options:
       -h    Help menu
       -v    Version
       -d    Debug mode: display raw Slurm data
"""


@command
def main(ctx: CommandContext) -> int:
    """Print the summary of one job."""
    try:
        request = parse("seff", ctx.args, read_context(ctx))
    except Printed as shown:
        # Slurm's seff, a Perl script, exits with 1 after -h and -v.
        ctx.out("seff Version 2.1\n" if shown.stdout.startswith("slurm ") else _USAGE)
        return 1
    if len(request.words) != 1:
        ctx.out(_USAGE)
        return 1
    try:
        wanted = step_or_job("seff", request.words[0])
    except (CommandError, LanguageError):
        wanted = ()
    controller = ctx.controller
    controller.flush()
    jobs = controller.store.history(0, controller.clock(), {one.job_id for one in wanted}) if wanted else []
    for job in jobs:
        one = wanted[0]
        if isinstance(one.task, int) and job.array_task_id != one.task:
            continue
        if one.task is None and job.array_job_id and one.job_id not in (job.job_id, job.array_job_id):
            continue
        clock = Clock(controller.clock(), caller_zone(ctx))
        ctx.out(seff_text(job, Report(clock=clock, cluster=controller.job_table.cluster), bool(request.get("debug"))))
        return 0
    ctx.err("Job not found.")
    return 2
