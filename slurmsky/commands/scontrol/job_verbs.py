"""scontrol's verbs that act on jobs, such as hold and requeue.

Source: src/scontrol/update_job.c, scontrol.c.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ...controller.app import Controller
from ...controller.command_context import CommandContext
from ...controller.jobs.job_changes import change
from ...controller.jobs.job_update import JobUpdate
from ...controller.jobs.launch_builder import spool_id
from ...controller.rules.priority_swap import to_top
from ...controller.slurm_errors import Errno, SlurmError
from ...language import arrayspec, jobids
from ...language.key_values import fits
from ...language.syntax_errors import LanguageError
from ...model.job import Job
from ...model.spec import INFINITE
from ...model.states import JobState
from .. import _files as files
from ..common import job_targets
from .admin_verbs import write_config
from .update_values import strtoll

Act = Callable[[Job], None]

_THROTTLE = "Update of ArrayTaskThrottle is only allowed on ArrayJobId"


@dataclass(frozen=True)
class Outcome:
    """Result of a request for one id. It has one error or none; for an array it has one result per record."""

    error: SlurmError | None = None
    records: tuple[tuple[tuple[int, ...], SlurmError | None], ...] | None = None
    array_id: int = 0


def apply_to_records(ctx: CommandContext, text: str, act: Act, throttle: bool = False, heads: bool = False) -> Outcome:
    """Apply a change to every record of one id.

    ``throttle``: the change is allowed for whole arrays only. ``heads``: a change of a het job's leader is applied
    once, for all components.

    Source: slurmctld/job_mgr.c update_job_str.
    """
    controller = ctx.controller
    try:
        wanted = _read(controller, text)
        if wanted.task is not None:
            return _elements(controller, wanted, act, throttle, split=not heads)
        found = job_targets.records(controller, wanted, split=False)
    except SlurmError as error:
        return Outcome(error)
    if found[0].array_job_id == wanted.job_id and wanted.het_offset is None:
        return Outcome(records=tuple((_tasks(job), _try(act, job)) for job in found), array_id=wanted.job_id)
    if throttle:
        return Outcome(SlurmError(Errno.NOT_SUPPORTED, f"scontrol: error: {_THROTTLE}"))
    problem = None
    for job in found[:1] if heads else found:
        problem = _try(act, job)  # a het job reports the result of its last component
    return Outcome(problem)


def _read(controller: Controller, text: str) -> jobids.JobId:
    """Parse one id of a list, without brackets. Raises SlurmError(INVALID_JOB_ID)."""
    base, under, tasks = text.partition("_")
    if not under:
        wanted = job_targets.parse(text)
        job = controller.job_table.jobs.get(wanted.job_id)
        if wanted.het_offset is not None and (job is None or job.het_job_id != job.job_id):
            raise SlurmError(Errno.INVALID_JOB_ID)
        return wanted
    try:
        found = arrayspec.parse(tasks, controller.job_table.cluster.max_array_size)
    except LanguageError:
        found = None
    if found is None:
        raise SlurmError(Errno.INVALID_JOB_ID)
    return jobids.JobId(job_targets.parse(base).job_id, found)


def _elements(controller: Controller, wanted: jobids.JobId, act: Act, throttle: bool, split: bool) -> Outcome:
    """Apply a change to the named elements of an array.

    If all pending elements are named, or without ``split``, the change applies to their common record. Otherwise each
    named pending element gets its own record.
    """
    base = controller.job_table.jobs.get(wanted.job_id)
    waiting = {task for part in base.pending_tasks for task in part} if base is not None else set()
    task = wanted.task
    assert isinstance(task, arrayspec.ArraySpec)
    named = list(task)
    refused = SlurmError(Errno.NOT_SUPPORTED, _THROTTLE) if throttle else None
    records: list[tuple[tuple[int, ...], SlurmError | None]] = []
    if base is not None and waiting and waiting.issubset(named):
        records.append((tuple(sorted(waiting)), refused or _try(act, base)))
        named = [one for one in named if one not in waiting]
    for one in named:
        if one in waiting and base is not None:
            job = controller.life.element(base, one) if split else base
        else:
            job = controller.job_table.element(wanted.job_id, one)
        problem = SlurmError(Errno.INVALID_JOB_ID) if job is None else refused or _try(act, job)
        records.append(((one,), problem))
    return Outcome(records=tuple(records), array_id=wanted.job_id)


def _try(act: Act, job: Job) -> SlurmError | None:
    try:
        act(job)
    except SlurmError as error:
        return error
    return None


def report(ctx: CommandContext, text: str, outcome: Outcome, quiet_success: bool = False) -> int:
    """Print the result of a request; return the exit code.

    ``quiet_success``: print no line for successful elements when other elements failed.
    """
    if outcome.records is None:
        if outcome.error is None:
            return 0
        details(ctx, [outcome.error])
        ctx.err(f"{outcome.error.text} for job {text}")
        return 1
    by_text: dict[str, list[int]] = {}
    for tasks, problem in outcome.records:
        by_text.setdefault(_problem_text(problem), []).extend(tasks)
    code = 0
    for answer, of in by_text.items():
        if answer == _FINE and (quiet_success or len(by_text) == 1):
            continue
        code = 1
        ctx.err(f"{outcome.array_id}_{arrayspec.format_indices(sorted(of))}: {answer}")
    return code


_FINE = "No error"


def _problem_text(problem: SlurmError | None) -> str:
    if problem is None:
        return _FINE
    return problem.text + "".join(f" ({line})" for line in problem.details)


def details(ctx: CommandContext, problems: Iterable[SlurmError]) -> None:
    """Print the detail lines that precede the errors, each once."""
    for line in dict.fromkeys(line for problem in problems for line in problem.details):
        ctx.err(line)


def _tasks(job: Job) -> tuple[int, ...]:
    if job.array_task_id is not None:
        return (job.array_task_id,)
    return tuple(task for part in job.pending_tasks for task in part)


def _without_key(word: str) -> str:
    """The ids in ``jobid=7``; other words unchanged."""
    for key in ("jobid=", "job="):
        if word.lower().startswith(key):
            word = word[len(key) :]
    return word


def _run(ctx: CommandContext, words: Sequence[str], act: Act, unknown: Errno = Errno.INVALID_JOB_ID) -> int:
    """Run suspend, resume or requeue for lists of ids. ``unknown`` is the error text for an unknown job."""
    code = 0
    for word in map(_without_key, words):
        texts = jobids.update_list(word)
        if texts is None:
            ctx.err(f"{Errno.INVALID_JOB_ID.text} for job {word}")
            code = 1
        for text in texts or ():
            outcome = apply_to_records(ctx, text, act, heads=True)
            if outcome.error is not None and outcome.error.errno is Errno.INVALID_JOB_ID:
                outcome = Outcome(SlurmError(unknown))
            code = max(code, report(ctx, text, outcome))
    return code


def hold(ctx: CommandContext, words: Sequence[str], user: bool) -> int:
    """hold, uhold: set priority 0. An administrator's hold if root calls, else a user hold (JobHeldUser)."""
    return _priority(ctx, words, {"priority": 0, "user_hold": user})


def release(ctx: CommandContext, words: Sequence[str]) -> int:
    """release: restore the priority of held jobs."""
    return _priority(ctx, words, {"priority": INFINITE})


def _priority(ctx: CommandContext, words: Sequence[str], wanted: JobUpdate) -> int:
    """Hold or release jobs by their priority.

    Source: src/scontrol/update_job.c scontrol_hold.
    """
    job_table, life = ctx.controller.job_table, ctx.controller.life
    code = 0
    for word in map(_without_key, words):
        texts = jobids.update_list(word)
        problem: Errno | None = None
        if texts is None:
            name = next((word[len(key) :] for key in ("name=", "jobname=") if word.lower().startswith(key)), None)
            if name is None:
                ctx.err(f"{Errno.INVALID_JOB_ID.text} for job {word}")
                problem = Errno.INVALID_JOB_ID
            else:
                texts, problem = _of_name(ctx, name)
        for text in texts or ():
            outcome = apply_to_records(ctx, text, lambda job: change(job_table, life, job, wanted))
            code = max(code, report(ctx, text, outcome))
            problem = outcome.error.errno if outcome.error is not None else problem
        if problem is not None:
            ctx.err(f"slurm_suspend error:{problem.text}")
            code = 1
    return code


def _of_name(ctx: CommandContext, name: str) -> tuple[list[str], Errno | None]:
    """Ids of the jobs of a name. Running elements are skipped; each other running job is reported."""
    found = []
    problem = None
    for job in list(ctx.controller.job_table.jobs.values()):
        if job.name != name:
            continue
        if job.state is not JobState.PENDING:
            if job.array_task_id is not None:
                continue
            problem = Errno.NO_LONGER_PENDING
        tasks = _tasks(job)
        found.append(f"{job.array_job_id}_{arrayspec.format_indices(tasks)}" if tasks else str(job.job_id))
    return found, problem


def requeue(ctx: CommandContext, words: Sequence[str], how: str) -> int:
    """requeue, requeuehold [Incomplete | State=SpecialExit]... IDS."""
    rest = list(words)
    only_running = False
    while rest:
        lower = rest[0].lower()
        if "incomplete".startswith(lower):
            only_running = True
        elif lower.startswith("state=") and lower[6:].startswith(("specialexit", "se")):
            how = "special"
        else:
            break
        rest.pop(0)

    def act(job: Job) -> None:
        if only_running and not job.state.active:
            return  # the named job stays unchanged
        ctx.controller.life.requeue(job, how)

    return _run(ctx, rest, act)


def suspend(ctx: CommandContext, words: Sequence[str]) -> int:
    """suspend: stop the processes of running jobs."""
    return _run(ctx, words, ctx.controller.life.suspend)


def resume(ctx: CommandContext, words: Sequence[str]) -> int:
    """resume; for an unknown job it prints scontrol's text."""
    return _run(ctx, words, ctx.controller.life.resume, unknown=Errno.UNEXPECTED)


def top(ctx: CommandContext, ids: str) -> int:
    """top: move jobs ahead of the user's other pending jobs."""
    ids = _without_key(ids)
    job_table = ctx.controller.job_table
    try:
        wanted = [job for text in jobids.split(ids)
                  for job in job_targets.records(ctx.controller, job_targets.parse(text), split=True)]  # fmt: skip
        for job in to_top(wanted, list(job_table.jobs.values())):
            job_table.touch(job)
    except SlurmError as error:
        ctx.err(f"{error.text} for job {ids}")
        return 1
    ctx.controller.schedule_soon()
    return 0


async def wait_job(ctx: CommandContext, text: str) -> int:
    """wait_job: wait until the nodes of a job are ready."""
    number = strtoll(text)[0]
    if number <= 0:
        ctx.err(f"Invalid job_id {text}")
        return 1
    job = ctx.controller.job_table.jobs.get(number)
    if job is None:
        ctx.info(f"Problem running job {number}")
        return 1
    await ctx.controller.life.wait(job, lambda one: one.state is not JobState.PENDING)
    if job.state.finished:
        ctx.info(f"Job {number} no longer running")
        return 1
    ctx.info(f"Nodes are ready for job {number}")
    return 0


async def write(ctx: CommandContext, words: Sequence[str]) -> int:
    """write config [FILE], write batch_script ID [FILE|-]. As in Slurm, errors leave the exit code at 0."""
    if not words:
        ctx.err("too few arguments for keyword:write")
        return 1
    if words[0].lower() == "config":
        if len(words) > 2:
            ctx.err("too many arguments for keyword:write")
            return 1
        return await write_config(ctx, words[1:])
    if not fits(words[0], "batch_script", 5):
        ctx.err(f"invalid write argument:{words[0]}")
        return 1
    if len(words) > 3:
        ctx.err("too many arguments for keyword:write")
        return 1
    if len(words) < 2:
        return 0
    controller = ctx.controller
    try:
        job = job_targets.records(controller, job_targets.parse(words[1]), split=False)[0]
        path = controller.paths.jobs / str(spool_id(job)) / "slurm_script"
        data = path.read_bytes()
    except SlurmError as error:
        ctx.err(f"job script retrieval failed: {error.text}")
        return 0
    except OSError:
        ctx.err(f"job script retrieval failed: {Errno.SCRIPT_MISSING.text}")
        return 0
    name = words[2] if len(words) > 2 else f"slurm-{words[1]}.sh"
    if name == "-":
        ctx.out_bytes(data)
        return 0
    try:
        await files.write(ctx, name, data, 0o700)
    except OSError as error:
        ctx.err(f"failed to open file `{name}`: {error.strerror}")
        return 0
    ctx.out(f"batch script for job {words[1]} written to {name}\n")
    return 0
