"""Warnings of sbatch: faults in sight that will end a job before its script begins."""

from __future__ import annotations

import os

from ..agent.cloud import private
from ..controller.command_context import CommandContext
from ..model.job import Job
from ..report.fields import derived


def warnings(ctx: CommandContext, job: Job, script: bytes) -> list[str]:
    """What would end the job if it started now; only where the job runs on the files that this machine sees.

    The folder may still be made before the job starts, so each is a warning, and none is printed for a folder whose
    name depends on the job's number: programs make such folders once sbatch has printed the number.
    """
    if not ctx.queue.engine.places_in(job.partition.partition(",")[0]):
        return remarks(ctx, job.submit_dir) if goes_to_a_cloud(ctx, job.partition.partition(",")[0]) else []
    found = []
    if not os.path.isdir(job.work_dir):
        found.append(f"its working folder {job.work_dir} does not exist: the job would run in /tmp")
    for use, pattern in (("output", job.stdout), ("error", job.stderr)):
        fault = _unwritable(derived.expand_path(pattern, job), pattern)
        if fault:
            found.append(f"its {use} file cannot be written: {fault}")
    name = derived.expand_path(job.stdin, job)
    if "%" not in job.stdin and not os.access(name, os.R_OK):
        found.append(f"its input file {name} {'cannot be read' if os.path.exists(name) else 'does not exist'}")
    interpreter = _interpreter(script)
    if interpreter and not os.access(interpreter, os.X_OK):
        fault = "cannot be executed" if os.path.exists(interpreter) else "is missing"
        found.append(f"its interpreter {interpreter} {fault}")
    return list(dict.fromkeys(found))


def goes_to_a_cloud(ctx: CommandContext, partition: str) -> bool:
    """True when jobs of the partition run on SkyPilot's nodes, to which the submit folder travels."""
    return ctx.queue.engine.engine_name(partition) == "sky"


def remarks(ctx: CommandContext, submit_dir: str) -> list[str]:
    """What of the submit folder is unusual for a job whose folder travels."""
    home = ctx.env.get("HOME") or os.path.expanduser("~")
    if not private.holds_home(submit_dir, home):
        return []
    where = "your home folder" if os.path.realpath(submit_dir) == os.path.realpath(home) else "above your home folder"
    advice = f"all of {submit_dir} but private files travels to the nodes; a project folder of its own is better"
    return [f"submitted from {where}: {advice}"]


def _unwritable(path: str, pattern: str) -> str:
    folder = os.path.dirname(path)
    if not path or "%" in os.path.dirname(pattern):
        return ""
    if not os.path.isdir(folder):
        return f"there is no folder {folder}"
    if os.path.isdir(path):
        return f"{path} is a folder"
    if not os.access(path if os.path.exists(path) else folder, os.W_OK):
        return f"{path}: Permission denied"
    return ""


def _interpreter(script: bytes) -> str:
    """The absolute path behind ``#!``; "" for none."""
    words = script[2 : script.find(b"\n")].split() if script.startswith(b"#!") else []
    name = os.fsdecode(words[0]) if words else ""
    return name if name.startswith("/") else ""
