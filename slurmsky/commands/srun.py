"""srun outside a job: allocates nodes and runs a step there.

The agent of the first node runs the step. With --jobid the step runs in an existing allocation. Inside a job srun
sends its request to the node's agent and does not use this module.

Source: src/srun/srun.c, allocate.c.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from .. import paths
from ..agent.job.environment import srun_environment
from ..controller.command_context import CallerGone, CommandContext
from ..controller.slurm_errors import Errno, SlurmError
from ..language import jobids
from ..language.syntax_errors import LanguageError
from ..model.job import Job
from ..model.spec import ALLOCATED_VARIABLE, JobSpec
from ..model.states import OOM_SIGNAL, JobState
from ..options import submit as options
from ..options.usage_errors import NOT_CREATED
from .common import verbosity
from .common.agent_request import agent_socket, exit_code, lookup_error, rejoin
from .common.caller_settings import read_context
from .common.command_errors import error_exit, refused, streaming
from .common.job_allocation import Revoked, allocate, await_returned_files, notified, release_allocation
from .common.report_settings import known_cluster
from .common.site_options import table
from .sbatch import test_only

WHAT = "Unable to allocate resources"
_STEP_END_S = 5.0  # seconds to wait for the record of a step whose end srun has reported


@streaming
async def main(ctx: CommandContext) -> int:
    """Run a step in the named job, or in a new allocation."""
    if paths.SESSION_NODE in ctx.env:
        return await _rejoin(ctx)
    # The agent parses the options of the step again: a FIFO that the client has read would block it.
    request = options.parse_srun(ctx.args, read_context(ctx), table(ctx, "srun"))
    text = request.step.jobid or ctx.env.get("SLURM_JOB_ID") or ctx.env.get("SLURM_JOBID")
    if text and not request.step.test_only:
        return await _attach(ctx, text)
    for line in request.warnings:
        ctx.err(line)
    if not known_cluster(ctx, request.step.job.clusters):
        for line in NOT_CREATED["srun"] if request.step.test_only else ():
            ctx.err(line)
        return error_exit(ctx)
    specs = tuple(_allocation_spec(step) for step in request.components)
    if request.step.test_only:
        return await test_only(ctx, specs[0], bool(request.flags.quiet))
    if request.flags.verbose:
        verbosity.defined_options(ctx, request.given)
    try:
        job = await allocate(ctx, specs, bool(request.flags.quiet), request.step.immediate_s)
    except SlurmError as error:
        return refused(ctx, error, WHAT)
    except Revoked as revoked:
        return revoked.code
    try:
        variables = {**srun_environment(ctx.controller.launches.launch_of(job)), ALLOCATED_VARIABLE: "1"}
        with notified(ctx, job):
            code = await _session(ctx, job, variables)
    except CallerGone:
        release_allocation(ctx, job, JobState.CANCELLED)
        raise
    return await _released(ctx, job, code)


async def _released(ctx: CommandContext, job: Job, code: int) -> int:
    """Release the allocation after the step, and return srun's exit code."""
    code_or_signal = await _exit_status(ctx, job, code)
    failed = JobState.OUT_OF_MEMORY if code_or_signal == (0, OOM_SIGNAL) else JobState.FAILED
    release_allocation(ctx, job, failed if code else JobState.COMPLETED, *code_or_signal)
    await await_returned_files(ctx, job)
    return code


async def _rejoin(ctx: CommandContext) -> int:
    """Continue a session that the former controller, or a connection, has left; release its allocation."""
    job = ctx.controller.job_table.jobs.get(int(ctx.env.get("SLURM_JOB_ID", 0)))
    if job is None or ctx.env.get(ALLOCATED_VARIABLE) != "1" or job.alloc_pid != ctx.request.pid:
        return await rejoin(ctx)
    try:
        with notified(ctx, job):
            code = await rejoin(ctx)
    except CallerGone:
        release_allocation(ctx, job, JobState.CANCELLED)
        raise
    return await _released(ctx, job, code)


async def _exit_status(ctx: CommandContext, job: Job, code: int) -> tuple[int, int]:
    """Exit code and signal of a job whose srun exits with ``code``.

    The step's record has the signal that ended it, where srun exits with 128 + signal, or 1 for a lack of memory. The
    node reports the step's end to the controller while srun reports its exit code through the client, so either may
    arrive first.
    """
    if code > 128 or code == 1:
        with contextlib.suppress(asyncio.TimeoutError):
            over = ctx.controller.life.wait(job, lambda one: all(step.state.finished for step in one.steps.values()))
            await asyncio.wait_for(over, _STEP_END_S)
    number = max((step.exit_signal for step in job.steps.values()), default=0)
    return (0, number) if number and code == (1 if number == OOM_SIGNAL else 128 + number) else (code, 0)


def _allocation_spec(step: options.StepSpec) -> JobSpec:
    """Spec of the allocation for a step, named after the program."""
    name = step.job.job_name or step.argv[0].rsplit("/", 1)[-1]
    exclusive = step.job.exclusive if step.exclusive else None
    return step.job.evolve(job_name=name, exclusive=exclusive)


async def _attach(ctx: CommandContext, text: str) -> int:
    controller = ctx.controller
    try:
        wanted = jobids.parse(text)
        job = controller.find_job(wanted)
    except LanguageError:
        job = None
    if job is not None and job.state.active:
        await agent_socket(ctx, controller.life.leader(job))  # the job may end or be requeued until then
    if job is None or not job.state.active:
        error = lookup_error(job)
        if error.errno is Errno.ALREADY_DONE:
            ctx.error(f"Slurm job {text} has expired")
        else:
            ctx.error(f"Unable to confirm allocation for job {text}: {error.text}")
        ctx.info(f"Check SLURM_JOB_ID environment variable. Expired or invalid job {text}")
        return error_exit(ctx)
    # From outside the job srun knows only its id: the number of tasks and similar values come from srun's own options.
    return await _session(ctx, job, {"SLURM_JOB_ID": str(job.job_id)})


async def _session(ctx: CommandContext, job: Job, variables: Mapping[str, str]) -> int:
    """Connect the caller to the agent of the job's first node.

    ``variables`` are added to the request. Returns the step's exit code.
    """
    controller = ctx.controller
    address = await agent_socket(ctx, job)
    if address is None:
        ctx.error(f"Unable to confirm allocation for job {job.job_id}: Invalid job id specified")
        return error_exit(ctx)
    ctx.redirect(address, {**variables, **controller.job_variables(job)})
    return await exit_code(ctx, job.nodes[0])
