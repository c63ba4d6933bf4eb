"""slurmsky translate: writes a SkyPilot YAML that replaces a script."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import click

from ...controller.command_context import CommandContext
from ...controller.rules.demand import demand_of
from ...controller.rules.provisional_shares import ordered_shares
from ...engines import registry
from ...engines.base import EngineError
from ...engines.cloud import RequestRefused
from ...model.allocation import HetComponent, Launch
from ...model.spec import INFINITE, JobSpec
from ...options import submit as options
from ...options.usage_errors import CommandError
from ...site.record import Site
from ...translate.export.agent_folder import REMOTE, AgentFolder
from ...translate.export.conversion import Dropped, one_line
from ...translate.export.yaml_export import ExportedYaml, SubmittedScript, export_yaml
from ...translate.script.script_chain import Stage, stages
from ...translate.script.unknown_directives import without_unknown
from ...translate.shell.script_commands import parse
from ...translate.sky_task.sky_names import sky_name
from ...translate.sky_task.translation_notes import Refused
from ..common.caller_settings import read_context, submitter
from ..common.command_errors import absolute, print_error
from ..common.site_options import table
from ..sbatch import job_environment
from ._base import PassingCommand, in_controller
from .explain_command import read_script, scripts_in, write


@click.command(cls=PassingCommand, example="slurmsky translate --check -o train.yaml job.sh", page="going-to-yaml")
@click.option("-o", "output", metavar="FILE.yaml|DIR", default="",
              help="Write to this file, and create the folder that the YAML names.")  # fmt: skip
@click.option("--serve", is_flag=True, help="A service of sky serve, for a script that starts a server.")
@click.option("--check", is_flag=True, help="Validate the YAML with SkyPilot's API server.")
@click.argument("words", nargs=-1, required=True, metavar="[SBATCH OPTIONS] SCRIPT|FOLDER [ARGUMENTS]")
@in_controller
async def command(ctx: CommandContext, words: tuple[str, ...], output: str, serve: bool, check: bool) -> int:
    """Print a SkyPilot YAML that does the work of a script.

    If SkyPilot cannot express the script, the YAML runs the unchanged script through slurmsky on the nodes; -o then
    also creates the folder that the YAML names. The exit code is 1 if there is no YAML, or if SkyPilot refuses it. A
    script that submits others one after the other (--dependency=afterok) becomes one pipeline. For a folder, write one
    YAML for each batch script, below the folder of -o.
    """
    if not output and words[-2:-1] == ("-o",) and os.path.isdir(absolute(ctx, words[-3] if words[2:] else "")):
        words, output = words[:-2], words[-1]  # a folder has no arguments
    folder = absolute(ctx, words[-1])
    if os.path.isdir(folder):
        return await _folder(ctx, words, folder, output, check)
    try:
        yaml = await _yaml_of(ctx, words, output, serve=serve)
    except _NotTranslated as error:
        return print_error(ctx, error.command) if error.command is not None else _failed(ctx, str(error))
    code = write(ctx, yaml, output)
    return code or (await _check(ctx, yaml) if check else 0)


class _NotTranslated(Exception):
    """Error: there is no YAML for a script. ``command``: the message is sbatch's own."""

    def __init__(self, text: str, command: CommandError | None = None) -> None:
        super().__init__(text)
        self.command = command


def _failed(ctx: CommandContext, text: str) -> int:
    ctx.err(f"slurmsky: translate: {text}")
    return 1


async def _yaml_of(
    ctx: CommandContext, words: Sequence[str], target: str, beside: str = "", serve: bool = False
) -> str:
    """YAML for an sbatch command line. ``beside`` is the folder with script and agent, or ""."""
    chain: list[Stage] = []
    with suppress(CommandError, OSError):
        script = read_script(ctx, words)
        chain = await asyncio.to_thread(lambda: stages(parse(script.data.decode("utf-8", "surrogateescape"))))
    if chain:
        return await _pipeline(ctx, script.path, chain, target)
    return await _task(ctx, words, target, beside, serve=serve)


async def _pipeline(ctx: CommandContext, path: str, chain: Sequence[Stage], target: str) -> str:
    """One YAML for a script that submits others in sequence. It has one task for each submission."""
    file = os.path.basename(path)
    name = sky_name(file.partition(".")[0], 50)
    texts = [
        f"# {one_line(file)} as one pipeline:  sky jobs launch {name}.yaml\n"
        f"# SkyPilot starts a task when the one before it has succeeded (--dependency=afterok). The nodes of a\n"
        f"# task go with their files: what the next one reads belongs below a bucket or a volume.\n\nname: {name}\n"
    ]
    for number, stage in enumerate(chain, 1):
        text = await _task(ctx, stage.words, target, f"{name}-{number}.slurmsky", stage.line)
        texts.append(text)
    return "---\n".join(texts)


async def _task(
    ctx: CommandContext, words: Sequence[str], target: str, beside: str = "", stage: int = 0, serve: bool = False
) -> str:
    """YAML of one task. ``stage`` is the line that submits it, in a pipeline."""
    try:
        script = read_script(ctx, words)
        request, script, unknown = _request(ctx, words, script)
    except CommandError as error:
        raise _NotTranslated(error.lines[0] if error.lines else "refused", error) from error
    except OSError as error:
        raise _NotTranslated(f"{error.filename or words[-1]}: {error.strerror or 'cannot be read'}") from error
    site, specs = ctx.controller.site, request.components
    if stage and specs[0].array:
        why = f"line {stage} submits an array, and no task of a pipeline is an array: translate its scripts one by one"
        raise _NotTranslated(why)
    below = os.path.relpath(absolute(ctx, script.path), ctx.cwd) if script.path else ""
    file = os.path.basename(script.path or "script")
    submitted = SubmittedScript(
        source=script.data.decode("utf-8", "surrogateescape").replace("\0", ""),
        specs=specs,
        file=file,
        arguments=request.argv,
        folder=ctx.cwd,
        path=file if not below or below.startswith("..") else below,
        dropped=unknown,
        stage=stage,
    )
    try:
        exported = await asyncio.to_thread(export_yaml, submitted, site, _partition(site, specs[0]), serve=serve)
        if serve and "service" not in exported.fields:
            raise _NotTranslated("no server that --serve knows runs in the script on SkyPilot's nodes")
        if not (exported.needs and target):
            return exported.yaml
        folder = await asyncio.to_thread(_pack, ctx, exported, specs, script, request.argv, target, beside)
        return exported.with_folder(folder)
    except Refused as error:
        raise _NotTranslated(f"{error} ({error.hint})") from error
    except (EngineError, OSError) as error:
        raise _NotTranslated(str(error)) from error


def _request(
    ctx: CommandContext, words: Sequence[str], script: options.ScriptText
) -> tuple[options.Submission, options.ScriptText, list[Dropped]]:
    """Parse a script without directives that our sbatch does not know."""
    unknown: list[Dropped] = []
    while True:
        try:
            return options.parse_sbatch(words, script, read_context(ctx), table(ctx, "sbatch")), script, unknown
        except CommandError as error:
            found = without_unknown(script.data, error.lines[0] if error.lines else "")
            if found is None:
                raise
            script, unknown = replace(script, data=found[0]), [*unknown, found[1]]


async def _folder(ctx: CommandContext, words: Sequence[str], folder: str, output: str, check: bool) -> int:
    """Translate each batch script of a folder.

    The files are written below ``output``. Returns 1 if a script has no YAML.
    """
    if not output:
        return _failed(ctx, f"{words[-1]} is a folder: -o names the folder for its YAMLs")
    files = await asyncio.to_thread(scripts_in, folder)
    if not files:
        return _failed(ctx, f"no batch scripts in {words[-1]}")
    code, base, names = 0, absolute(ctx, output), set[tuple[str, str]]()
    for file in files:
        place = os.path.relpath(file, folder)
        target, beside = os.path.join(base, f"{place}.yaml"), sky_name(os.path.basename(file), 50)
        while (os.path.dirname(target), beside) in names:
            beside += "-2"
        names.add((os.path.dirname(target), beside))
        try:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            yaml = await _yaml_of(ctx, (*words[:-1], file), target, f"{beside}.slurmsky")
        except (_NotTranslated, OSError) as error:
            ctx.out(f"{place}: no YAML: {error}\n")
            code = 1
            continue
        failed = write(ctx, yaml, target) or (await _check(ctx, yaml) if check else 0)
        ways = "slurmsky runs the script on the nodes" if f"{REMOTE}/agent" in yaml else "plain SkyPilot"
        ctx.out(f"{place}: {os.path.relpath(target, ctx.cwd)}: {ways}\n")
        code = code or failed
    return code


def _partition(site: Site, spec: JobSpec) -> str:
    default = site.cluster.default_partition
    return (spec.partition or (default.name if default else "")).split(",")[0]


async def _check(ctx: CommandContext, yaml: str) -> int:
    service = registry.cloud_service(ctx.env, ctx.controller.site, ctx.env.get("USER", ""))
    try:
        await asyncio.wait_for(service.validate(yaml), 60)
    except RequestRefused as error:
        ctx.err(f"slurmsky: translate: SkyPilot refuses it: {error}")
        return 1
    except (EngineError, asyncio.TimeoutError) as error:
        ctx.err(f"slurmsky: translate: not checked: {str(error) or 'no answer'}")
        return 1
    finally:
        await service.close()
    ctx.err(f"slurmsky: SkyPilot at {service.endpoint} accepts it")
    return 0


def _pack(
    ctx: CommandContext,
    exported: ExportedYaml,
    specs: Sequence[JobSpec],
    script: options.ScriptText,
    argv: Sequence[str],
    target: str,
    folder: str = "",
) -> AgentFolder:
    """Create the folder beside the YAML."""
    folder = folder or f"{exported.name}.slurmsky"
    beside = Path(os.path.dirname(absolute(ctx, target))) / folder
    if beside.exists() and not (beside / "job" / "settings.json").exists():
        raise EngineError(f"{beside} exists and is not slurmsky's")
    shutil.rmtree(beside, ignore_errors=True)
    work = ctx.controller.paths.home / "kept" / f"{exported.name}-{os.getpid()}-{time.monotonic_ns()}"
    try:
        work.mkdir(mode=0o700, parents=True)
        spooled = work / "script"
        spooled.write_bytes(script.data)
        launch = _launch(ctx, specs, str(spooled), script, argv)
        launch.image = str(exported.fields["resources"].get("image_id", "")).removeprefix("docker:")
        site = ctx.controller.site
        shipped = registry.cloud_service(ctx.env, site, ctx.env.get("USER", "")).pack(launch, exported.name, work, site)
        if shipped.withheld:
            ctx.err(f"slurmsky: {shipped.withheld}")
        beside.mkdir(mode=0o700)
        shutil.move(shipped.folder, beside / "job")
        shutil.copyfile(shipped.program, beside / shipped.program.name)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    workdir = os.path.relpath(shipped.workdir, beside.parent) if shipped.workdir is not None else ""
    return AgentFolder(folder, shipped.program.name, workdir)


def _launch(
    ctx: CommandContext, specs: Sequence[JobSpec], spooled: str, script: options.ScriptText, argv: Sequence[str]
) -> Launch:
    """Build the Launch message that the controller would send for job 1."""
    who, site, spec = submitter(ctx), ctx.controller.site, specs[0]
    limit = spec.time_limit_min
    demand = demand_of(spec)
    components = [
        HetComponent(
            job_id,
            part.job_name or "sbatch",
            part.account or who.account,
            _partition(site, part),
            part.qos or "normal",
            part,
            ordered_shares(demand_of(part), part, site.cluster.partition(_partition(site, part)), job_id),
        )
        for job_id, part in enumerate(specs, 1)
    ]
    shares = components[0].shares
    return Launch(
        job_id=1,
        name=spec.job_name or "sbatch",
        user=who.user,
        uid=who.uid,
        gid=who.gid,
        group=who.group,
        account=spec.account or who.account,
        partition=_partition(ctx.controller.site, spec),
        qos=spec.qos or "normal",
        cluster=ctx.controller.site.cluster.name,
        spec=spec,
        shares=shares,
        het=components if len(specs) > 1 else [],
        het_job_id=int(len(specs) > 1),
        ntasks=demand.ntasks,
        submit_dir=ctx.cwd,
        submit_host=socket.gethostname(),
        work_dir=spec.chdir or ctx.cwd,
        spool=spooled,
        script=spooled,
        argv=tuple(argv),
        environment=job_environment(ctx, spec.export),
        stdin=spec.input or "/dev/null",
        stdout=os.path.join(spec.chdir or ctx.cwd, spec.output or "slurm-%j.out"),
        stderr=os.path.join(spec.chdir or ctx.cwd, spec.error) if spec.error else "",
        umask=ctx.request.umask,
        time_limit_s=None if limit in (None, 0, INFINITE) else int(limit or 0) * 60,
    )
