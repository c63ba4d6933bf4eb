"""sbatch: submits a script as a job.

Source: src/sbatch/sbatch.c, opt.c.
"""

from __future__ import annotations

import asyncio
import os
import pwd
from collections.abc import Mapping

from .. import paths
from ..agent.process import resource_limits
from ..controller.command_context import CommandContext
from ..controller.jobs.job_spool import Payload
from ..controller.jobs.submitter import draft
from ..controller.rules.provisional_shares import ordered_shares
from ..controller.rules.submit_checks import partitions_of
from ..controller.schedule.backfill import predict_start
from ..controller.slurm_errors import Errno, SlurmError
from ..language import exportspec, hostlist, timespec
from ..model.job import Job
from ..model.spec import JobSpec
from ..model.states import JobState
from ..options import submit as options
from ..options.usage_errors import NOT_CREATED, failure
from ..translate.sky_task import module_command
from . import _files
from ._start_notice import WRAPPED, forecast
from ._submit_warnings import warnings as foresee
from .common import verbosity
from .common.caller_settings import Files, parse_with_files, submitter
from .common.command_errors import error_exit, refused, streaming
from .common.progress import phase, show_progress
from .common.report_settings import known_cluster
from .common.resumed_request import requested_before, resume_later
from .common.site_options import table

#: maximum number of bytes read from --export-file
ENVIRONMENT_SIZE = 16 << 20
#: files that the caller may have read in part: stdin, or a descriptor as in <(...)
_STDIN = ("/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")
WHAT = "Batch job submission failed"


@streaming
async def main(ctx: CommandContext) -> int:
    """Submit the script and print ``Submitted batch job N``. With --wait the command waits until the job has ended."""
    known = requested_before(ctx)
    return await _submit(ctx) if known is None else await _wait(ctx, known)


async def _submit(ctx: CommandContext) -> int:
    options_table = table(ctx, "sbatch")
    files: Files = {}
    choice = await parse_with_files(ctx, lambda known: options.find_script(ctx.args, known, options_table), files)
    script, path = await _script(ctx, choice)
    request = await parse_with_files(
        ctx, lambda known: options.parse_sbatch(ctx.args, script, known, options_table), files
    )
    for line in request.warnings:
        ctx.err(line)
    if not known_cluster(ctx, request.components[0].clusters):
        return 1
    data = options.wrap_script(choice.wrap or "") if script is None else script.data
    flags = request.flags
    specs = request.components
    controller = ctx.controller
    for name in (value for spec in specs for option, value in spec.recorded if option == "bbf"):
        data = options.with_burst_buffer(data, (await _files.read(ctx, [name], len(data) + (1 << 20))).data)
    if flags.verbose:
        verbosity.defined_options(ctx, options.describe(request))
        verbosity.debug(ctx, flags.verbose, *verbosity.propagated(ctx))
    if flags.test_only:
        return await test_only(ctx, request.components[0], bool(flags.quiet))
    if len(data) > controller.site.cluster.max_script_size:
        return refused(ctx, SlurmError(Errno.PATH_TOO_LONG), WHAT)
    environment = job_environment(ctx, specs[0].export)
    if specs[0].export_file:
        given = await _from_file(ctx, specs[0].export_file)
        environment = given | ({} if specs[0].export is None else environment)
    environment.update(module_command.job_variables(controller.site, data, environment))
    payload = Payload(
        data,
        await _command(ctx, choice, path, specs[0]),
        request.argv,
        environment,
        ctx.request.umask,
        resource_limits.of_process(ctx.request.pid),
    )
    given_id = int(ctx.env.get(paths.GIVEN_ID) or 0)
    if given_id in controller.job_table.jobs:
        return 0  # a repeated delivery of the same relayed request
    try:
        job = controller.submit(specs, payload, submitter(ctx), first_id=given_id)
    except SlurmError as error:
        return refused(ctx, error, WHAT)
    controller.schedule_soon()
    if not flags.quiet:
        for warning in await foresee(ctx, job, data):
            ctx.err(f"sbatch: warning: {warning}")
        problem = await controller.engine.problem(job.partition)
        if problem:
            ctx.err(f"sbatch: warning: the job waits: {problem}")
        cluster = f";{controller.site.cluster.name}" if specs[0].clusters else ""
        if flags.parsable:
            ctx.out(f"{job.job_id}{cluster}\n")
        else:
            on = f" on cluster {controller.site.cluster.name}" if specs[0].clusters else ""
            ctx.out(f"Submitted batch job {job.job_id}{on}\n")
        if not flags.parsable or ctx.request.ttys[2]:  # programs expect Slurm's output and no extra line
            forecast(ctx, job, choice.path or WRAPPED)
    return await _wait(ctx, job) if flags.wait else 0


async def _script(ctx: CommandContext, choice: options.ScriptChoice) -> tuple[options.ScriptText | None, str]:
    """Text of the script, and its path as scontrol shows it."""
    if choice.wrap is not None:
        return None, ""
    if choice.path is None and paths.SCRIPT in ctx.env:
        return options.ScriptText("", ctx.env[paths.SCRIPT].encode("utf-8", "surrogateescape")), ""
    if choice.path is None:
        data = await ctx.read_stdin(ctx.controller.site.cluster.max_script_size)
        return options.ScriptText("", data), ""
    if paths.SCRIPT in ctx.env:  # a relayed command brings the script, because we cannot read its node's files
        data = ctx.env[paths.SCRIPT].encode("utf-8", "surrogateescape")
        return options.ScriptText(choice.path, data), os.path.join(ctx.cwd, choice.path)
    limit = ctx.controller.site.cluster.max_script_size + 1
    if choice.path in _STDIN:
        return options.ScriptText(choice.path, await ctx.read_stdin(limit)), choice.path
    named = os.path.join(ctx.cwd, choice.path)
    try:
        found = await _files.read(ctx, [named, *_along_path(ctx, choice.path)], limit)
    except OSError as error:
        raise failure("sbatch", f"Unable to open file {choice.path}", exit_code=error_exit(ctx)) from error
    return options.ScriptText(choice.path, found.data), found.path


async def _command(ctx: CommandContext, choice: options.ScriptChoice, path: str, spec: JobSpec) -> str:
    """Path of the script as scontrol shows it.

    The path is resolved from --chdir; if no such file exists, or the name begins with a dot, it is shown as typed.
    Source: opt.c process_options_first_pass, search_path.
    """
    if path and choice.path and choice.path.startswith("."):
        return choice.path
    if not path or choice.path is None or spec.chdir in (None, ctx.cwd):
        return path
    name, folder = choice.path, spec.chdir or ""
    places = [os.path.join(ctx.cwd, folder, name), *_along_path(ctx, name)]
    return await _files.check(lambda: find_file(ctx, name, folder), places, None) or name


def find_file(ctx: CommandContext, name: str, folder: str = "") -> str | None:
    """Resolve a script name from ``folder``, then along PATH. ``folder`` is relative to the caller's current folder."""
    here = f"{os.path.join(ctx.cwd, folder)}/{name}" if folder else os.path.join(ctx.cwd, name)
    if os.access(here, os.R_OK):
        return here
    for there in _along_path(ctx, name):
        if os.path.isfile(there) and os.access(there, os.R_OK):
            return there
    return None


def _along_path(ctx: CommandContext, name: str) -> list[str]:
    """Candidate paths along PATH for a name without a slash."""
    folders = [] if "/" in name else ctx.env.get("PATH", "").split(os.pathsep)
    return [os.path.join(ctx.cwd, folder, name) for folder in folders if folder]


def job_environment(ctx: CommandContext, export: str | None) -> dict[str, str]:
    """Environment of the job: the caller's, filtered by --export. Variables of an outer job's agent are removed."""
    ours = (paths.AGENT, paths.SCRIPT, paths.GIVEN_ID, paths.REQUESTED_JOB, paths.CHILD_STATUS)
    env = {name: value for name, value in ctx.env.items() if name not in ours}
    spec = exportspec.parse(export if export is not None else "ALL")
    kept = spec.apply(env)
    if export is not None and export.upper() != "ALL":
        kept["SLURM_EXPORT_ENV"] = export
        # Slurm loads the user's login environment on the node; we export the variables that every login sets.
        kept["SLURM_GET_USER_ENV"] = "1"
        kept = {**_login(env), **kept}
    return kept


def _login(env: Mapping[str, str]) -> dict[str, str]:
    """Variables that every login sets; the caller's values take precedence."""
    user = pwd.getpwuid(os.geteuid())
    login = {"HOME": user.pw_dir, "SHELL": user.pw_shell, "USER": user.pw_name, "LOGNAME": user.pw_name}
    login.update((name, env[name]) for name in (*login, "PATH", "MAIL", "LANG") if name in env)
    return {**login, "SHLVL": "1"}


async def _from_file(ctx: CommandContext, source: str) -> dict[str, str]:
    """--export-file: NAME=VALUE entries separated by NUL bytes.

    They come from a file or an open descriptor of the caller.
    """
    path = f"/dev/fd/{source}" if source.isdecimal() and int(source) > 2 else source
    try:
        found = await _files.read(ctx, [path], ENVIRONMENT_SIZE)
    except OSError as error:
        raise failure("sbatch", f"Could not open user environment file {source}", exit_code=error_exit(ctx)) from error
    pairs = (os.fsdecode(item).partition("=") for item in found.data.split(b"\0") if b"=" in item)
    return {name: value for name, _, value in pairs if name}


async def test_only(ctx: CommandContext, spec: JobSpec, quiet: bool) -> int:
    """--test-only: print when and where the job would start. With ``quiet`` only errors are printed."""
    controller = ctx.controller
    who = submitter(ctx)
    try:
        nothing = Payload(None, "", (), {}, 0, {})
        probe = draft(controller.job_table, [spec.evolve(array=None)], nothing, who)[0]
        spec, partition = probe.spec, partitions_of(controller.job_table.cluster, spec)[0]
    except SlurmError as error:
        for detail in error.details:
            if error.errno is not Errno.NODE_CONFIG_UNAVAILABLE:
                ctx.error(detail)
        if error.errno is Errno.INVALID_GRES:  # the command itself validates devices
            ctx.error(error.text)
            lines = NOT_CREATED.get(ctx.command, ())
        else:
            lines = (f"allocation failure: {error.text}",)
        for line in lines:
            ctx.err(line)
        return 1
    if controller.engine.places_in(partition.name):
        found = predict_start(controller.scheduler, probe, partition, controller.clock)
    else:  # SkyPilot creates these nodes on demand; they get the names that squeue would show
        found = (controller.clock(), ordered_shares(controller.scheduler.demand(spec), spec, partition, probe.job_id))
    if found is None:
        ctx.err("allocation failure: Requested node configuration is not available")
        return 1
    if quiet:
        return 0
    start, shares = found
    start = max(start, spec.begin or 0)
    cpus = sum(share.cpus for share in shares)
    ctx.info(
        f"Job {probe.job_id} to start at {timespec.format(int(start))} a using {cpus} processors on nodes "
        f"{hostlist.compress(share.name for share in shares)} in partition {partition.name}"
    )
    outlook = await controller.power.prospects.outlook(shares, start) if controller.power is not None else ""
    if outlook:
        ctx.info(outlook)
    return 0


async def _wait(ctx: CommandContext, job: Job) -> int:
    """--wait: return the job's exit code, for an array the highest."""
    controller = ctx.controller
    resume_later(ctx, job)
    done = asyncio.ensure_future(wait_for_end(ctx, job))
    with show_progress(ctx, lambda: phase(job)):
        await asyncio.wait({done, ctx.gone}, return_when=asyncio.FIRST_COMPLETED)
    if not done.done():
        done.cancel()
        return 1
    if job.array_job_id:
        return max((end_code(one) for one in controller.job_table.array(job.array_job_id)), default=1)
    return end_code(job)


async def wait_for_end(ctx: CommandContext, job: Job) -> None:
    """Wait until a job, or its whole array, has ended."""
    controller = ctx.controller
    while True:
        records = list(controller.job_table.array(job.array_job_id)) if job.array_job_id else [job]
        waiting = [one for one in records if not one.state.finished]
        if not waiting:
            return
        await controller.life.wait(waiting[0], lambda one: one.state.finished)


def end_code(job: Job) -> int:
    """The exit code that --wait returns for a job."""
    if job.state is JobState.COMPLETED or (job.state is JobState.FAILED and job.exit_code):
        return job.exit_code
    return 1
