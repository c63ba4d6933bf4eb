"""scontrol update StepId=. Source: src/scontrol/update_step.c, slurmctld/step_mgr.c update_step."""

from __future__ import annotations

from collections.abc import Sequence

from ...controller.command_context import CommandContext
from ...controller.slurm_errors import Errno
from ...language import timelimit
from ...language.syntax_errors import LanguageError
from ...model.spec import INFINITE
from ...model.states import JobState
from .job_keys import Unreadable, error, fits, strtoll


def update(ctx: CommandContext, words: Sequence[str]) -> int:
    """update StepId=JOB[.STEP] TimeLimit=TIME."""
    try:
        return _update(ctx, words)
    except Unreadable as problem:
        for line in problem.lines:
            ctx.err(line)
        return problem.code


def _update(ctx: CommandContext, words: Sequence[str]) -> int:
    job_id, step_id, minutes = 0, "", None
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise Unreadable(f"Invalid input: {word}", "Request aborted")
        if fits(name, "StepId", 4):
            job_id, rest = strtoll(value)
            if rest[:1] == ".":
                step_id = str(strtoll(rest[1:])[0])
            elif rest:
                raise Unreadable(f"Invalid StepID parameter: {word}", "Request aborted")
        elif fits(name, "TimeLimit", 2):
            minutes = _limit(ctx, job_id, step_id, value)
        else:
            raise Unreadable(f"Update of this parameter is not supported: {word}", "Request aborted")
    if minutes is None:
        raise Unreadable("No changes specified")
    job = ctx.queue.job_table.jobs.get(job_id)
    if job is None:
        raise Unreadable(f"slurm_update error: {Errno.INVALID_JOB_ID.text}")
    if job.state is JobState.PENDING:
        raise Unreadable(f"slurm_update error: {Errno.JOB_PENDING.text}")
    if job.state.finished:
        raise Unreadable(f"slurm_update error: {Errno.INVALID_JOB_ID.text}")
    steps = [
        step for step in job.steps.values() if step.step_id == step_id or (not step_id and step.step_id.isdecimal())
    ]
    running = [step for step in steps if not step.state.finished]
    if not running:
        raise Unreadable(f"slurm_update error: {Errno.INVALID_JOB_ID.text}")
    for step in running:
        ctx.queue.life.set_step_limit(job, step, minutes)
    return 0


def _limit(ctx: CommandContext, job_id: int, step_id: str, text: str) -> int:
    sign = text[:1] if text[:1] in ("+", "-") else ""
    try:
        minutes = timelimit.parse(text[len(sign) :])
    except LanguageError:
        raise error("Invalid TimeLimit value") from None
    if not sign:
        return minutes
    job = ctx.queue.job_table.jobs.get(job_id)
    step = job.steps.get(step_id) if job is not None else None
    if step is None:
        raise Unreadable()
    now = step.time_limit_min if step.time_limit_min is not None else INFINITE
    if sign == "-" and minutes > now:
        raise error(f"TimeLimit decrement larger than current time limit ({minutes} > {now})")
    return now + minutes if sign == "+" else now - minutes
