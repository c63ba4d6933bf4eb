"""salloc: allocate nodes for a command or a shell.

Source: src/salloc/salloc.c.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import time

from .. import paths
from ..agent.job.environment import salloc_environment
from ..controller.command_context import CallerGone, CommandContext
from ..controller.slurm_errors import Errno, SlurmError
from ..model.job import Job
from ..model.states import JobState
from ..options import submit as options
from ..protocol import wire
from .common import verbosity
from .common.caller_settings import parse_with_files
from .common.command_errors import error_exit, refused, streaming
from .common.job_allocation import (
    Revoked,
    allocate,
    await_returned_files,
    notified,
    release_allocation,
)
from .common.report_settings import known_cluster
from .common.resumed_request import requested_before, resume_later
from .common.site_options import table

#: seconds of waiting after which salloc rings the bell (salloc.c DEFAULT_BELL_DELAY)
BELL_DELAY_S = 10.0
WHAT = "Job submit/allocate failed"
#: signals that usually come from the user: salloc succeeds if one of them ends the command (salloc.c main)
_USER_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)
#: errors that end an --immediate request
_IMMEDIATE_ERRORS = (Errno.IMMEDIATE, Errno.NODES_BUSY, Errno.TIMED_OUT)


@streaming
async def main(ctx: CommandContext) -> int:
    """Allocate nodes, run the command in the terminal, release the nodes."""
    options_table = table(ctx, "salloc")
    request = await parse_with_files(ctx, lambda around: options.parse_salloc(ctx.args, around, options_table))
    for line in request.warnings:
        ctx.err(line)
    if not known_cluster(ctx, request.components[0].clusters):
        return error_exit(ctx)
    quiet = bool(request.flags.quiet)
    if paths.CHILD_STATUS in ctx.env:
        return await _release(ctx, requested_before(ctx), quiet, int(ctx.env[paths.CHILD_STATUS]))
    if request.flags.verbose:
        verbosity.defined_options(ctx, options.describe(request))
        verbosity.debug(ctx, request.flags.verbose)
    requested = time.monotonic()
    try:
        job = await allocate(ctx, request.components, quiet, request.components[0].immediate_s)
    except SlurmError as error:
        hurried = request.components[0].immediate_s is not None and error.errno in _IMMEDIATE_ERRORS
        return refused(ctx, error, "Unable to allocate resources" if hurried else WHAT)
    except Revoked as revoked:
        return revoked.code
    waited = time.monotonic() - requested > BELL_DELAY_S
    if ctx.request.ttys[1] and (request.flags.bell == "always" or (waited and request.flags.bell != "never")):
        ctx.ring()
    if request.flags.no_shell:
        job.alloc_pid = 0  # no process id: the allocation does not end with a process
        ctx.controller.job_table.touch(job)
        return 0
    if request.flags.verbose >= 2:
        ctx.info(f"debug:  {verbosity.layout(job)}")
    with notified(ctx, job):
        status = await _run(ctx, job, request)
    return await _release(ctx, job, quiet, status)


async def _release(ctx: CommandContext, job: Job | None, quiet: bool, status: int) -> int:
    """Release the allocation of an ended command; return salloc's exit code.

    ``status`` is the command's exit code, or the negative number of the signal that ended it. The job is None if a
    restarted controller has no record of it.
    """
    if job is None:
        return _exit_code(status)
    if job.state.active and not quiet:
        ctx.info(f"Relinquishing job allocation {job.job_id}")
    release_allocation(ctx, job, JobState.FAILED if status else JobState.COMPLETED, max(status, 0), max(-status, 0))
    await await_returned_files(ctx, job)
    return _exit_code(status)


def _exit_code(status: int) -> int:
    """Convert an exit code or negative signal number to salloc's exit code."""
    return status if status >= 0 else int(-status not in _USER_SIGNALS)


async def _run(ctx: CommandContext, job: Job, request: options.Submission) -> int:
    """Run the command or shell until it or the allocation ends."""
    controller = ctx.controller
    argv = request.argv or (ctx.env.get("SHELL") or pwd.getpwuid(os.geteuid()).pw_shell or "/bin/sh",)
    env = {**ctx.env, **salloc_environment(controller.launches.launch_of(job)), **controller.job_variables(job)}
    resume_later(ctx, job)  # the client reports the end to the next controller
    ctx.spawn(argv, env)
    ended = asyncio.ensure_future(controller.life.wait(job, lambda one: not one.state.active))
    revoked = False
    try:
        while True:
            frame = asyncio.ensure_future(ctx.frame())
            await asyncio.wait({frame} if revoked else {frame, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not frame.done():
                # The allocation has ended; the command continues unless --kill-command is given.
                revoked = True
                ctx.give_back(frame)
                if not request.flags.quiet:
                    ctx.info(f"Job allocation {job.job_id} has been revoked.")
                if request.flags.kill_command is not None:
                    ctx.signal_child(request.flags.kill_command)
                elif ctx.request.ttys[0] and not request.argv:
                    ctx.signal_child(1)
                continue
            got = frame.result()
            if got.kind == wire.CHILD_STATUS:
                return _status(ctx, argv[0], got.payload.decode("ascii", "replace"))
    except CallerGone:
        release_allocation(ctx, job, JobState.CANCELLED)
        raise


def _status(ctx: CommandContext, program: str, text: str) -> int:
    """Exit code of the program, or the negative number of its signal."""
    word, _, problem = text.partition(" ")
    if problem:
        ctx.error(f'_fork_command: Unable to find command "{program}"')
        return error_exit(ctx)
    return int(word)
