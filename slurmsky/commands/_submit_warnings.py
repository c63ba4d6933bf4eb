"""sbatch warnings: faults that would end a job at its start."""

from __future__ import annotations

import os

from ..agent.cloud import private
from ..controller.command_context import CommandContext
from ..model.job import Job
from ..report.fields import derived
from . import _files


async def warnings(ctx: CommandContext, job: Job, script: bytes) -> list[str]:
    """Find the faults of a submission. The list is empty if a network file system with the job's files hangs."""
    names = [derived.expand_path(pattern, job) for pattern in (job.stdout, job.stderr, job.stdin)]
    names += [os.path.join(folder, "x") for folder in (job.work_dir, job.submit_dir)]
    return await _files.check(lambda: _faults(ctx, job, script), [*names, _interpreter(script)], [])


def _faults(ctx: CommandContext, job: Job, script: bytes) -> list[str]:
    """Find the faults that would end the job if it started now.

    Only the files of this machine are checked. They concern jobs that use this machine's files. A fault may be
    corrected before the job starts, so it is a warning only.
    """
    engine, partition = ctx.controller.engine, job.partition.partition(",")[0]
    found = [] if engine.on_this_machine(partition) else remarks(ctx, job.submit_dir)
    if not engine.places_in(partition):
        return found
    written = {
        use: derived.expand_path(pattern, job) for use, pattern in (("output", job.stdout), ("error", job.stderr))
    }
    if not (os.path.isdir(job.work_dir) and os.access(job.work_dir, os.X_OK)):
        exists = os.path.exists(job.work_dir)
        lost = any(os.path.dirname(path) == job.work_dir for path in written.values())
        fault = "cannot be entered" if exists else "does not exist"
        effect = "the job cannot start, because its output is written there" if lost else "the job would run in /tmp"
        if exists or not lost:  # the first output file in a missing folder creates it
            found.append(f"the job's working folder {job.work_dir} {fault}: {effect}")
    for use, path in written.items():
        fault = _unwritable(path)
        if fault and not (found and os.path.dirname(path) == job.work_dir):
            found.append(f"the job's {use} file cannot be written: {fault}")
    name = derived.expand_path(job.stdin, job)
    if "%" not in job.stdin and not os.access(name, os.R_OK):
        found.append(f"the job's input file {name} {'cannot be read' if os.path.exists(name) else 'does not exist'}")
    interpreter = _interpreter(script)
    if interpreter and not (os.access(interpreter, os.X_OK) and os.path.isfile(interpreter)):
        fault = "cannot be executed" if os.path.exists(interpreter) else "is missing"
        found.append(f"the script's interpreter {interpreter} {fault}")
    return list(dict.fromkeys(found))


def remarks(ctx: CommandContext, submit_dir: str) -> list[str]:
    """Remarks on a submit folder that is copied to the nodes."""
    home = ctx.env.get("HOME") or os.path.expanduser("~")
    if not private.holds_home(submit_dir, home):
        return []
    where = "your home folder" if os.path.realpath(submit_dir) == os.path.realpath(home) else "above your home folder"
    advice = f"all files of {submit_dir} except private ones are copied to the nodes; submit from a project folder"
    return [f"submitted from {where}: {advice}"]


def _unwritable(path: str) -> str:
    """Return why the agent cannot open an output file, or "". The agent creates missing folders."""
    if not path:
        return ""
    if os.path.isdir(path):
        return f"{path} is a folder"
    existing = path
    while not os.path.exists(existing):
        existing = os.path.dirname(existing)
    if existing != path and not os.path.isdir(existing):
        return f"{existing} is not a folder"
    return "" if os.access(existing, os.W_OK) else f"{path}: Permission denied"


def _interpreter(script: bytes) -> str:
    """Absolute path of the interpreter in the ``#!`` line, or ""."""
    words = script[2 : script.find(b"\n")].split() if script.startswith(b"#!") else []
    name = os.fsdecode(words[0]) if words else ""
    return name if name.startswith("/") else ""
