"""scontrol update: dispatch by entity, and updates of jobs.

Source: src/scontrol/scontrol.c _update_it, update_job.c scontrol_update_job; slurmctld/job_mgr.c update_job_str.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...controller.command_context import CommandContext
from ...controller.jobs.job_changes import change
from ...controller.slurm_errors import Errno, SlurmError
from ...language import jobids
from ...model.job import Job
from ...model.spec import INFINITE
from ..common import job_targets
from . import admin_verbs, reservation_verbs, resize_script, update_nodes, update_partitions, update_steps
from .job_keys import BARE, NO_CHANGE, SIGNED, Unreadable, error, find_key, fits, strtoll
from .job_verbs import each, report

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
    found, skip = set(), False
    for word in words:
        if skip:
            skip = False
            continue
        key, equals, _ = word.partition("=")
        skip = not equals  # the value is the next word
        if equals and key[-1:] in "+-":
            key = key[:-1]
        kind = next((kind for name, letters, kind in _NAMES if fits(key, name, letters)), None)
        if kind:
            found.add(kind)
    return found


# --- jobs


def update_job(ctx: CommandContext, words: Words) -> int:
    """update JobId=IDS KEY=VALUE..."""
    try:
        wanted, count = _read(ctx, words)
        if not count:
            raise Unreadable("No changes specified")
        user = wanted.pop("user", None)
        ids = wanted.pop("job_id", None)
        if ids is None and wanted.get("name"):
            ids = _named(ctx, wanted["name"], user)
        if ids is None:
            raise error("No job ID specified")
        resized = not wanted.keys().isdisjoint(("min_nodes", "req_nodes"))
        if resized:
            _single(ctx, ids)
    except Unreadable as problem:
        for line in problem.lines:
            ctx.err(line)
        return problem.code
    texts = jobids.update_list(ids)
    if texts is None:
        ctx.err(f"{Errno.INVALID_JOB_ID.text} for job {ids}")
        return 1
    job_table, life = ctx.queue.job_table, ctx.queue.life
    code = 0
    for text in texts:
        outcome = each(ctx, text, lambda job: change(job_table, life, job, wanted), "throttle" in wanted)
        failed = report(ctx, text, outcome, quiet_success=True)
        if resized and not failed and "SLURM_JOBID" in ctx.env:
            resize_script.write(ctx, text)
        code = max(code, failed)
    ctx.queue.kick()
    return code


def _read(ctx: CommandContext, words: Words) -> tuple[dict[str, Any], int]:
    """The wanted changes, and their number. Raises Unreadable at the first word that is no change."""
    wanted: dict[str, Any] = {}
    count = 0
    rest = list(words)
    while rest:
        shown = word = rest.pop(0)
        name, equals, value = word.partition("=")
        sign = name[-1:] if equals and len(name) > 1 and name[-1] in "+-" else ""
        name = name[:-1] if sign else name
        if not equals:
            bare = next((found for key, letters, found in BARE if fits(word, key, letters)), None)
            if bare is not None:
                wanted.update(bare)
                count += 1
                continue
            if not rest:
                raise Unreadable(f"Invalid input: {word}", "Request aborted")
            shown = value = rest.pop(0)
        key = find_key(name)
        if key is None:
            raise Unreadable(f"Update of this parameter is not supported: {shown}", "Request aborted")
        if key.name == "AdminComment" and sign:
            raise error("Invalid syntax, AdminComment can not be added/subtracted from.")
        if key.name == "TimeLimit" and value[:1] in ("+", "-"):
            if sign:
                raise error("Invalid syntax, variations of +=- are not accepted.")
            sign, value = value[0], value[1:]
        found = dict(key.read(ctx, value))
        if sign and not SIGNED.isdisjoint(found):
            found["time_limit"] = _summed(ctx, wanted.get("job_id"), sign, found["time_limit"])
        elif sign:
            raise error(f"Option {word} does not accept [+|-]= syntax")
        if "tres_per_node" in found and wanted.get("tres_per_node"):
            found["tres_per_node"] = f"{wanted['tres_per_node']},{found['tres_per_node']}"
        count += bool(found.keys() - NO_CHANGE)
        wanted.update(found)
    return wanted, count


def _summed(ctx: CommandContext, ids: str | None, sign: str, minutes: int) -> int:
    """The time limit of a job after += or -=."""
    if not ids:
        raise error("JobId must precede TimeLimit increment or decrement")
    now = _loaded(ctx, ids, "TimeLimit increment/decrement not supported for job arrays").time_limit_min
    if now is None or now >= INFINITE:
        raise error("Cannot increment/decrement TimeLimit when set to UNLIMITED.")
    if sign == "+":
        return now + minutes
    if minutes > now:
        raise error(f"TimeLimit decrement larger than current time limit ({minutes} > {now})")
    return now - minutes


def _single(ctx: CommandContext, ids: str) -> None:
    _loaded(ctx, ids, "Job resizing not supported for job arrays")


def _loaded(ctx: CommandContext, ids: str, refusal: str) -> Job:
    """The job of an id that must mean a single job. Source: _get_job_time, _is_single_job."""
    number, rest = strtoll(ids)
    task, after = strtoll(rest[1:]) if rest[:1] == "_" else (None, rest)
    if after:
        raise error(f"Invalid job ID {ids}")
    try:
        found = job_targets.records(ctx.queue, job_targets.parse(str(number)), split=False)
    except SlurmError as problem:
        raise error(f"Could not load state information for job {ids}: {problem.text}") from None
    if len(found) > 1 and task is None:
        raise error(refusal)
    here = (job for job in found if task == job.array_task_id or any(task in part for part in job.pending_tasks))
    return next(here, found[0])


def _named(ctx: CommandContext, name: str, user: int | None) -> str:
    """Ids of the jobs named by JobName=, for a request without JobId=."""
    found = [
        str(job.job_id) if job.array_task_id is None else f"{job.array_job_id}_{job.array_task_id}"
        for job in ctx.queue.job_table.jobs.values()
        if job.name == name and user in (None, job.uid)
    ]
    if not found:
        whose = "No jobs with name" if user is None else f"No jobs with user ID {user} and name"
        raise error(f"{whose} '{name}'")
    return ",".join(found)
