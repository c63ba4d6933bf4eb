"""slurmsky site check|init: the site file proved, or written from what is known of the old cluster."""

from __future__ import annotations

import asyncio
import os
import re
from dataclasses import dataclass

from ... import paths
from ...controller.command_context import CommandContext
from ...engines.local import machine
from ...engines.sky import api_server
from ...engines.sky.api_client import Client, Rejected, SkyError
from ...model.spec import JobSpec
from ...site.init import (
    Old,
    OldPartition,
    read_module_avail,
    read_sacctmgr,
    read_sinfo,
    read_sky_check,
    read_slurm_conf,
    render,
)
from ...site.load import load
from ...site.record import Site, SiteError
from ...translate.notes import Refused
from ...translate.task import plan
from .._files import opener
from ..common.command_errors import absolute
from .explain_command import split, write
from .site_from_folder import init_from

USAGE = """Usage: slurmsky site check [FILE]
       slurmsky site init [-o FILE] [--slurm-conf=FILE] [--sinfo=FILE] [--modules=FILE] [--sacctmgr=FILE]
                          [--sky-check[=FILE]]
       slurmsky site init --from FOLDER [-o FILE]

check  reads the site file and proves it against SkyPilot: FILE:LINE:COLUMN: what is wrong
init   writes one: from slurm.conf and the output of sinfo, `module avail`, `sacctmgr -P show qos` and
       `sacctmgr -P show account` of the old cluster, and from what `sky check` says has been enabled (without a
       file SkyPilot is asked); without any of them by asking you.
       --from FOLDER: the file that the batch scripts of a folder need (partitions, GPU types, paths, modules), and
       on stderr the share of them that runs unchanged with it
"""
PATIENCE_S = 60.0


async def main(ctx: CommandContext) -> int:
    """Dispatch on the second word."""
    word = ctx.args[1] if len(ctx.args) > 1 else ""
    if word == "check":
        return await _check(ctx)
    if word == "init":
        return await _init(ctx)
    ctx.out(USAGE)
    return 0 if word in ("help", "-h", "--help") else 1


# --- check


@dataclass
class _Told:
    ctx: CommandContext
    faults: int = 0

    def good(self, text: str) -> None:
        self.ctx.out(f"ok    {text}\n")

    def fault(self, text: str) -> None:
        self.faults += 1
        self.ctx.out(f"LOOK  {text}\n")


async def _check(ctx: CommandContext) -> int:
    words = ctx.args[2:]
    named = words[0] if words else str(paths.site_file(ctx.env) or "")
    found = absolute(ctx, named) if named else ""
    if not found:
        ctx.out("ok    no site file: this machine is the cluster\n")
        return 0
    try:
        with open(found, encoding="utf-8", opener=opener) as file:
            text = file.read()
        site = load(text, found, machine.facts())
    except (OSError, UnicodeDecodeError) as error:
        ctx.err(f"slurmsky: {found}: {getattr(error, 'strerror', None) or error}")
        return 1
    except SiteError as error:
        ctx.err(str(error))
        return 1
    told = _Told(ctx)
    names = ", ".join(part.name for part in site.cluster.partitions)
    told.good(f"{found}: cluster {site.cluster.name}, partitions {names}")
    client = api_server.connect(ctx.env, site, ctx.env.get("USER", ""))
    sky = [part.name for part in site.cluster.partitions if site.engine_of(part.name) != "local"]
    if not sky:
        told.good("all partitions are on this machine: SkyPilot is not asked")
    elif not api_server.is_set_up(ctx.env, site):
        told.good("SkyPilot is not set up for you: not proved against it")
    else:
        try:
            await asyncio.wait_for(_against_sky(told, site, client, sky, text, found), PATIENCE_S)
        except (SkyError, asyncio.TimeoutError) as error:
            told.fault(f"SkyPilot at {client.access.endpoint}: {error or 'no answer'}")
    return 1 if told.faults else 0


async def _against_sky(told: _Told, site: Site, client: Client, names: list[str], text: str, file: str) -> None:
    enabled = await api_server.enabled_infra(client)
    told.good(f"SkyPilot at {client.access.endpoint} has {', '.join(enabled) or 'no infra enabled'}")
    for name in names:
        place = _place(text, file, name)
        here = site.sky_partition(name)
        missing = [infra for infra in here.infra if infra.split("/")[0].replace("k8s", "kubernetes") not in enabled]
        for infra in missing:
            told.fault(f"{place}: partition {name}: SkyPilot has not enabled {infra} (sky check)")
        try:
            spec = JobSpec(gpus="1") if here.gpu else JobSpec()
            await client.validate(plan(spec, site, name).yaml(run="true"))
        except Refused as error:
            told.fault(f"{place}: partition {name}: {error} ({error.hint})")
        except Rejected as error:
            told.fault(f"{place}: partition {name}: {error}")
        else:
            if not missing:
                told.good(f"partition {name}: SkyPilot takes its tasks")


def _place(text: str, file: str, partition: str) -> str:
    """Where a partition is named, as FILE:LINE:COLUMN."""
    for number, line in enumerate(text.splitlines(), 1):
        found = re.match(r"\s*name\s*=\s*[\"']%s[\"']" % re.escape(partition), line)
        if found:
            return f"{file}:{number}:{len(line) - len(line.lstrip()) + 1}"
    return f"{file}:1:1"


# --- init

_SOURCES = {"--slurm-conf": read_slurm_conf, "--sinfo": read_sinfo, "--modules": read_module_avail,
            "--sacctmgr": read_sacctmgr, "--sky-check": read_sky_check}  # fmt: skip


async def _init(ctx: CommandContext) -> int:
    ask_sky = "--sky-check" in ctx.args[2:]
    words = [word for word in ctx.args[2:] if word != "--sky-check"]
    call = split(words, frozenset(("-h", "--help")), frozenset(("-o", "--from", *_SOURCES)))
    if call.flags or call.rest:
        ctx.out(USAGE)
        return 0 if call.flags else 1
    target = call.values.get("-o", "")
    if target and os.path.exists(absolute(ctx, target)):
        ctx.err(f"slurmsky: {target} exists already")
        return 1
    if "--from" in call.values:
        if set(call.values) - {"-o", "--from"} or ask_sky:
            ctx.err("slurmsky: site init: --from stands alone with -o")
            return 1
        return await init_from(ctx, absolute(ctx, call.values["--from"]), call.values["--from"], target)
    old = Old()
    try:
        for option, read in _SOURCES.items():
            if option in call.values:
                path = absolute(ctx, call.values[option])
                with open(path, encoding="utf-8", errors="replace", opener=opener) as file:
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
        except (SkyError, asyncio.TimeoutError) as error:
            ctx.err(f"slurmsky: SkyPilot: {error or 'no answer'}")
            return 1
    if not set(call.values) - {"-o"} and not ask_sky:
        infra, gpu = await _ask(ctx, old)
    text = render(old, infra=infra, gpu=gpu)
    load(text, target or "slurmsky.toml", machine.facts())  # what is written can be read
    return write(ctx, text, target)


async def _ask(ctx: CommandContext, old: Old) -> tuple[list[str], str]:
    """The few things that matter, with what is known as the default."""
    known = ""
    if api_server.is_set_up(ctx.env, ctx.queue.site):
        try:
            known = ",".join(await _enabled(ctx))
        except (SkyError, asyncio.TimeoutError):
            known = ""
    old.cluster = await _answer(ctx, "Name of the cluster", "cluster")
    infra = await _answer(ctx, "Where jobs run, in order (kubernetes/CONTEXT, aws, slurm/NAME...)", known)
    gpu = await _answer(ctx, "GPU that --gpus without a type means", "")
    for name in (await _answer(ctx, "Partitions that scripts name", "main")).replace(",", " ").split():
        old.partitions[name] = OldPartition(name, default=not old.partitions)
    return [word.strip() for word in infra.split(",") if word.strip()], gpu


async def _enabled(ctx: CommandContext) -> list[str]:
    """The infra that SkyPilot's server has enabled. Raises SkyError, TimeoutError."""
    client = api_server.connect(ctx.env, ctx.queue.site, ctx.env.get("USER", ""))
    return await asyncio.wait_for(api_server.enabled_infra(client), 15)


async def _answer(ctx: CommandContext, question: str, default: str) -> str:
    """One line of the caller's; the default for an empty one or at the end of input. Questions go to stderr."""
    ctx.err(f"{question}{f' [{default}]' if default else ''}:")
    return (await ctx.read_line()).strip() or default
