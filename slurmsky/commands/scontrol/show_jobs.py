"""scontrol show of jobs and steps, and completing.

Source: src/scontrol/info_job.c.
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import islice

from ...controller.command_context import CommandContext
from ...controller.slurm_errors import Errno, SlurmError
from ...language import hostlist, jobids, timelimit
from ...language.syntax_errors import LanguageError
from ...model.job import Job, Step
from ...model.spec import NO_VAL
from ...model.states import JobFlag
from ...options.query import ScontrolQuery
from ...report.text import show_job as report
from ..common import job_targets
from ..common.expected_jobs import with_expected_starts
from ..common.report_settings import report as report_context
from .show_output import as_data, print_document, updated


def jobs(ctx: CommandContext, query: ScontrolQuery, value: str | None) -> int:
    job_table = ctx.controller.job_table
    if value is None:
        jobs = [job_table.jobs[job_id] for job_id in sorted(job_table.jobs)]
        if not jobs and not as_data(query):
            if not query.quiet:
                ctx.out("No jobs in the system\n")
            return 0
    else:
        try:
            jobs = _named_jobs(ctx, value)
        except SlurmError as error:
            # The client reports a malformed id, slurmctld an unknown one; a document then has no records.
            known = _ONE_JOB.fullmatch(value) is not None
            if not (as_data(query) and known):
                if not query.quiet:
                    ctx.err(f"{'slurm_load_jobs' if known else 'scontrol_print_job'} error: {error.text}")
                return 1
            jobs = []
        if not jobs and not as_data(query):
            if not query.quiet:
                ctx.out(f"Job {value} not found\n")
            return 1
    jobs = with_expected_starts(ctx, jobs)
    if as_data(query):
        return print_document(
            ctx, query, lambda form, about, now: form.jobs_document(jobs, about, now, job_table.cluster)
        )
    updated(ctx, query, len(jobs))
    context = report_context(ctx, query)
    shown = report.show_jobs(jobs, context, detail=query.details, oneliner=query.oneliner)
    while text := "".join(islice(shown, _BATCH_SIZE)):
        ctx.out(text)  # the caller reads this text while the next records are formatted
    return 0


#: a job id, array element or het component; anything after it is ignored
_ONE_JOB = re.compile("([0-9]*)(?:([_+])([0-9]*)[0-9_+]*)?")


def _named_jobs(ctx: CommandContext, text: str) -> list[Job]:
    """Records for the id of ``show job``.

    Raises SlurmError. Source: scontrol_print_job.
    """
    match = _ONE_JOB.fullmatch(text)
    if match is None or not 0 <= int(match[1] or 0) < NO_VAL:
        raise SlurmError(Errno.INVALID_JOB_ID)
    number, index = int(match[1] or 0), int(match[3] or 0)
    found = sorted(ctx.controller.job_table.jobs.values(), key=lambda job: job.job_id)
    if number:
        found = _newest_first(job_targets.records(ctx.controller, jobids.JobId(number), split=False))
    if match[2] == "+":
        return [job for job in found if job.het_job_id and job.het_offset == index]
    if match[2] == "_":
        alone = (_single_element(job, index) for job in found if job.array_job_id)
        return [job for job in alone if job.array_task_id == index]
    return found


#: number of jobs printed in one write
_BATCH_SIZE = 200


def _single_element(job: Job, task: int) -> Job:
    """Reduce an array's record to one pending element."""
    waits = any(task in part for part in job.pending_tasks)
    return replace(job, array_task_id=task, pending_tasks=()) if waits else job


def _newest_first(jobs: list[Job]) -> list[Job]:
    """Sort array records as slurmctld's chain does.

    First is the base record, then the most recently split-off element.
    """
    if len(jobs) < 2 or not jobs[0].array_job_id:
        return jobs
    base = [job for job in jobs if job.job_id == job.array_job_id]
    return base + sorted((job for job in jobs if job.job_id != job.array_job_id), key=lambda job: -job.job_id)


def steps(ctx: CommandContext, query: ScontrolQuery, value: str | None) -> int:
    job_table = ctx.controller.job_table
    wanted = None
    if value is not None and value[:1].isdecimal():
        try:
            wanted = replace(jobids.parse(value), het_offset=None)  # Slurm ignores the offset
            records = job_targets.records(ctx.controller, wanted, split=False)
        except (SlurmError, LanguageError):
            if not as_data(query):
                ctx.error(f"scontrol_print_step: slurm_get_job_steps({value}) failed: Invalid job id specified")
                return 1
            records = []
    else:
        records = [job_table.jobs[job_id] for job_id in sorted(job_table.jobs)]
    found: list[tuple[Job, Step]] = [
        (job, step)
        for job in records
        for step in job.steps.values()
        if not step.state.finished and (wanted is None or wanted.step is None or str(wanted.step) == step.step_id)
    ]
    if as_data(query):
        return print_document(
            ctx, query, lambda form, about, now: form.steps_document(found, about, now, job_table.cluster)
        )
    context = report_context(ctx, query)
    if wanted is not None and wanted.step is not None and not found:
        ctx.out(f"Job step {value} not found\n")
        return 1
    if not found and wanted is None:
        ctx.out("No job steps in the system\n")
    ctx.out("".join(report.show_step(job, step, context, oneliner=query.oneliner) for job, step in found))
    return 0


def completing(ctx: CommandContext, query: ScontrolQuery) -> int:
    """Print jobs in state COMPLETING, with their nodes."""
    context = report_context(ctx, query)
    now = ctx.controller.clock()
    for job in ctx.controller.job_table.jobs.values():
        if JobFlag.COMPLETING in job.flags:
            took = timelimit.format_seconds(max(0, int(now - job.end_time)))
            ctx.out(
                f"JobId={job.job_id} EndTime={context.clock.text(job.end_time)} CompletingTime={took} "
                f"Nodes(COMPLETING)={hostlist.compress(job.nodes)} \n"
            )
    return 0
