"""scontrol update: dispatch by entity, and updates of jobs.

Source: src/scontrol/scontrol.c _update_it, update_job.c scontrol_update_job; slurmctld/job_mgr.c update_job_str.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from ...controller.command_context import CommandContext
from ...controller.jobs.job_changes import change
from ...controller.jobs.job_update import JobUpdate
from ...controller.slurm_errors import Errno
from ...language import jobids
from ...language.key_values import matching_value, parse
from . import admin_verbs, reservation_verbs, resize_script, update_nodes, update_partitions, update_steps
from .job_keys import JOB_KEYS, SELECTS, loaded
from .job_verbs import apply_to_records, report
from .update_values import Unreadable, answered, error

Words = Sequence[str]
Act = Callable[[CommandContext, Words], int]


def update(ctx: CommandContext, words: Words) -> int:
    """``scontrol update WORDS``."""
    if not words:
        ctx.err("too few arguments for update keyword")
        return 1
    named = _entities(words)
    for kind, act in _ENTITIES:
        if kind in named:
            return act(ctx, words)
    ctx.err("No valid entity in update command")
    ctx.err('Input line must include "NodeName", "PartitionName", "Reservation", "JobId", or "SlurmctldDebug"')
    return 1


#: (key, length of the shortest accepted prefix, entity)
_NAMES = (
    ("NodeName", 3, "node"), ("PartitionName", 3, "partition"), ("JobId", 3, "job"), ("JobName", 3, "job"),
    ("StepId", 4, "step"),
    ("ReservationName", 3, "reservation"), ("SlurmctldDebug", 2, "debug"), ("SuspendExcNodes", 11, "power"),
    ("SuspendExcParts", 11, "power"), ("SuspendExcStates", 11, "power"),
)  # fmt: skip
#: in order of precedence: a job update may contain a partition or reservation key, a reservation update a partition key
_ENTITIES: tuple[tuple[str, Act], ...] = (
    ("job", lambda ctx, words: update_job(ctx, words)),
    ("step", update_steps.update),
    ("reservation", reservation_verbs.update),
    ("node", update_nodes.update),
    ("partition", update_partitions.update),
    ("debug", admin_verbs.update_debug),
    ("power", admin_verbs.update_power),
)


def _entities(words: Words) -> set[str]:
    rest = iter(words)
    named = []
    for word in rest:
        given = parse(word)
        if given is None:
            next(rest, None)  # the value is the next word
        named.append(matching_value(given.name if given is not None else word, _NAMES))
    return {kind for kind in named if kind is not None}


# --- jobs


def update_job(ctx: CommandContext, words: Words) -> int:
    """update JobId=IDS KEY=VALUE..."""
    return answered(ctx, lambda: _update_job(ctx, words))


def _update_job(ctx: CommandContext, words: Words) -> int:
    wanted = JOB_KEYS.read(ctx, words)
    if not wanted.keys() - SELECTS:
        raise Unreadable("No changes specified")
    user = wanted.pop("user", None)
    ids = wanted.pop("job_id", None)
    if ids is None and wanted.get("name"):
        ids = _named(ctx, wanted["name"], user)
    if ids is None:
        raise error("No job ID specified")
    resized = not wanted.keys().isdisjoint(("min_nodes", "req_nodes"))
    if resized:
        loaded(ctx, ids, "Job resizing not supported for job arrays")
    texts = jobids.update_list(ids)
    if texts is None:
        ctx.err(f"{Errno.INVALID_JOB_ID.text} for job {ids}")
        return 1
    job_table, life, update = ctx.controller.job_table, ctx.controller.life, cast(JobUpdate, wanted)
    code = 0
    for text in texts:
        outcome = apply_to_records(ctx, text, lambda job: change(job_table, life, job, update), "throttle" in update)
        failed = report(ctx, text, outcome, quiet_success=True)
        if resized and not failed and "SLURM_JOBID" in ctx.env:
            resize_script.write(ctx, text)
        code = max(code, failed)
    ctx.controller.schedule_soon()
    return code


def _named(ctx: CommandContext, name: str, user: int | None) -> str:
    """Ids of the jobs of JobName=, for a request without JobId=."""
    found = [
        str(job.job_id) if job.array_task_id is None else f"{job.array_job_id}_{job.array_task_id}"
        for job in ctx.controller.job_table.jobs.values()
        if job.name == name and user in (None, job.uid)
    ]
    if not found:
        whose = "No jobs with name" if user is None else f"No jobs with user ID {user} and name"
        raise error(f"{whose} '{name}'")
    return ",".join(found)
