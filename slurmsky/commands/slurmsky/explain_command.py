"""slurmsky explain: what each line of a script, or of a folder of scripts, becomes here."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...controller.command_context import CommandContext
from ...controller.jobs.submitter import account_of, check, outgrown
from ...controller.slurm_errors import SlurmError
from ...engines.sky import api_server
from ...engines.sky.api_client import SkyError
from ...model.spec import JobSpec
from ...options import submit as options
from ...options.usage_errors import CommandError
from ...translate import credentials, explainprint
from ...translate import explain as pages
from ...translate.pythonpackages import packages
from .._files import opener
from .._foresight import remarks
from ..common.caller_settings import submitter, surroundings
from ..common.command_errors import absolute
from ..common.site_options import table
from ..sbatch import WHAT, find_file
from .local_lookup import here

USAGE = """Usage: slurmsky explain [OPTIONS] [sbatch options] SCRIPT|FOLDER

  --json, --html      instead of text
  --engine=local|sky  as it would be there (default: where sbatch would send it)
  --no-prices         do not ask SkyPilot for prices
  -o FILE             write there

What each directive, module line, variable, program, environment and path of a script becomes here: kept,
changed, no effect, not here, to decide, refused. A folder gives one table with the share of scripts that run unchanged.
Nothing is run and nothing is submitted.
"""
MAX_SCRIPTS = 5000
MAX_BYTES = 4 << 20
PATIENCE_S = 30.0
_NOT_ENTERED = (".git", ".hg", ".svn", "node_modules", "__pycache__", ".venv", ".tox")
#: files that quote directives of others
_DOCUMENTS = (".md", ".rst", ".py", ".ipynb", ".html", ".txt", ".tex", ".adoc", ".yaml", ".yml", ".json", ".toml", ".c")
_SUFFIXES = (".sbatch", ".slurm", ".sl", ".job")


@dataclass
class Call:
    """explain's and translate's own options; ``rest`` is a command line for sbatch."""

    flags: frozenset[str]
    values: dict[str, str]
    rest: tuple[str, ...]


def split(words: Sequence[str], flags: frozenset[str], values: frozenset[str], behind: bool = False) -> Call:
    """Own options in front of sbatch's command line; with ``behind`` flags also at its end."""
    found: set[str] = set()
    given: dict[str, str] = {}
    rest = list(words)
    while rest:
        name, equals, value = rest[0].partition("=")
        if name in values and (equals or len(rest) > 1):
            given[name] = value if equals else rest[1]
            del rest[: 1 if equals else 2]
        elif rest[0] in flags:
            found.add(rest.pop(0))
        else:
            break
    while behind and len(rest) > 1 and rest[-1] in flags:
        found.add(rest.pop())
    return Call(frozenset(found), given, tuple(rest))


async def main(ctx: CommandContext) -> int:
    """Print the page of a script, or the table of a folder; exit code 1 where nothing could be read."""
    call = split(
        ctx.args[1:],
        frozenset(("--json", "--html", "--no-prices", "-h", "--help")),
        frozenset(("--engine", "-o", "--output-file")),
        behind=True,
    )
    if call.flags & {"-h", "--help"} or not call.rest:
        ctx.out(USAGE)
        return 0 if call.rest or call.flags else 1
    engine = call.values.get("--engine", "")
    if engine not in ("", "local", "sky"):
        ctx.err(f"slurmsky: explain: --engine is local or sky, not {engine}")
        return 1
    folder = absolute(ctx, call.rest[-1])
    if os.path.isdir(folder):
        files = await asyncio.to_thread(scripts_in, folder)
        if not files:
            ctx.err(f"slurmsky: explain: no batch scripts in {call.rest[-1]}")
            return 1
        found = []
        for file in files:
            words = (*call.rest[:-1], file)
            found.append(await asyncio.to_thread(_page, ctx, words, os.path.relpath(file, folder), engine))
        text = _printed(found, call.flags, True)
    else:
        choice = _choice(ctx, call.rest)
        if choice is not None and find_file(ctx, choice) is None:
            ctx.err(f"slurmsky: explain: {choice}: No such file or directory")
            return 1
        page = await asyncio.to_thread(_page, ctx, call.rest, os.path.basename(choice or "script"), engine)
        if page.engine == "sky" and page.task_yaml and "--no-prices" not in call.flags:
            page = await _prices(ctx, page)
        text = _printed([page], call.flags, False)
    return write(ctx, text, call.values.get("-o") or call.values.get("--output-file", ""))


def _printed(found: list[pages.Page], flags: frozenset[str], folder: bool) -> str:
    if "--json" in flags:
        return explainprint.to_json(found, folder)
    if "--html" in flags:
        return explainprint.to_html(found)
    return explainprint.table_text(found) if folder else explainprint.page_text(found[0])


def write(ctx: CommandContext, text: str, file: str) -> int:
    """To stdout or to the file that was named."""
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
    """The batch scripts below a folder: what holds directives, or has a batch script's suffix."""
    found: list[str] = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _NOT_ENTERED)
        for name in sorted(names):
            path = os.path.join(root, name)
            if len(found) >= MAX_SCRIPTS:
                return found
            try:
                if not os.path.isfile(path) or os.path.getsize(path) > MAX_BYTES:
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


def _choice(ctx: CommandContext, words: Sequence[str]) -> str | None:
    try:
        return options.find_script(words, surroundings(ctx), table(ctx, "sbatch")).path
    except CommandError:
        return None


def read_script(ctx: CommandContext, words: Sequence[str]) -> options.ScriptText:
    """The script that a command line of sbatch names. Raises CommandError, OSError."""
    choice = options.find_script(words, surroundings(ctx), table(ctx, "sbatch"))
    if choice.wrap is not None:
        return options.ScriptText("", options.wrap_script(choice.wrap))
    path = find_file(ctx, choice.path or "")
    if path is None:
        raise FileNotFoundError(choice.path)
    with open(path, "rb", opener=opener) as file:
        return options.ScriptText(choice.path or "", file.read(MAX_BYTES + 1))


def _page(ctx: CommandContext, words: Sequence[str], name: str, engine: str) -> pages.Page:
    around, sbatch = surroundings(ctx), table(ctx, "sbatch")
    site = ctx.queue.site
    refusal, data, path = "", b"", ""
    specs: tuple[JobSpec, ...] = ()
    try:
        script = read_script(ctx, words)
        data, path = script.data, script.path
        request = options.parse_sbatch(words, script, around, sbatch)
        specs = request.components
    except CommandError as error:
        refusal = "\n".join(error.lines)
    except OSError as error:
        refusal = f"sbatch: error: Unable to open file {name}: {error.strerror or ''}".rstrip(": ")
    partition = (specs[0].partition if specs else None) or ""
    default = site.cluster.default_partition
    chosen = engine or ctx.queue.engine.engine_name(partition.split(",")[0] or (default.name if default else ""))
    folder = (specs[0].chdir if specs else None) or ctx.cwd
    page = pages.explain(
        data, specs, site, sbatch, file=name, engine=chosen, refusal=refusal,
        here=here(ctx.env, folder), packages=_packages(data, folder, path) if chosen == "sky" else (),
    )  # fmt: skip
    if chosen == "sky" and specs:
        stays = credentials.line(credentials.left_out(ctx.env, specs[0], site.sky.credentials))
        page = replace(page, remarks=(*filter(None, (stays,)), *remarks(ctx, specs[0].chdir or ctx.cwd)))
    return replace(page, refusal=_objection(ctx, specs)) if page.unchanged and chosen == "local" else page


def _packages(data: bytes, folder: str, path: str) -> tuple[str, ...]:
    """Packages that the Python files of a script need, from the submit folder or the script's own."""
    text = data.decode("utf-8", "replace")
    own = os.path.dirname(os.path.join(folder, path))
    return packages(text, Path(folder)) or (packages(text, Path(own)) if own != folder else ())


def _objection(ctx: CommandContext, specs: Sequence[JobSpec]) -> str:
    """What sbatch would say where the queue does not take the job on this machine's nodes; "" where it does."""
    who = submitter(ctx)
    try:
        for spec in specs:
            account = account_of(ctx.queue.book, spec, who)
            ctx.queue.book.policy.qos_of(spec.qos, account)
            check(ctx.queue.book.cluster, spec, ctx.queue.clock())
            reason = outgrown(ctx.queue.book.cluster, spec)
            if reason:
                return f"would wait for ever ({reason}): its partition has fewer nodes or CPUs than it asks for"
    except SlurmError as error:
        lines = [*error.details, f"{WHAT}: {error.text}"]
        return "\n".join(f"sbatch: error: {line}" for line in lines)
    return ""


async def _prices(ctx: CommandContext, page: pages.Page) -> pages.Page:
    """What SkyPilot's optimizer says, where its server answers in time."""
    if "GPU_TYPE" in page.task_yaml:
        return pages.with_prices(page, (), "no prices: a GPU type must be chosen first")
    if not api_server.is_set_up(ctx.env, ctx.queue.site):
        return pages.with_prices(page, (), "no prices: SkyPilot is not set up for you")
    client = api_server.connect(ctx.env, ctx.queue.site, ctx.env.get("USER", ""))
    try:
        text = await asyncio.wait_for(client.optimize(page.task_yaml), PATIENCE_S)
    except asyncio.TimeoutError:
        return pages.with_prices(page, (), f"no prices: SkyPilot did not answer within {PATIENCE_S:.0f} s")
    except SkyError as error:
        return pages.with_prices(page, (), f"no prices: {error}")
    rows = pages.read_prices(text)
    note = "* is what SkyPilot would take" if rows else "no prices: SkyPilot showed none"
    return pages.with_prices(page, rows, note)
