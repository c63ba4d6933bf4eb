"""slurmsky status: state of the controller, its jobs and its engine."""

from __future__ import annotations

import asyncio
import json
import os
import resource
from typing import Any

import click

from ... import paths
from ...controller.command_context import CommandContext
from ...controller.daemon import read_site
from ...language import timelimit
from ...model.states import JobState
from ...site.record import SiteError
from ._base import SlurmskyCommand, in_controller

#: the controller keeps its configuration until then, as slurmctld does
STALE = "changed since: scontrol reconfigure"


async def record(ctx: CommandContext) -> dict[str, Any]:
    """The status as a record of values."""
    controller = ctx.controller
    job_table = controller.job_table
    jobs = [job_table.jobs[job_id] for job_id in job_table.active | job_table.pending]
    running = sum(job.state is not JobState.PENDING for job in jobs)
    pending = sum(job.pending_count or 1 for job in jobs if job.state is JobState.PENDING)  # array elements
    return {
        "controller": {"pid": os.getpid(), "up_s": int(controller.clock() - controller.started_at)},
        "state_folder": str(controller.paths.home),
        "site": controller.site.source or None,
        "site_changed": await site_changed(ctx),
        "cluster": controller.site.cluster.name,
        "engine": {"name": controller.usual.printed_name, "reason": controller.usual.reason},
        "nodes": {"up": sum(use.available for use in job_table.uses.values()), "all": len(job_table.nodes)},
        "nodes_down": [name for name, use in job_table.uses.items() if not use.available],
        "jobs": {"running": running, "pending": pending, "known": controller.store.count()},
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "mail_program": controller.site.cluster.mail_program or None,
        "log": str(controller.paths.log),
        "damaged_records": [f"{one.source} {one.key}" for one in controller.store.damage.found()],
        "problem": controller.store_problem,
    }


async def site_changed(ctx: CommandContext) -> bool:
    """Return whether the site file differs from the controller's; False for a faulty file."""
    controller = ctx.controller
    file = paths.site_file(controller.environment)
    try:
        if str(file or "") == controller.site.source and (file is None or file.stat().st_ctime < controller.started_at):
            return False
        # In a thread: the hardware that completes the file is detected by programs.
        found = await asyncio.to_thread(read_site, dict(controller.environment))
        return found != controller.configured_site
    except (SiteError, OSError):
        return False  # slurmsky site check reports the fault


def lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The status as lines of text."""
    controller, nodes, jobs = found["controller"], found["nodes"], found["jobs"]
    up = timelimit.format_seconds(controller["up_s"])
    rows = [
        ("controller", f"running, pid {controller['pid']}, up {up}"),
        ("state folder", found["state_folder"]),
        ("site", (found["site"] or "(no site file)") + (f"; {STALE}" if found["site_changed"] else "")),
        ("cluster", found["cluster"]),
        ("engine", f"{found['engine']['name']} ({found['engine']['reason']})"),
        ("nodes", f"{nodes['up']} of {nodes['all']} up"),
        ("jobs", f"{jobs['running']} running, {jobs['pending']} pending, {jobs['known']} known"),
        ("peak memory", f"{found['peak_memory_mib']} MiB"),
        ("log", found["log"]),
    ]
    rows += [("ok" if one["ok"] else "problem", one["text"]) for one in found["engines"]]
    return rows + ([("problem", found["problem"])] if found["problem"] else [])


@click.command(cls=SlurmskyCommand, example="slurmsky status --json | jq .jobs", page="troubleshooting")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
@in_controller
async def command(ctx: CommandContext, as_json: bool) -> int:
    """Show the controller's jobs, nodes and engine, with the reason for that engine.

    The exit code is 1 if the database cannot be written. If no controller runs, the command reports this and starts
    none.
    """
    found = await record(ctx)
    found["engines"] = [{"ok": good, "text": text} for good, text in await ctx.controller.engine.describe()]
    if as_json:
        ctx.out(json.dumps(found, indent=2) + "\n")
    else:
        for name, value in lines(found):
            ctx.out(f"{name + ':':<14} {value}\n")
    return 1 if found["problem"] else 0
