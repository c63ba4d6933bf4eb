"""slurmsky site init --from FOLDER: a site file for its scripts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

from ...controller.command_context import CommandContext
from ...engines import machine_hardware
from ...language.syntax_errors import LanguageError
from ...model.spec import JobSpec
from ...options import device_counts
from ...options import submit as options
from ...options.usage_errors import CommandError
from ...site import GpuNames, Site, load
from ...site.from_scripts import Need, gather, render
from ...translate.explain import explanation as pages
from ...translate.script import gpu_types
from ..common.caller_settings import read_context, user_name
from ..common.site_options import table
from .explain_command import page_of, read_script, scripts_in, write

USUAL_GPU = "H100"
USUAL_PACKAGES = "numpy scipy pandas matplotlib scikit-learn torch transformers"


#: questions about keys that only the user knows, by table; without an answer the file omits the key
_OPTIONAL = {
    "modules": "Image with the software of module {} (docker:NAME; empty: none)",
    "environment": "Value of the variable {} for all jobs (empty: none)",
}
_MOST_QUESTIONS = 3  # of each table, for the keys that most scripts need


async def init_from(ctx: CommandContext, folder: str, shown: str, target: str) -> int:
    """Write the site file; print the share of scripts that run unchanged. Returns 1 if there are no scripts."""
    files = await asyncio.to_thread(scripts_in, folder) if os.path.isdir(folder) else []
    if not files:
        ctx.err(f"slurmsky: site init: no batch scripts in {shown}")
        return 1
    site = load("", "(no site file)", machine_hardware.detect())

    def judged(engine: str, site: Site) -> list[pages.Page]:
        return [page_of(ctx, (file,), os.path.relpath(file, folder), engine, site, folder) for file in files]

    specs = await asyncio.to_thread(lambda: [_specs(ctx, file) for file in files])
    before = await asyncio.to_thread(judged, "sky", site)
    needs = [_need(requested, page) for requested, page in zip(specs, before, strict=True)]
    wanted = gather(needs)
    gpu = bucket = packages = ""
    if any(need.wants_gpus for need in needs):
        known = wanted.gpus.most_common(1)[0][0] if wanted.gpus else USUAL_GPU
        gpu = await answer(ctx, "GPU type of scripts that name none", known)
    if wanted.unknown("paths"):
        listed = ", ".join(wanted.unknown("paths")[:6])
        usual = f"s3://{user_name(os.geteuid())}-slurm"
        bucket = await answer(ctx, f"Bucket with the content of {listed}", usual)
    if wanted.unknown("environments"):
        listed = ", ".join(wanted.unknown("environments")[:6])
        packages = await answer(ctx, f"Packages of the conda environments {listed}", USUAL_PACKAGES)
    values = {
        (table, key): given
        for table, question in _OPTIONAL.items()
        for key in wanted.unknown(table)[:_MOST_QUESTIONS]
        if (given := await answer(ctx, question.format(key), ""))
    }
    text = render(wanted, shown, bucket=bucket, gpu=gpu, packages=packages, values=values)
    found = load(text, target or "slurmsky.toml", machine_hardware.detect())
    code = write(ctx, text, target)
    if code:
        return code
    for engine, place in (("sky", "on SkyPilot"), ("local", "on this machine")):
        done = await asyncio.to_thread(judged, engine, found)
        first = sum(page.unchanged for page in before)
        share = sum(page.unchanged for page in done)
        was = f" ({first} without it)" if engine == "sky" else ""
        percent = 100 * share // len(files)
        ctx.err(f"{place} {share} of {len(files)} scripts run unchanged with it{was}: {percent} %")
    return 0


def _specs(ctx: CommandContext, file: str) -> tuple[JobSpec, ...]:
    """Job specs of a script without options; () if sbatch refuses it."""
    try:
        script = read_script(ctx, (file,))
        return options.parse_sbatch((file,), script, read_context(ctx), table(ctx, "sbatch")).components
    except (CommandError, OSError):
        return ()


def _need(specs: tuple[JobSpec, ...], page: pages.Page) -> Need:
    kinds = [kind for spec in specs for kind in _gpu_types(spec)]
    return Need(
        partitions=tuple(word for spec in specs for word in (spec.partition or "").split(",") if word),
        gpus=tuple(filter(None, (gpu_types.sky_name(GpuNames(), kind) for kind in kinds))),
        hints=tuple((name, gpu) for spec in specs for name, gpu in _hints(spec)) if kinds else (),
        wants_gpus=bool(kinds),
        suggestions=tuple(
            found.suggestion for found in page.findings if found.effect == pages.DECISION and found.suggestion
        ),
    )


def _hints(spec: JobSpec) -> Iterator[tuple[str, str]]:
    """Partitions of a script and the GPU types that they suggest."""
    for name in filter(None, (spec.partition or "").split(",")):
        gpu, _ = gpu_types.hinted(spec, name, GpuNames())
        if gpu:
            yield name, gpu


def _gpu_types(spec: JobSpec) -> Iterator[str]:
    """GPU type of each GPU request of a script. It is "" for a request without a type."""
    try:
        yield from (kind for name, kind in device_counts.resolved(spec).requested if name == "gpu")
    except LanguageError:
        return  # invalid GPU count, which sbatch refuses


async def answer(ctx: CommandContext, question: str, default: str) -> str:
    """Prompt on stderr and read one line. An empty line or end of input means the default."""
    ctx.err(f"{question}{f' [{default}]' if default else ''}:")
    return (await ctx.read_line()).strip() or default
