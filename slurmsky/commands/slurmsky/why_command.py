"""slurmsky why: why a job waits or how it ended."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable, Sequence

import click

from ...controller.app import Controller
from ...controller.command_context import CommandContext
from ...controller.rules.demand import gres_names
from ...controller.schedule.backfill import predict_start
from ...language import dependency
from ...language.jobids import JobId
from ...language.syntax_errors import LanguageError
from ...model.cluster import PartitionConfig
from ...model.job import Job
from ...model.spec import INFINITE
from ...model.states import JobState
from ...options.ids import step_or_job
from ...report.fields import derived
from ...report.report_context import ReportContext as Report
from ...report.text import why
from ...report.text.units import Clock
from ...top.tail import Tail
from ..common.report_settings import caller_zone
from ._base import SlurmskyCommand, failed, in_controller

#: maximum number of output lines shown, and of jobs named
_TAIL_LINES, _MAX_NAMED = 10, 5
#: maximum number of explained elements of one array, or of explained jobs of one call
_MAX_EXPLAINED = 20


def find(controller: Controller, word: str) -> list[Job]:
    """Jobs that an id selects.

    A job, an array element, or each record of an array: first the elements by index, then the pending rest.
    ``7_[3-9]``, as squeue prints it, selects the array's pending rest. Raises CommandError.
    """
    base, bracket, _ = word.partition("_[")
    if bracket and base.isdecimal():
        rest = controller.job_table.jobs.get(int(base))
        if rest is not None and rest.pending_tasks:
            return [rest]
    try:
        wanted = step_or_job("slurmsky: why", word)
    except LanguageError:
        wanted = ()
    controller.flush()
    found = list(controller.store.history(0, controller.clock(), {one.job_id for one in wanted})) if wanted else []
    chosen = [
        controller.job_table.jobs.get(job.job_id, job) for job in found if any(_named(one, job) for one in wanted)
    ]
    if not chosen:
        raise failed(f"slurmsky: why: there is no job {word or repr(word)}", "squeue lists active jobs, sacct all")
    return sorted(chosen, key=lambda job: (job.array_task_id is None, job.array_task_id or 0))


def newest(ctx: CommandContext) -> str:
    """The id of the caller's last submission. Raises CommandError."""
    own = [job for job in ctx.controller.job_table.jobs.values() if job.uid == os.geteuid()]
    if not own:
        raise failed("slurmsky: why: no job of yours waits, runs or ended lately", "sacct lists all jobs")
    last = max(own, key=lambda job: (job.submit_time, job.job_id))
    return str(last.array_job_id or last.het_job_id or last.job_id)


def _named(one: JobId, job: Job) -> bool:
    if isinstance(one.task, int):
        return job.array_job_id == one.job_id and (
            job.array_task_id == one.task or any(one.task in part for part in job.pending_tasks)
        )
    return one.job_id in (job.job_id, job.array_job_id)


async def answers(ctx: CommandContext, jobs: list[Job]) -> list[why.Explanation]:
    """An answer for each job, up to a maximum number."""
    found = []
    report = Report(clock=Clock(ctx.controller.clock(), caller_zone(ctx)), cluster=ctx.controller.job_table.cluster)
    for job in jobs[:_MAX_EXPLAINED]:
        known = waiting(ctx.controller, job) if job.state is JobState.PENDING else await output(job)
        found.append(why.explain(job, report, known))
    return found


@click.command(
    cls=SlurmskyCommand, example="slurmsky why\nslurmsky why 42\nslurmsky why 42_7 43", page="troubleshooting"
)
@click.argument("words", nargs=-1, metavar="[JOB]...")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
@in_controller
async def command(ctx: CommandContext, words: tuple[str, ...], as_json: bool) -> int:
    """Explain why a job waits or how it ended, and what to do.

    For a pending job: the limit, the jobs ahead, the estimated start. For an ended job: exit code, signal, the last
    lines of its output, memory use near its limit. JOB is an id as squeue and sacct print it, by default that of your
    last submission.
    """
    jobs = [job for word in words or (newest(ctx),) for job in find(ctx.controller, word)]
    found = await answers(ctx, jobs)
    if as_json:
        records = [{"job_id": derived.job_id_text(job), **one.record()} for job, one in zip(jobs, found, strict=False)]
        ctx.out(json.dumps({"jobs": records}, indent=2) + "\n")
        return 0
    ctx.out("\n".join(one.text() for one in found))
    if len(jobs) > len(found):
        ctx.err(
            f"slurmsky: why: {len(jobs) - len(found)} more jobs match; name one, as {derived.job_id_text(jobs[-1])}"
        )
    return 0


# --- pending jobs


def waiting(controller: Controller, job: Job) -> why.WhyInput:
    """Data about a pending job: jobs ahead, reason, estimated start."""
    partition = controller.job_table.cluster.partition(job.partition.partition(",")[0])
    awaited = tuple(_awaited(controller, job)) if job.dependency else ()
    if partition is None:
        return why.WhyInput(awaited=awaited)
    before: list[Job] = []
    starts, after = (job.start_time, "") if job.reason == "BeginTime" else (0.0, "")
    room, down = "", ""
    if job.reason in ("Resources", "Priority"):
        before = _jobs_ahead(controller, job)
        if controller.engine.places_in(partition.name):
            room, down = _room(controller, partition, gres_names(job.spec)), _down(controller, partition)
            starts, after = _estimated_start(controller, job, partition, bool(before))
    elif job.reason == "Reservation":
        starts = (controller.job_table.reservations.waits(job, controller.clock()) or ("", None))[1] or 0.0
    elif job.reason == "ReqNodeNotAvail":
        room, down = _named_nodes(controller, job)
    names = tuple(derived.job_id_text(one, 64) for one in before[:_MAX_NAMED])
    return why.WhyInput(
        before=names,
        before_count=len(before),
        room=room,
        down=down,
        limit=_limit(controller, job, partition),
        awaited=awaited,
        starts_at=starts,
        starts_after=after,
    )


def _jobs_ahead(controller: Controller, job: Job) -> list[Job]:
    """Jobs ahead that could take the same nodes."""
    rank, partitions = controller.scheduler.rank(job), set(job.partition.split(","))
    others = (controller.job_table.jobs[job_id] for job_id in controller.job_table.pending)
    found = [
        one
        for one in others
        if one is not job
        and one.reason in ("Resources", "Priority")
        and not one.awaits_nodes
        and partitions & set(one.partition.split(","))
        and controller.scheduler.rank(one) < rank
    ]
    return sorted(found, key=controller.scheduler.rank)


def _reasons(controller: Controller, nodes: Sequence[str], form: str) -> str:
    """Reasons in the records of nodes, formatted by ``form``; else ""."""
    found = sorted({controller.job_table.nodes[name].reason for name in nodes} - {""})
    return form % ", ".join(found) if found else ""


def _room(controller: Controller, partition: PartitionConfig, devices: Iterable[str] = ()) -> str:
    """CPUs of a partition that are in use, and the named generic resources."""
    uses = controller.scheduler.uses(partition.name)
    up = [use for use in uses if use.available]
    if not up:
        reasons = _reasons(controller, [use.config.name for use in uses], ": %s")
        return f"No node of partition {partition.name} is up{reasons}"
    cpus = sum(use.config.cpus for use in up)
    taken = sum(len(use.cpu_ids) for use in up)
    text = f"{taken} of the {cpus} CPUs of partition {partition.name} are in use"
    theirs = taken - sum(len(controller.job_table.uses[use.config.name].cpu_ids) for use in up)
    text += f", {theirs} of them by other users of this machine" if theirs > 0 else ""
    for name in sorted(devices):
        total = sum(count for use in up for one, _, count in use.config.gres if one == name)
        held = sum(len(ids) for use in up for key, ids in use.gres.items() if key.partition(":")[0] == name)
        text += f"; {held} of its {total} {'GPUs' if name == 'gpu' else name}"
    down = [use.config.name for use in uses if not use.available]
    gone = f"; {derived.node_list(tuple(down))} {'is' if len(down) == 1 else 'are'} down or drained"
    return text + (gone + _reasons(controller, down, " (%s)") if down else "")


def _named_nodes(controller: Controller, job: Job) -> tuple[str, str]:
    """Sentence and host list about named nodes that accept no job."""
    table = controller.job_table
    down = [name for name in controller.scheduler.demand(job.spec).required
            if name in table.uses and not table.uses[name].available]  # fmt: skip
    text = f"It requests {derived.node_list(tuple(down))}, which {'accepts' if len(down) == 1 else 'accept'} no job"
    return (text + _reasons(controller, down, ": %s"), derived.node_list(tuple(down))) if down else ("", "")


def _down(controller: Controller, partition: PartitionConfig) -> str:
    """Host list of a partition's nodes that accept no job."""
    return derived.node_list(
        tuple(use.config.name for use in controller.scheduler.uses(partition.name) if not use.available)
    )


def _estimated_start(controller: Controller, job: Job, partition: PartitionConfig, others: bool) -> tuple[float, str]:
    """Estimated start, and the job whose end frees the nodes; (0.0, "") if unknown."""
    if others and job.start_time <= controller.clock():
        return 0.0, ""  # the start depends on the jobs ahead of it
    found = predict_start(controller.scheduler, job, partition, controller.clock)
    when = job.start_time or (found[0] if found else 0.0)
    if not controller.clock() < when < controller.clock() + 300 * 86400:
        return 0.0, ""
    running = (controller.job_table.jobs[job_id] for job_id in controller.job_table.active)
    last = next((one for one in running if one.end_time and abs(one.end_time - when) < 2), None)
    return when, derived.job_id_text(last) if last is not None else ""


def _limit(controller: Controller, job: Job, partition: PartitionConfig) -> str:
    """Limit that delays the job, with its number."""
    if job.reason == "JobArrayTaskLimit":
        running = controller.job_table.running_elements(job.array_job_id)
        run = "runs" if running == 1 else "run"
        return f"{running} of its elements {run}, and at most {job.array_max_running} may at once"
    if job.reason == "Reservation" and job.spec.reservation:
        return f"it requests reservation {job.spec.reservation}"
    if job.reason == "PartitionTimeLimit":
        most = partition.max_time_min
        return f"partition {partition.name} allows {most} minutes" if most != INFINITE else ""
    if job.reason == "PartitionNodeLimit":
        return f"partition {partition.name} has {len(controller.scheduler.uses(partition.name))} nodes"
    if job.reason == "Licenses":
        total = dict(controller.job_table.cluster.licenses)
        used = (f"{controller.job_table.licenses_used.get(name, 0)} of {most} {name}" for name, most in total.items())
        return f"it requests {job.spec.licenses}; in use are {', '.join(used)}"
    controller.job_table.policy.begin_pass()  # running jobs may have ended since the last scheduler pass
    over = controller.scheduler.exceeded_limit(job, partition)
    return str(over) if over is not None and over.reason == job.reason else ""


def _awaited(controller: Controller, job: Job) -> list[str]:
    try:
        parsed = dependency.parse(job.dependency)
    except LanguageError:
        return [job.dependency]
    found = []
    for condition in parsed.conditions:
        for target in condition.jobs:
            records = controller.scheduler.job_table.referenced(target.job_id, target.task)
            states = sorted({one.state.name for one in records}) or ["no longer known"]
            name = f"{target.job_id}" + (f"_{target.task}" if target.task is not None else "")
            found.append(f"{condition.type} of job {name}, which is {' and '.join(states)}")
        if not condition.jobs:
            found.append(f"{condition.type}: no other job of yours with this name may run")
    return found


# --- jobs that have started


async def output(job: Job) -> why.WhyInput:
    """Last lines of the job's error file, else of its output."""
    if not job.is_batch or not job.start_time:
        return why.WhyInput()
    names = [derived.expand_path(name, job) for name in (job.stderr, job.stdout) if name]
    unsuccessful = job.state.finished and job.state is not JobState.COMPLETED
    full = os.path.dirname(names[-1]) if names and unsuccessful else ""
    if full and not await asyncio.to_thread(_is_full, full):
        full = ""
    problem = ""
    for path in dict.fromkeys(names):
        if path == os.devnull:
            problem = f"Its output goes to {os.devnull}."
            continue
        tail = await asyncio.to_thread(Tail(path).read)
        lines = [line for line in tail.lines if line.strip()]
        if lines:
            return why.WhyInput(output=path, tail=tuple(lines[-_TAIL_LINES:]), full=full)
        missing = "does not exist" if "no such file" in tail.problem else f"cannot be read: {tail.problem}"
        problem = f"Its output file {path} {missing if tail.problem else 'is empty'}."
    return why.WhyInput(output=names[-1] if names else "", no_output=problem, full=full)


def _is_full(folder: str) -> bool:
    """Return whether the folder's file system has no free blocks or inodes."""
    try:
        system = os.statvfs(folder)
    except (OSError, ValueError):
        return False
    return bool((system.f_blocks and not system.f_bavail) or (system.f_files and not system.f_favail))
