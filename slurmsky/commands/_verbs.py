"""scontrol's verbs that act on jobs: hold, release, requeue, suspend, resume, top, wait_job, write.

Source: src/scontrol/update_job.c, scontrol.c.
"""
from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence

from ..controller.context import Context
from ..controller.errors import Errno, SlurmError
from ..controller.letters import spool_id
from ..language import arrayspec, jobids
from ..model.job import Job
from ..model.states import JobState
from . import _targets
from ._administer import write_config

Act = Callable[[Job], None]


def _each(
    ctx: Context, text: str, act: Act, whole: bool = False
) -> tuple[list[tuple[Job, SlurmError | None]], SlurmError | None]:
    """Do it to every record of one id, of a het job to all of it at once where it is ``whole``; what became of each."""
    try:
        found = _targets.records(ctx.queue, _targets.parse(text), split=True)
    except SlurmError as error:
        return [], error
    results: list[tuple[Job, SlurmError | None]] = []
    for job in _targets.heads(found) if whole else found:
        try:
            act(job)
            results.append((job, None))
        except SlurmError as error:
            results.append((job, error))
    return results, None


def report_array(ctx: Context, results: Sequence[tuple[Job, SlurmError | None]]) -> None:
    """``7_0,2-4: No error`` for each outcome, as slurmctld answers for an array. Source: job_array_resp."""
    by_text: dict[str, list[Job]] = {}
    for job, error in results:
        by_text.setdefault(error.text if error else "No error", []).append(job)
    for text, jobs in by_text.items():
        tasks = sorted(task for job in jobs for task in _tasks(job))
        ctx.err(f"{jobs[0].array_job_id}_{arrayspec.format_indices(tasks)}: {text}")


def details(ctx: Context, problems: Iterable[SlurmError]) -> None:
    """What there is to say before the refusals themselves, once each."""
    for line in dict.fromkeys(line for problem in problems for line in problem.details):
        ctx.err(line)


def _tasks(job: Job) -> Iterable[int]:
    if job.array_task_id is not None:
        return [job.array_task_id]
    return [task for part in job.pending_tasks for task in part]


def _run(ctx: Context, ids: Sequence[str], act: Act, trailer: bool) -> int:
    """Verbs over a list of ids; ``trailer``: hold and release add a second line of their own."""
    code = 0
    for word in ids:
        for text in jobids.split(word):
            results, error = _each(ctx, text, act, whole=not trailer)
            problems = [problem for _, problem in results if problem]
            details(ctx, problems)
            if error is None and results and results[0][0].array_job_id and len(results) > 1 and problems:
                report_array(ctx, results)
                code = 1
                continue
            problem = error or (problems[0] if problems else None)
            if problem is not None:
                code = 1
                ctx.err(f"{problem.text} for job {text}")
                if trailer:
                    ctx.err(f"slurm_suspend error: {problem.text}")
    return code


def _names(ctx: Context, ids: Sequence[str]) -> list[str]:
    """``jobname=NAME`` among the ids stands for the jobs of that name."""
    found: list[str] = []
    for word in ids:
        key, equals, name = word.partition("=")
        if equals and key.lower() in ("jobname", "name"):
            found += [str(job.job_id) for job in list(ctx.queue.book.jobs.values())
                      if job.name == name and not job.state.finished]
        else:
            found.append(word)
    return found


def hold(ctx: Context, ids: Sequence[str], user: bool) -> int:
    """hold: by the administrator's hand where root calls, else the user's own (JobHeldUser)."""
    by_user = user or os.geteuid() != 0
    return _run(ctx, _names(ctx, ids), lambda job: ctx.queue.life.hold(job, by_user), trailer=True)


def release(ctx: Context, ids: Sequence[str]) -> int:
    """release."""
    return _run(ctx, _names(ctx, ids), ctx.queue.life.release, trailer=True)


def requeue(ctx: Context, ids: Sequence[str], how: str) -> int:
    """requeue, requeuehold; a leading State=SpecialExit marks the job."""
    words = list(ids)
    if words and words[0].lower().startswith("state="):
        if words[0].lower() not in ("state=specialexit", "state=se"):
            ctx.err(f"Invalid state {words[0][6:]}")
            return 1
        how = "special"
        words = words[1:]
    if not words and ctx.env.get("SLURM_JOB_ID"):
        words = [ctx.env["SLURM_JOB_ID"]]
    return _run(ctx, words, lambda job: ctx.queue.life.requeue(job, how), trailer=False)


def suspend(ctx: Context, ids: Sequence[str]) -> int:
    """suspend."""
    return _run(ctx, ids, ctx.queue.life.suspend, trailer=False)


def resume(ctx: Context, ids: Sequence[str]) -> int:
    """resume; an unknown job gets slurmctld's odd answer."""
    code = 0
    for word in ids:
        for text in jobids.split(word):
            results, error = _each(ctx, text, ctx.queue.life.resume, whole=True)
            if error is not None:
                ctx.err(f"Unexpected message received for job {text}")
                code = 1
            for _, problem in results:
                if problem is not None:
                    details(ctx, [problem])
                    ctx.err(f"{problem.text} for job {text}")
                    code = 1
    return code


def top(ctx: Context, ids: Sequence[str]) -> int:
    """top: move the jobs before all other pending jobs of the user, keeping the sum of priorities' order."""
    code = 0
    wanted: list[Job] = []
    for word in ids:
        for text in jobids.split(word):
            results, error = _each(ctx, text, lambda job: None)
            if error is not None:
                ctx.err(f"{error.text} for job {text}")
                code = 1
            wanted += [job for job, _ in results if job.state is JobState.PENDING]
    others = [ctx.queue.book.jobs[job_id] for job_id in ctx.queue.book.pending]
    highest = max((job.priority for job in others), default=0)
    for job in reversed(wanted):
        highest += 1
        if job.priority:
            job.priority = highest
            ctx.queue.book.touch(job)
    ctx.queue.kick()
    return code


async def wait_job(ctx: Context, text: str) -> int:
    """wait_job: until the nodes of the job are ready for use."""
    try:
        job = _targets.records(ctx.queue, _targets.parse(text), split=False)[0]
    except SlurmError:
        ctx.err(f"scontrol: Problem running job {text}")
        return 1
    await ctx.queue.life.wait(job, lambda one: one.state is not JobState.PENDING)
    if job.state.finished:
        ctx.err(f"scontrol: Problem running job {text}")
        return 1
    ctx.err(f"scontrol: Nodes {','.join(job.nodes)} are ready for job {text}"
            if ctx.env.get("SLURMSKY_VERBOSE") else f"scontrol: job {text} is ready")
    return 0


def write(ctx: Context, words: Sequence[str]) -> int:
    """write config [FILE], write batch_script ID [FILE|-]; as in Slurm its errors leave the exit code 0."""
    if not words:
        ctx.err("too few arguments for keyword:write")
        return 1
    if words[0].lower() == "config":
        if len(words) > 2:
            ctx.err("too many arguments for keyword:write")
            return 1
        return write_config(ctx, words[1:])
    if not "batch_script".startswith(words[0].lower()):
        ctx.err(f"invalid write argument:{words[0]}")
        return 1
    if len(words) < 2:
        ctx.err("too few arguments for keyword:write")
        return 1
    queue = ctx.queue
    try:
        job = _targets.records(queue, _targets.parse(words[1]), split=False)[0]
        path = queue.paths.jobs / str(spool_id(job)) / "slurm_script"
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
        descriptor = os.open(os.path.join(ctx.cwd, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o700)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except OSError as error:
        ctx.err(f"failed to open file `{name}`: {error.strerror}")
        return 0
    ctx.out(f"batch script for job {words[1]} written to {name}\n")
    return 0
