"""scrontab: jobs that recur at given times.

Source: src/scrontab/scrontab.c, opt.c, env.c.
"""

from __future__ import annotations

import os
import pwd
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ..controller.command_context import CommandContext
from ..controller.jobs.job_spool import Payload
from ..controller.jobs.submitter import admit
from ..controller.rules.submit_checks import check
from ..controller.services.crontab import CrontabEntry
from ..controller.slurm_errors import SlurmError
from ..controller.store.database_file import StoreError
from ..language import cronspec
from ..model.spec import JobSpec
from ..options import submit as options
from ..options.family import parse
from ..options.usage_errors import CommandError, Printed, failure
from ..protocol import wire
from ._files import read
from .common.caller_settings import find_user, read_context, submitter
from .common.command_errors import streaming
from .common.site_options import table
from .sbatch import job_environment

_USAGE = """Usage:
 scrontab [options] file
 scrontab [options]

 Manage recurring jobs.

Options:
 -e         edit your crontab
 -l         show your crontab
 -r         remove your crontab
 -u <user>  the user whose crontab is meant
 -v         verbose
"""
#: initial text in the editor when no table exists
_EMPTY = """# Lines that begin with # are comments, but for #SCRON lines: they hold options as of sbatch
# for the one entry that follows them.
#
# minute hour day-of-month month day-of-week command
"""
_HEAD = "#!/bin/sh\n# This job was submitted through scrontab\n"
_VARIABLE = re.compile(r"[ \t]*(\w+)[ \t]*=[ \t]*(?:(['\"])(.*?)\2[ \t]*|([^'\"].*))\Z")
_MAX_FILE_BYTES = 4 << 20


class _InvalidTable(Exception):
    """Error of a table: its invalid lines, counted from 1."""

    def __init__(self, lines: range, *messages: str) -> None:
        super().__init__(*messages)
        self.lines = lines


@dataclass(frozen=True)
class _Job:
    """A table entry with its options, ready for submission."""

    spec: JobSpec
    when: cronspec.CronSpec
    script: str
    lines: range


@streaming
async def main(ctx: CommandContext) -> int:
    """Show, remove, edit or install the table."""
    try:
        request = parse("scrontab", ctx.args, read_context(ctx))
    except Printed:
        raise
    except CommandError:
        ctx.err(_USAGE.rstrip("\n"))
        return 1
    user = request.get("user")
    if user is not None:
        uid = find_user(user)
        if uid is None:
            raise failure("scrontab", f"Could not find user {user}", level="fatal")
        if uid != os.geteuid():
            verb = "request" if request.get("list") else "remove" if request.get("remove") else "update"
            raise failure("scrontab", f"slurm_{verb}_crontab failed: Access/permission denied", level="fatal")
    crontab = ctx.controller.crontab
    terminal = ctx.request.ttys[0]
    modes = [mode for mode in ("edit", "list", "remove") if request.get(mode)]
    if (modes and request.words) or len(request.words) > 1:
        ctx.err(_USAGE.rstrip("\n"))
        return 1
    if "edit" in modes and not terminal:
        raise failure("scrontab", "Standard input is not a TTY", level="fatal")
    if "remove" in modes:
        crontab.remove()
        return 0
    if "list" in modes:
        text = crontab.printed_table()
        if text is None:
            ctx.out(f"no crontab for {pwd.getpwuid(os.geteuid()).pw_name}\n")
            return 1
        ctx.out(text)
        return 0
    if not modes and (request.words or not terminal):
        return _install(ctx, await _given(ctx, request.words[0] if request.words else "-"))
    return await _edit(ctx)


async def _given(ctx: CommandContext, name: str) -> str:
    if name == "-":
        return (await ctx.read_stdin(_MAX_FILE_BYTES)).decode("utf-8", "surrogateescape")
    try:
        return (await read(ctx, [name], _MAX_FILE_BYTES)).data.decode("utf-8", "surrogateescape")
    except OSError:
        raise failure("scrontab", f"failed to open {name}", level="fatal") from None


async def _edit(ctx: CommandContext) -> int:
    """Run the caller's editor on a copy of the table.

    After an error in the copy, the editor runs again if the caller agrees.
    """
    before = ctx.controller.crontab.printed_table()
    text = before if before is not None else _EMPTY
    while True:
        text = await _edited(ctx, text)
        if text == before:
            ctx.info("No modification made")
            return 0
        try:
            return _replace(ctx, text)
        except _InvalidTable as bad:
            text = "".join(("#BAD: " if number in bad.lines else "") + line + "\n"
                           for number, line in enumerate(text.splitlines(), 1))  # fmt: skip
            before = None
            for line in bad.args:
                ctx.err(line)
            answer = ""
            while answer not in ("y", "n"):
                ctx.out("There are errors in your crontab.\nThe failed line(s) is commented out with #BAD:\n"
                        "Do you want to retry the edit? (y/n) ")  # fmt: skip
                line = await ctx.read_line()
                answer = line.strip()[:1].lower() if line else "n"
            if answer == "n":
                return 0


async def _edited(ctx: CommandContext, text: str) -> str:
    folder = ctx.env.get("TMPDIR") or "/tmp"
    try:
        handle, name = tempfile.mkstemp(prefix="scrontab-", dir=folder)
    except OSError as error:
        raise failure("scrontab", f"error creating temp crontab file '{folder}/scrontab-XXXXXX': {error.strerror}",
                      level="fatal") from None  # fmt: skip
    try:
        with open(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
        editor = ctx.env.get("VISUAL") or ctx.env.get("EDITOR") or "vi"
        ctx.spawn([editor, name], ctx.env)
        while True:
            frame = await ctx.frame()
            if frame.kind == wire.CHILD_STATUS:
                break
        if frame.payload != b"0":
            raise failure("scrontab", "editor returned non-zero exit code", level="fatal")
        with open(name, encoding="utf-8", errors="surrogateescape") as file:
            return file.read(_MAX_FILE_BYTES)
    finally:
        try:
            os.unlink(name)
        except FileNotFoundError:
            pass  # the editor moved the file


def _install(ctx: CommandContext, text: str) -> int:
    try:
        return _replace(ctx, text)
    except _InvalidTable as bad:
        for line in bad.args:
            ctx.err(line)
        ctx.out("There are errors in your crontab.\n")
        return 1


def _replace(ctx: CommandContext, text: str) -> int:
    """Submit a table's jobs and replace the old table.

    Raises _InvalidTable. The old table stays if the new one has an error.
    """
    controller = ctx.controller
    jobs = _jobs(ctx, text)
    now = controller.clock()
    for job in jobs:
        try:
            check(controller.job_table.cluster, job.spec, now, controller.job_table.engine_check)
        except SlurmError as error:
            raise _InvalidTable(job.lines, *(f"scrontab: error: {line}" for line in error.details),
                       f"There was an issue with the job submission on lines {job.lines[0]}-{job.lines[-1]}",
                       f"The error message was: {error.text}") from error  # fmt: skip
    entries: list[CrontabEntry] = []
    environment = job_environment(ctx, "NONE")
    environment.pop("SLURM_EXPORT_ENV", None)
    who = replace(submitter(ctx), cwd=pwd.getpwuid(os.geteuid()).pw_dir)
    try:
        for job in jobs:
            start = job.when.after(datetime.fromtimestamp(now))
            assert start is not None  # validation ensured that the entry has a next time
            spec = job.spec.evolve(begin=int(start.timestamp()))
            payload = Payload(job.script.encode("utf-8", "surrogateescape"), "", (), environment, 0o022, {})
            record = admit(controller.job_table, [spec], payload, who, controller.paths.jobs)
            record.cron = job.when.text
            controller.job_table.touch(record)
            entries.append(CrontabEntry(record.job_id, job.lines[0], job.lines[-1]))
        controller.flush()
        controller.crontab.replace(text, entries)
    except (OSError, StoreError) as error:
        raise failure("scrontab", f"slurm_update_crontab failed: {error}", level="fatal") from error
    controller.schedule_soon()
    return 0


def _jobs(ctx: CommandContext, text: str) -> list[_Job]:
    """Parse the entries of a table, with their options and variables. Raises _InvalidTable."""
    variables: dict[str, str] = {}
    found: list[_Job] = []
    pending: list[str] = []  # #SCRON lines of the next entry
    first = 0
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.lstrip(" \t")
        if not stripped:
            continue
        if stripped.startswith("#SCRON"):
            first = first or number
            pending.append(line)
            continue
        if stripped.startswith("#"):
            continue
        variable = _VARIABLE.match(stripped)
        if variable:
            variables[variable[1]] = variable[3] if variable[2] else variable[4]
            continue
        lines = range(first or number, number + 1)
        try:
            when = cronspec.parse(stripped)
        except cronspec.CronSpecError as error:
            messages = (f"scrontab: error: {error.message}",) if error.message else ()
            raise _InvalidTable(lines, *messages, "scrontab: error: something is broken") from error
        for name, value in variables.items():
            when = replace(when, command=when.command.replace(f"${name}", value))
        script = (f"{_HEAD}{''.join(option + chr(10) for option in pending)}"
                  f"# crontab time request was: '{when.text}'\n{when.command}\n")  # fmt: skip
        found.append(_Job(_spec(ctx, pending, when, lines), when, script, lines))
        pending, first = [], 0
    return found


def _spec(ctx: CommandContext, pending: Sequence[str], when: cronspec.CronSpec, lines: range) -> JobSpec:
    directives = "".join("#SBATCH" + line.lstrip(" \t")[len("#SCRON") :] + "\n" for line in pending)
    program = when.command.partition(" ")[0]
    script = options.ScriptText(program, f"#!/bin/sh\n{directives}\n".encode("utf-8", "surrogateescape"))
    home = pwd.getpwuid(os.geteuid()).pw_dir
    around = replace(read_context(ctx), env={}, cwd=home)  # the caller's SBATCH_* variables are ignored
    try:
        request = options.parse_sbatch([], script, around, table(ctx, "sbatch"))
    except CommandError as error:
        raise _InvalidTable(lines, *(re.sub(r"^sbatch:", "scrontab:", line) for line in error.lines)) from error
    spec = request.components[0]
    if spec.array or len(request.components) > 1:
        raise _InvalidTable(lines, "scrontab: error: Invalid job array specification")
    # Without -J sbatch uses the base name of the script; scrontab uses the whole first word.
    return spec.evolve(job_name=program) if spec.job_name == os.path.basename(program) else spec
