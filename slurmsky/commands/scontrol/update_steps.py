"""scontrol update of steps (StepId=).

Source: src/scontrol/update_step.c, slurmctld/step_mgr.c update_step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

from ...controller.command_context import CommandContext
from ...controller.slurm_errors import Errno
from ...language import timelimit
from ...language.key_values import Given, Key, KeyTable
from ...language.syntax_errors import LanguageError
from ...model.spec import INFINITE
from ...model.states import JobState
from .update_records import StepUpdate
from .update_values import Unreadable, answered, error, not_supported, strtoll, unsupported


def _step(ctx: CommandContext, given: Given) -> dict[str, Any]:
    job_id, rest = strtoll(given.value)
    if rest and rest[:1] != ".":
        raise Unreadable(f"Invalid StepID parameter: {given.word}", "Request aborted")
    return {"job_id": job_id, **({"step_id": str(strtoll(rest[1:])[0])} if rest else {})}


def _time_limit(ctx: CommandContext, given: Given) -> int:
    text = given.value
    sign = text[:1] if text[:1] in ("+", "-") else ""
    try:
        minutes = timelimit.parse(text[len(sign) :])
    except LanguageError:
        raise error("Invalid TimeLimit value") from None
    if not sign:
        return minutes
    job = ctx.controller.job_table.jobs.get(given.before.get("job_id", 0))
    step = job.steps.get(given.before.get("step_id", "")) if job is not None else None
    if step is None:
        raise Unreadable()
    now = step.time_limit_min if step.time_limit_min is not None else INFINITE
    if sign == "-" and minutes > now:
        raise error(f"TimeLimit decrement larger than current time limit ({minutes} > {now})")
    return now + minutes if sign == "+" else now - minutes


def _bare(word: str, rest: Iterator[str]) -> Given:
    raise Unreadable(f"Invalid input: {word}", "Request aborted")


STEP_KEYS: KeyTable[CommandContext] = KeyTable(
    (Key("StepId", 4, "", _step), Key("TimeLimit", 2, "time_limit", _time_limit)), _bare, unsupported, not_supported
)


def update(ctx: CommandContext, words: Sequence[str]) -> int:
    """update StepId=JOB[.STEP] TimeLimit=TIME."""
    return answered(ctx, lambda: _update(ctx, words))


def _update(ctx: CommandContext, words: Sequence[str]) -> int:
    wanted = cast(StepUpdate, STEP_KEYS.read(ctx, words))
    if "time_limit" not in wanted:
        raise Unreadable("No changes specified")
    job_id, step_id, minutes = wanted.get("job_id", 0), wanted.get("step_id", ""), wanted["time_limit"]
    job = ctx.controller.job_table.jobs.get(job_id)
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
        ctx.controller.life.set_step_limit(job, step, minutes)
    return 0
