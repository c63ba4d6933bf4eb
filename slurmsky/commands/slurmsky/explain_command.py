"""slurmsky explain: the effect of each line of a script. It also reports on a folder of scripts."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TypeVar

import click

from ...controller.command_context import CommandContext
from ...controller.jobs.submitter import account_of
from ...controller.rules.submit_checks import check, waits_for_growth
from ...controller.slurm_errors import SlurmError
from ...engines import registry
from ...engines.base import EngineError
from ...engines.cloud import CloudService
from ...model.spec import JobSpec
from ...options import submit as options
from ...options.usage_errors import CommandError
from ...site import Site
from ...translate.explain import explain_text
from ...translate.explain import explanation as pages
from ...translate.explain.finding import LocalLookup
from ...translate.explain.folder_prices import by_question
from ...translate.script import needs
from ...translate.script.declared_packages import NO_PACKAGES
from ...translate.script.language_packages import named_packages
from ...translate.script.project_folder import builds
from ...translate.script.python_packages import packages
from ...translate.sky_task import credentials
from ...translate.sky_task.price_table import read_prices
from .._files import opener
from .._submit_warnings import remarks
from ..common.caller_settings import read_context, submitter
from ..common.command_errors import absolute
from ..common.site_options import table
from ..sbatch import WHAT, find_file
from ._base import PassingCommand, failed, in_controller

MAX_SCRIPTS = 5000
MAX_BYTES = 4 << 20
_NOT_ENTERED = (".git", ".hg", ".svn", "node_modules", "__pycache__", ".venv", ".tox")
#: files that quote the directives of other scripts
_DOCUMENTS = (".md", ".rst", ".py", ".ipynb", ".html", ".txt", ".tex", ".adoc", ".yaml", ".yml", ".json", ".toml", ".c",
              ".qmd", ".rmd", ".Rmd", ".org", ".pm")  # fmt: skip
_TEMPLATES = (".j2", ".jinja", ".jinja2", ".tmpl", ".tpl", ".template", ".erb", ".mustache", ".in", ".orig", ".rej")
_SUFFIXES = (".sbatch", ".slurm", ".sl", ".job")


@click.command(cls=PassingCommand, example="slurmsky explain job.sh\nslurmsky explain --html -o scripts.html ~/scripts",
               page="coming-from-slurm")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--html", "as_html", is_flag=True, help="As a page for browsers.")
@click.option("--engine", metavar="local|sky", default="", help="Explain for this engine (default: "
              "the one that sbatch would use).")  # fmt: skip
@click.option("--no-prices", is_flag=True, help="Do not query SkyPilot for prices.")
@click.option("-o", "--output-file", metavar="FILE", help="Write to this file.")
@click.argument("words", nargs=-1, required=True, metavar="[SBATCH OPTIONS] SCRIPT|FOLDER")
@in_controller
async def command(
    ctx: CommandContext, words: tuple[str, ...], as_json: bool, as_html: bool, engine: str, no_prices: bool,
    output_file: str | None,
) -> int:  # fmt: skip
    """Show the effect of each directive, module line, variable, program and path of a script.

    The effect is one of: kept, changed, no effect, not here, to decide, refused. For a folder, print one table with the
    share of scripts that run unchanged and, on SkyPilot, their prices. The command runs and submits no script. For a
    script that sbatch refuses, the exit code is sbatch's.
    """
    if engine not in ("", "local", "sky"):
        raise failed(f"slurmsky: explain: --engine is local or sky, not {engine}")
    form = explain_text.to_json if as_json else _html if as_html else _text
    folder = absolute(ctx, words[-1])
    if os.path.isdir(folder):
        first = options.find_script(words, read_context(ctx), table(ctx, "sbatch")).path
        if first != words[-1]:
            raise failed(f"slurmsky: explain: {words[-1]}: only options of sbatch precede a folder")
        files = await asyncio.to_thread(scripts_in, folder)
        if not files:
            raise failed(f"slurmsky: explain: no batch scripts in {words[-1]}")
        found = []
        for file in files:
            line = (*words[:-1], file)
            name = os.path.relpath(file, folder)
            found.append(await asyncio.to_thread(page_of, ctx, line, name, engine, submit_folder=folder))
        if not no_prices:
            found = await with_folder_prices(ctx, found)
        return write(ctx, form(found, True), output_file or "")
    try:
        script = read_script(ctx, words)
    except IsADirectoryError as error:  # words after a script are its arguments
        raise failed(f"slurmsky: explain: {error.filename}: options must precede the folder") from error
    except OSError as error:
        raise failed(f"slurmsky: explain: {error.filename or words[-1]}: {error.strerror or 'No such file'}") from error
    page = await asyncio.to_thread(page_of, ctx, words, os.path.basename(script.path or "script"), engine)
    if page.engine == "sky" and page.task_yaml and not no_prices:
        page = await with_price(ctx, page)
    power = ctx.controller.power
    warm = await power.prospects.summary(page.partition) if power is not None and form is _text and not engine else ""
    return write(ctx, form([page], False) + (f"\n{warm}\n" if warm else ""), output_file or "") or page.exit_code


def _html(found: list[pages.Page], folder: bool) -> str:
    return explain_text.to_html(found)


def _text(found: list[pages.Page], folder: bool) -> str:
    return explain_text.table_text(found) if folder else explain_text.page_text(found[0])


def write(ctx: CommandContext, text: str, file: str) -> int:
    """Write to stdout or to the named file."""
    if not file:
        ctx.out(text)
        return 0
    try:
        with open(absolute(ctx, file), "w", encoding="utf-8", errors="replace", opener=opener) as out:
            out.write(text)
    except OSError as error:
        ctx.err(f"slurmsky: {file}: {error.strerror}")
        return 1
    return 0


def scripts_in(folder: str) -> list[str]:
    """Find batch scripts below a folder. These are files with directives or with a batch script's suffix."""
    found: list[str] = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _NOT_ENTERED)
        for name in sorted(names):
            path = os.path.join(root, name)
            if len(found) >= MAX_SCRIPTS:
                return found
            try:
                template = name.endswith(_TEMPLATES) or ".template." in name
                if template or not os.path.isfile(path) or os.path.getsize(path) > MAX_BYTES:
                    continue
                with open(path, "rb", opener=opener) as file:
                    head = file.read(1 << 16)
            except OSError:
                continue
            directives = head.startswith(b"#SBATCH") or b"\n#SBATCH" in head
            script = head.startswith(b"#!")
            plain = b"\0" not in head[:512] and not name.endswith(_DOCUMENTS)
            if (directives and (script or plain)) or (script and name.endswith(_SUFFIXES)):
                found.append(path)
    return found


def read_script(ctx: CommandContext, words: Sequence[str]) -> options.ScriptText:
    """Read the script that an sbatch command line names. Raises CommandError, OSError."""
    choice = options.find_script(words, read_context(ctx), table(ctx, "sbatch"))
    if choice.wrap is not None:
        return options.ScriptText("", options.wrap_script(choice.wrap))
    path = find_file(ctx, choice.path or "")
    if path is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), choice.path)
    with open(path, "rb", opener=opener) as file:
        return options.ScriptText(choice.path or "", file.read(MAX_BYTES + 1))


def page_of(
    ctx: CommandContext,
    words: Sequence[str],
    name: str,
    engine: str,
    site: Site | None = None,
    submit_folder: str = "",
) -> pages.Page:
    """Build the page for an sbatch command line.

    ``site`` replaces the controller's site. ``submit_folder`` replaces the caller's working directory; it may hold
    several projects, and then the script's own project is its submit folder.
    """
    site = site or ctx.controller.site
    around, sbatch = read_context(ctx), table(ctx, "sbatch", site)
    refusal, exit_code, data, path = "", 0, b"", ""
    specs: tuple[JobSpec, ...] = ()
    try:
        script = read_script(ctx, words)
        data, path = script.data, script.path
        request = options.parse_sbatch(words, script, around, sbatch)
        specs = request.components
    except CommandError as error:
        refusal, exit_code = "\n".join(error.lines), error.exit_code
    except OSError as error:
        refusal = f"sbatch: error: Unable to open file {name}: {error.strerror or ''}".rstrip(": ")
        exit_code = 1
    home, user = ctx.env.get("HOME", ""), ctx.env.get("USER", "")
    sources = _folders_of(absolute(ctx, path), submit_folder or ctx.cwd)
    given = (specs[0].chdir if specs else None) or ""
    chdir = "" if given == ctx.cwd else given  # without --chdir it is the caller's folder
    if submit_folder:
        read, script_path = needs.of(pages.text_of(data)), absolute(ctx, path)
        beside = os.path.dirname(script_path)
        named = (*read.paths, chdir)
        own = pages.Project.of_script(script_path, submit_folder, named, home, user).folder
        submit_folder = beside if own == submit_folder and (read.above or _has_beside(beside, own, read)) else own
    partition = (specs[0].partition if specs else None) or ""
    default = site.cluster.default_partition
    chosen = engine or ctx.controller.engine.engine_name(partition.split(",")[0] or (default.name if default else ""))
    folder = chdir or submit_folder or ctx.cwd
    page = pages.explain(
        data, specs, site, sbatch, file=name, engine=chosen, refusal=refusal,
        lookup=local_lookup(ctx.env, folder, sources),
        packages=_of_files(packages, data, folder, path) if chosen == "sky" else NO_PACKAGES,
        languages=_of_files(named_packages, data, folder, path) if chosen == "sky" else (),
        project=pages.Project(submit_folder or ctx.cwd, home, folder, user),
    )  # fmt: skip
    if chosen == "sky" and specs:
        stays = credentials.line(credentials.left_out(ctx.env, specs[0], site.sky.credentials))
        page = replace(page, remarks=(*filter(None, (stays,)), *remarks(ctx, folder)))
    if page.unchanged and chosen == "local":
        refusal, exit_code = _submission_error(ctx, specs)
        return replace(page, refusal=refusal, exit_code=exit_code)
    rejects = any(found.kind == "directive" and found.effect == pages.REFUSED for found in page.findings)
    return replace(page, exit_code=exit_code or int(rejects))


def _has_beside(beside: str, top: str, read: needs.Needs) -> bool:
    """Return whether a script's files are beside it. The alternative is the folder of projects (``top``)."""
    names = [name for name in read.work_folder[1] if name]
    there, here = (any(os.path.lexists(os.path.join(one, name)) for name in names) for one in (top, beside))
    return here and not there


Found = TypeVar("Found", bound=tuple[object, ...])


def _of_files(read: Callable[[str, Path], Found], data: bytes, folder: str, path: str) -> Found:
    """Packages that the script's files name.

    The files are searched in the submit folder, else in the script's folder.
    """
    text = data.decode("utf-8", "replace")
    own, first = os.path.dirname(os.path.join(folder, path)), read(text, Path(folder))
    return first if any(first) or own == folder else read(text, Path(own))


def _submission_error(ctx: CommandContext, specs: Sequence[JobSpec]) -> tuple[str, int]:
    """sbatch's error and exit code for a job without resources.

    The job could not run on this machine. ("", 0) for no error. sbatch accepts a job that would wait for ever.
    """
    who = submitter(ctx)
    try:
        for spec in specs:
            account = account_of(ctx.controller.job_table, spec, who)
            ctx.controller.job_table.policy.qos_of(spec.qos, account, who.user)
            check(ctx.controller.job_table.cluster, spec, ctx.controller.clock())
            reason = waits_for_growth(ctx.controller.job_table.cluster, spec)
            if reason:
                return f"would wait for ever ({reason}): its partition has fewer nodes or CPUs than it requests", 0
    except SlurmError as error:
        lines = [*error.details, f"{WHAT}: {error.text}"]
        return "\n".join(f"sbatch: error: {line}" for line in lines), 1
    return "", 0


def _folders_of(script: str, top: str) -> list[str]:
    """Folders with sources of a script's programs: from its own up to ``top``."""
    found, folder = [top], os.path.dirname(script)
    while folder.startswith(top.rstrip("/") + "/"):
        found.append(folder)
        folder = os.path.dirname(folder)
    return found


def local_lookup(env: Mapping[str, str], folder: str, sources: Sequence[str] = ()) -> LocalLookup:
    """Lookup for a caller with these variables, submitting from ``folder``; ``sources`` are the project's folders."""

    def expand(text: str) -> str:
        home = env.get("HOME", "")
        text = home + text[1:] if text == "~" or text.startswith("~/") else text
        return os.path.join(folder, text)

    @cache
    def program(name: str) -> bool:
        return shutil.which(name, path=env.get("PATH", os.defpath)) is not None

    @cache
    def environments() -> frozenset[str]:
        home = Path(env.get("HOME", "/"))
        try:
            listed = (home / ".conda" / "environments.txt").read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError):
            listed = []
        folders = [Path(line) for line in listed if line]
        for variable in ("CONDA_PREFIX", "MAMBA_ROOT_PREFIX", "CONDA_ROOT"):
            if env.get(variable):
                folders += (Path(env[variable]) / "envs").glob("*")
        return frozenset(path.name for path in folders)

    def environment(name: str) -> bool:
        return os.path.exists(expand(name)) if "/" in name or name.startswith(".") else name in environments()

    return LocalLookup(
        path=lambda text: os.path.exists(expand(text)),
        program=program,
        environment=environment,
        variable=env.get,
        built=cache(lambda name: builds((folder, *sources), name)),
    )


PRICE_S = 3.0  # for one script; the answer is complete without prices
FOLDER_PATIENCE_S = 12.0  # for a folder of scripts
AT_ONCE = 4  # the optimizer runs in a few processes of SkyPilot's server

_Answer = tuple[Sequence[Mapping[str, str]], str]


async def with_price(ctx: CommandContext, page: pages.Page) -> pages.Page:
    """Add where one script could run, with prices."""
    if "GPU_TYPE" in page.task_yaml:
        return pages.with_prices(page, (), "no prices: a GPU type must be chosen first")
    rows, note = (await _answers(ctx, [page.task_yaml], PRICE_S))[page.task_yaml]
    return pages.with_prices(page, rows, note or "* marks SkyPilot's choice")


async def with_folder_prices(ctx: CommandContext, found: Sequence[pages.Page]) -> list[pages.Page]:
    """Add prices to a folder's scripts that would run on SkyPilot.

    Prices are given for on-demand and for spot nodes.
    """
    answers = await _answers(ctx, by_question(found), FOLDER_PATIENCE_S)
    return [pages.with_prices(page, *answers.get(page.price_question, (page.prices, page.prices_note)))
            for page in found]  # fmt: skip


async def _answers(ctx: CommandContext, questions: Sequence[str], patience_s: float) -> dict[str, _Answer]:
    """Optimizer's rows for each task, or a note without them."""
    if not questions:
        return {}
    late = f"no prices: SkyPilot did not answer within {patience_s:.0f} s"
    answers: dict[str, _Answer] = dict.fromkeys(questions, ((), late))
    service = registry.cloud_service(ctx.env, ctx.controller.site, ctx.env.get("USER", ""))
    if not service.configured:
        return dict.fromkeys(questions, ((), "no prices: SkyPilot is not set up for you"))
    waiting = iter(questions)

    async def ask() -> None:
        for task in waiting:
            answers[task] = await _answer(service, task)

    try:
        await asyncio.wait_for(asyncio.gather(*(ask() for _ in range(min(AT_ONCE, len(questions))))), patience_s)
    except asyncio.TimeoutError:
        pass  # questions without an answer keep the note
    finally:
        await service.close()
    return answers


async def _answer(service: CloudService, task: str) -> _Answer:
    try:
        rows = read_prices(await service.optimize(task))
    except EngineError as error:
        return (), f"no prices: {error}"
    return rows, "" if rows else "no prices: SkyPilot has none"
