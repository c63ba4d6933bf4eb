"""scontrol's verbs for processes: listpids, pidinfo, notify.

Source: src/scontrol/info_job.c, update_job.c.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence

from ... import paths
from ...controller.command_context import CommandContext
from ...controller.slurm_errors import Errno, SlurmError
from ...options.query import ScontrolQuery
from ...report.json.other_records import process_record
from .. import _files as files
from ..common import job_targets
from . import show_output
from .update_values import strtoll

Words = Sequence[str]


def listpids(ctx: CommandContext, query: ScontrolQuery, words: Words) -> int:
    """listpids [JOBID[.STEP]]: print a job's processes. A marker in their environment identifies them."""
    wanted = words[0] if words else None
    if show_output.as_data(query):
        found = [process_record(*row) for row in _processes(ctx, wanted)]
        return show_output.print_document(
            ctx, query, lambda form, about, now: form.managed_document("pids", found, about)
        )
    head = f"{'PID':<8} {'JOBID':<8} {'STEPID':<8} {'LOCALID':<7} {'GLOBALID':<8}\n"
    rows = list(_processes(ctx, wanted))
    if wanted is not None:
        try:
            job_targets.records(ctx.controller, job_targets.parse(wanted), split=False)
        except SlurmError:
            node = words[1] if len(words) > 1 else "(null)"
            busy = bool(_job_processes(ctx))
            ctx.err(f"There are no steps for job {wanted} on node {node}." if busy
                    else f"JobId={wanted} does not exist on node {node}.")  # fmt: skip
            ctx.out(head)
            return 1
        if not rows and "." in wanted:
            node = words[1] if len(words) > 1 else "(null)"
            ctx.err(f"StepId={wanted} does not exist on node {node}.")
            return 1
    elif not rows:
        ctx.err("No job steps exist on this node.")
    ctx.out(head)
    ctx.out("".join("%-8d %-8s %-8s %-7s %-8s\n" % row for row in rows))
    return 0 if rows or wanted is not None else 1


def _processes(ctx: CommandContext, wanted: str | None) -> Iterator[tuple[int, str, str, str, str]]:
    """Process, job, step, local and global task of job processes."""
    for pid, env in _job_processes(ctx):
        job, step = env.get("SLURM_JOB_ID", ""), env.get("SLURM_STEP_ID", "batch")
        if wanted is None or wanted in (job, f"{job}.{step}"):
            yield pid, job, step, env.get("SLURM_LOCALID", "-"), env.get("SLURM_PROCID", "-")


_YEAR_S = 365 * 86400


def pidinfo(ctx: CommandContext, words: Words) -> int:
    """pidinfo PID: print job and step of a process."""
    for pid, env in _job_processes(ctx):
        if str(pid) == words[0]:
            job = ctx.controller.job_table.jobs.get(int(env.get("SLURM_JOB_ID", "0") or 0))
            if job is None:
                continue
            end = job.end_time or job.start_time + _YEAR_S
            when = time.strftime("%a %b %d %H:%M:%S %Y", time.localtime(end))
            ctx.out(f"Slurm JobId={job.job_id} ends at {when}\n"
                    f"Job remaining time is {max(0, int(end - ctx.controller.clock()))} seconds\n")  # fmt: skip
            return 0
    ctx.err("Failed to locate job for requested pid")
    return 1


def _job_processes(ctx: CommandContext) -> list[tuple[int, dict[str, str]]]:
    """Processes of this queue's jobs on this machine, with environments."""
    found = []
    mark = os.fsencode(f"{paths.AGENT}={ctx.controller.paths.home}/")  # excludes the processes of another queue
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                data = file.read()
        except OSError:
            continue
        if mark in data and b"SLURM_JOB_ID=" in data:
            pairs = (os.fsdecode(item).partition("=") for item in data.split(b"\0"))
            found.append((int(name), {key: value for key, _, value in pairs}))
    return sorted(found)


async def notify(ctx: CommandContext, words: Words) -> int:
    """notify JOBID TEXT: print a line on the job's stderr.

    For a job of salloc or srun the line appears on that command's stderr.
    """
    if strtoll(words[0])[0] <= 0:
        ctx.err(f"Invalid job_id {words[0]}")
        ctx.err("job notify failure: No error")
        return 1
    try:
        job = job_targets.records(ctx.controller, job_targets.parse(words[0]), split=False)[0]
        if not job.state.active:
            raise SlurmError(Errno.NOT_RUNNING if not job.state.finished else Errno.ALREADY_DONE)
    except SlurmError as error:
        ctx.err(f"job notify failure: {error.text}")
        return 1
    from ...controller.jobs.job_spool import file_path

    text = " ".join(words[1:])
    waiting = ctx.controller.notices.get(job.het_job_id or job.job_id)
    if waiting is not None:
        waiting(text)
        return 0
    pattern = job.stderr or job.stdout
    if pattern and job.is_batch:
        try:
            line = f"slurmstepd-{job.nodes[0]}: {text}\n".encode("utf-8", "surrogateescape")
            await files.write(ctx, file_path(job, pattern, job.nodes[0]), line, append=True)
        except OSError as error:
            ctx.err(f"job notify failure: {error.strerror}")
            return 1
    return 0
