"""slurmsky status|stop|doctor: the controller itself; top: the live view; explain|translate|site: moving here."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import sys

from ...controller.command_context import CommandContext
from ...language import timelimit
from ..common.command_errors import streaming

USAGE = """Usage: slurmsky COMMAND

  status    what the controller is doing
  stop      end the controller; running jobs go on and are found again
  top       the queue, the nodes and a job's output, live in this terminal
  doctor    check this installation and say what to do about what is wrong
  explain   what each line of a batch script, or of a folder of them, becomes here
  translate the SkyPilot YAML for a batch script, to keep
  report    JOB... | --since WHEN: one HTML page with a timeline, use, waiting, cost
  why       JOB: why it waits or how it ended, and what to do
  site      check | init: the site file, proved or written
  completion bash   a script that completes the words of all commands: source <(slurmsky completion bash)
  man       COMMAND: its manual page, for man -l -
  version   print the version
"""


@streaming
async def main(ctx: CommandContext) -> int:
    """Dispatch on the first word."""
    word = ctx.args[0] if ctx.args else "help"
    if word in ("help", "-h", "--help"):
        ctx.out(USAGE)
        return 0
    if word in ("version", "-V", "--version"):
        from ... import __version__

        ctx.out(f"slurmsky {__version__}\n")
        return 0
    if word == "status":
        return _status(ctx)
    if word == "stop":
        asyncio.get_running_loop().call_later(0.02, ctx.queue.stop)
        return 0
    if word == "doctor":
        return _doctor(ctx)
    if word == "top":
        from .top_command import main as top

        return top(ctx)
    if word == "explain":
        from .explain_command import main as explain

        return await explain(ctx)
    if word == "translate":
        from .translate_command import main as translate

        return await translate(ctx)
    if word == "report":
        from .report_command import main as report

        return await report(ctx)
    if word == "why":
        from .why_command import print_answers

        return await print_answers(ctx, [one for one in ctx.args[1:] if one != "--json"], "--json" in ctx.args)
    if word == "site":
        from .site_command import main as site

        return await site(ctx)
    if word == "completion" and list(ctx.args[1:]) == ["bash"]:
        from ...options import completion

        ctx.out(completion.bash())
        return 0
    if word == "man" and len(ctx.args) == 2 and f"{ctx.args[1]}.1" in (pages := _pages()):
        ctx.out(pages[f"{ctx.args[1]}.1"])
        return 0
    ctx.err(f"slurmsky: unknown command: {' '.join(ctx.args)}")
    ctx.err("Try 'slurmsky help' for more information")
    return 1


def _pages() -> dict[str, str]:
    from ...options import manual

    return manual.pages()


def _status(ctx: CommandContext) -> int:
    queue = ctx.queue
    book = queue.book
    up = timelimit.format_seconds(int(queue.clock() - queue.started_at))
    rows = [
        ("controller", f"running, pid {os.getpid()}, up {up}"),
        ("state folder", str(queue.paths.home)),
        ("site", queue.site.source or "(no site file)"),
        ("cluster", queue.site.cluster.name),
        ("engine", f"{queue.usual.shown} ({queue.usual.reason})"),
        ("nodes", f"{sum(use.available for use in book.uses.values())} of {len(book.nodes)} up"),
        ("jobs", f"{len(book.active)} running, {len(book.pending)} pending, {queue.store.count()} known"),
        ("memory", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB at most"),
    ]
    if queue.store_problem:
        rows.append(("problem", queue.store_problem))
    for name, value in rows:
        ctx.out(f"{name + ':':<14} {value}\n")
    return 1 if queue.store_problem else 0


def _doctor(ctx: CommandContext) -> int:
    queue = ctx.queue
    findings: list[tuple[bool, str]] = []
    findings.append((sys.version_info >= (3, 10), f"Python {sys.version.split()[0]} at {sys.executable}"))
    free = shutil.disk_usage(queue.paths.home).free >> 20
    findings.append((free > 100, f"{free} MiB free for the state folder {queue.paths.home}"))
    mode = queue.paths.home.stat().st_mode & 0o777
    findings.append((mode & 0o077 == 0, f"state folder has mode {mode:04o}"))
    findings.append((queue.store_problem is None, queue.store_problem or "the queue database can be written"))
    damaged = queue.store.damage.found()
    names = ", ".join(f"{one.source} {one.key}" for one in damaged[:5]) + (", ..." if len(damaged) > 5 else "")
    text = f"{len(damaged)} damaged records of the database were set aside: {names}"
    findings.append((not damaged, text if damaged else "all records of the database can be read"))
    first = shutil.which("sbatch", path=ctx.env.get("PATH", ""))
    ours = (
        queue.bin_dir is not None
        and first is not None
        and (os.path.dirname(os.path.realpath(first)) == os.path.realpath(queue.bin_dir))
    )
    hint = "" if ours else f"; put {queue.bin_dir} first on PATH for tools that call Slurm's commands"
    findings.append((ours, f"sbatch on PATH: {first or 'none'}{hint}"))
    mail = queue.site.cluster.mail_program or shutil.which("mail")
    findings.append((bool(mail), f"mail program: {mail or 'none: --mail-type is recorded but nothing is sent'}"))
    down = [name for name, use in queue.book.uses.items() if not use.available]
    findings.append((not down, f"nodes down or drained: {', '.join(down)}" if down else "all nodes are up"))
    for good, text in findings:
        ctx.out(f"{'ok  ' if good else 'LOOK'}  {text}\n")
    return 0 if all(good for good, _ in findings) else 1
