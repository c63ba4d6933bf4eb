"""slurmsky site check|init: validate or create the site file."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial

import click

from ... import paths
from ...controller.command_context import CommandContext
from ...engines import machine_hardware, registry
from ...engines.base import EngineError
from ...engines.cloud import CloudService, RequestRefused
from ...model.spec import JobSpec
from ...site.init import (
    OldCluster,
    OldPartition,
    read_module_avail,
    read_sacctmgr,
    read_sinfo,
    read_sky_check,
    read_slurm_conf,
    render,
)
from ...site.load import load, position_of_key
from ...site.record import Site, SiteError, WarmNodes
from ...translate.sky_task.task import plan
from ...translate.sky_task.translation_notes import Refused
from .._files import opener
from ..common.command_errors import absolute
from ._base import Forward, SlurmskyGroup, failed, in_controller
from .explain_command import write
from .site_from_folder import answer, init_from
from .status_command import site_changed

ANSWER_S = 60.0


@click.group(cls=SlurmskyGroup, example="slurmsky site init -o ~/.config/slurmsky/slurmsky.toml --sinfo=sinfo.txt\n"
             "slurmsky site check", page="admins")  # fmt: skip
def command() -> None:
    """Validate or create the site file, which defines partitions, accounts and limits."""


# --- check


@dataclass
class _Checks:
    ctx: CommandContext
    faults: int = 0

    def good(self, text: str) -> None:
        self.ctx.out(f"ok    {text}\n")

    def print_note(self, text: str) -> None:
        self.ctx.out(f"note  {text}\n")

    def fault(self, text: str) -> None:
        self.faults += 1
        self.ctx.out(f"FIX   {text}\n")


@command.command("check", example="slurmsky site check slurmsky.toml", page="admins")
@click.argument("file", required=False, metavar="[FILE]")
def check(file: str | None) -> Awaitable[int]:
    """Validate the site file, also against SkyPilot; print errors as FILE:LINE:COLUMN: TEXT."""
    ctx: CommandContext | None = click.get_current_context().find_root().obj
    if ctx is not None:
        return _check(ctx, file)
    named = file or str(paths.site_file(os.environ) or "")
    if named:  # first without a controller: with an invalid SLURMSKY_SITE none starts
        _loaded(os.path.abspath(named))
    raise Forward


def _loaded(file: str) -> tuple[str, Site]:
    """Text and content of a site file. Raises CommandError with its first error."""
    try:
        with open(file, encoding="utf-8", opener=opener) as opened:
            text = opened.read()
        return text, load(text, file, machine_hardware.detect())
    except (OSError, UnicodeDecodeError) as error:
        raise failed(f"slurmsky: {file}: {getattr(error, 'strerror', None) or error}") from error
    except SiteError as error:
        raise failed(str(error)) from error


async def _check(ctx: CommandContext, file: str | None) -> int:
    named = file or str(paths.site_file(ctx.env) or "")
    found = absolute(ctx, named) if named else ""
    if not found:
        ctx.out("ok    no site file: this machine is the cluster\n")
        return 0
    text, site = _loaded(found)
    report = _Checks(ctx)
    names = ", ".join(part.name for part in site.cluster.partitions)
    report.good(f"{found}: cluster {site.cluster.name}, partitions {names}")
    for remark in _remarks(ctx, site):
        report.print_note(remark)
    if site.source == ctx.controller.site.source and await site_changed(ctx):
        report.print_note("the running controller read an earlier version: scontrol reconfigure")
    service = registry.cloud_service(ctx.env, site, ctx.env.get("USER", ""))
    sky = [part.name for part in site.cluster.partitions if not site.on_this_machine(part.name)]
    if not sky:
        report.good("all partitions are on this machine: SkyPilot is not queried")
    elif not service.configured:
        report.good("SkyPilot is not set up for you: not validated against it")
    else:
        try:
            await asyncio.wait_for(_against_sky(report, site, service, sky, text, found), ANSWER_S)
        except (EngineError, asyncio.TimeoutError) as error:
            report.fault(f"SkyPilot at {service.endpoint}: {str(error) or 'no answer'}")
    return 1 if report.faults else 0


def _remarks(ctx: CommandContext, site: Site) -> Iterator[str]:
    """Remarks on a valid file: no default partition, nodes with more CPUs than this machine."""
    if site.cluster.partitions and not any(part.default for part in site.cluster.partitions):
        yield "no partition has default = true: a job without --partition is refused"
    present = machine_hardware.detect().cpus
    places = ctx.controller.engine.places_in
    warm = {name for _, one in site.warm_nodes for name in one.names}
    local = {name for part in site.cluster.partitions if places(part.name) for name in part.nodes} - warm
    for node in site.cluster.nodes:
        if node.name in local and node.cpus > present:
            yield f"node {node.name}: {node.cpus} CPUs in the file, {present} on this machine, which its jobs share"


async def _against_sky(
    report: _Checks, site: Site, service: CloudService, names: list[str], text: str, file: str
) -> None:
    enabled = await service.enabled()
    report.good(f"SkyPilot at {service.endpoint} has {', '.join(enabled) or 'no infra enabled'}")
    for name in names:
        place = _place(text, file, name)
        here = site.sky_partition(name)
        warm = dict(site.warm_nodes).get(name)
        missing = [infra for infra in here.infra if infra.split("/")[0].replace("k8s", "kubernetes") not in enabled]
        if warm is not None:
            await _warm_nodes(report, site, service, name, warm, missing, partial(_line, text, file, site, name))
            continue
        for infra in missing:
            report.fault(f"{place}: partition {name}: SkyPilot has not enabled {infra} (sky check)")
        try:
            spec = JobSpec(gpus="1") if here.gpu else JobSpec()
            await service.validate(plan(spec, site, name).yaml(run="true"))
        except Refused as error:
            report.fault(f"{place}: partition {name}: {error} ({error.hint})")
        except RequestRefused as error:
            report.fault(f"{place}: partition {name}: {error}")
        else:
            if not missing:
                report.good(f"partition {name}: SkyPilot accepts its tasks")


async def _warm_nodes(
    report: _Checks, site: Site, service: CloudService, name: str, warm: WarmNodes, absent: list[str],
    place: Callable[[str], str],
) -> None:  # fmt: skip
    """Check whether SkyPilot offers the nodes of a partition."""
    if absent:
        report.fault(f"{place('infra')}: partition {name}: SkyPilot has not enabled {', '.join(absent)} (sky check)")
        return
    problem = await service.check_warm_nodes(name, warm, site)
    if problem:
        report.fault(f"{place('cluster' if warm.cluster else 'shape')}: partition {name}: {problem}")
    else:
        report.good(f"partition {name}: SkyPilot has {f'the cluster {warm.cluster}' if warm.cluster else 'such nodes'}")


def _line(text: str, file: str, site: Site, partition: str, key: str) -> str:
    """Position of a partition's key, as FILE:LINE:COLUMN."""
    index = [part.name for part in site.cluster.partitions].index(partition)
    line, column = position_of_key(text, "partition", index, key)
    return f"{file}:{line}:{column}"


def _place(text: str, file: str, partition: str) -> str:
    """Position of a partition's name, as FILE:LINE:COLUMN."""
    for number, line in enumerate(text.splitlines(), 1):
        found = re.match(r"\s*name\s*=\s*[\"']%s[\"']" % re.escape(partition), line)
        if found:
            return f"{file}:{number}:{len(line) - len(line.lstrip()) + 1}"
    return f"{file}:1:1"


# --- init

_SOURCES = {"slurm_conf": read_slurm_conf, "sinfo": read_sinfo, "modules": read_module_avail,
            "sacctmgr": read_sacctmgr, "sky_check": read_sky_check}  # fmt: skip


@command.command("init", example="sinfo > sinfo.txt; slurmsky site init --sinfo=sinfo.txt", page="admins")
@click.option("-o", "target", metavar="FILE", default="", help="Write to this new file.")
@click.option("--from", "folder", metavar="FOLDER", help="Write the site file that the scripts of a folder need: "
              "partitions, GPU types, paths, modules. Print the share of scripts that run unchanged.")  # fmt: skip
@click.option("--slurm-conf", metavar="FILE", help="slurm.conf of the old cluster.")
@click.option("--sinfo", metavar="FILE", help="Output of sinfo on the old cluster.")
@click.option("--modules", metavar="FILE", help="Output of `module avail` on the old cluster.")
@click.option("--sacctmgr", metavar="FILE", help="Output of `sacctmgr -P show qos` and `show account` there.")
@click.option("--sky-check", metavar="[FILE]", is_flag=False, flag_value="", help="Output of `sky check`; without "
              "a file SkyPilot is queried.")  # fmt: skip
@in_controller
async def init(ctx: CommandContext, target: str, folder: str | None, **files: str | None) -> int:
    """Write a site file from the old cluster's configuration, from its scripts, or from prompts."""
    ask_sky = files["sky_check"] == ""
    given = {name: file for name, file in files.items() if file}
    if target and os.path.exists(absolute(ctx, target)):
        ctx.err(f"slurmsky: {target} exists already")
        return 1
    if folder is not None:
        if any(file is not None for file in files.values()):
            raise failed("slurmsky: site init: --from accepts no other option but -o")
        return await init_from(ctx, absolute(ctx, folder), folder, target)
    old = OldCluster()
    try:
        for option, read in _SOURCES.items():
            if option in given:
                with open(absolute(ctx, given[option]), encoding="utf-8", errors="replace", opener=opener) as file:
                    read(file.read(), old)
    except OSError as error:
        ctx.err(f"slurmsky: {error.filename}: {error.strerror}")
        return 1
    for problem in old.problems:
        ctx.err(f"slurmsky: {problem}")
    infra: list[str] = []
    gpu = ""
    if ask_sky:
        try:
            old.infra = await _enabled(ctx)
        except (EngineError, asyncio.TimeoutError) as error:
            ctx.err(f"slurmsky: SkyPilot: {str(error) or 'no answer'}")
            return 1
    if not given and not ask_sky:
        infra, gpu = await _ask(ctx, old)
    text = render(old, infra=infra, gpu=gpu)
    load(text, target or "slurmsky.toml", machine_hardware.detect())  # verify that the new file can be parsed
    return write(ctx, text, target)


async def _ask(ctx: CommandContext, old: OldCluster) -> tuple[list[str], str]:
    """Prompt for the essential values; known values are the defaults."""
    known = ""
    if registry.cloud_service(ctx.env, ctx.controller.site, ctx.env.get("USER", "")).configured:
        try:
            known = ",".join(await _enabled(ctx))
        except (EngineError, asyncio.TimeoutError):
            known = ""
    old.cluster = await answer(ctx, "Name of the cluster", "cluster")
    infra = await answer(ctx, "Where jobs run, in order (kubernetes/CONTEXT, aws, slurm/NAME...)", known)
    gpu = await answer(ctx, "GPU that --gpus without a type means", "")
    for name in (await answer(ctx, "Partitions that scripts name", "main")).replace(",", " ").split():
        old.partitions[name] = OldPartition(name, default=not old.partitions)
    return [word.strip() for word in infra.split(",") if word.strip()], gpu


async def _enabled(ctx: CommandContext) -> list[str]:
    """Infras that SkyPilot's server has enabled. Raises EngineError, TimeoutError."""
    service = registry.cloud_service(ctx.env, ctx.controller.site, ctx.env.get("USER", ""))
    return await asyncio.wait_for(service.enabled(), 15)
