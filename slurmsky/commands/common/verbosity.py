"""-v of the commands: parsed options, and the controller's work.

Source: _print_options of squeue, sinfo, sprio and sbcast; log levels of src/common/log.c.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from ...agent.process import resource_limits
from ...agent.srun.srun_verbose import options as option_lines
from ...controller.command_context import CommandContext
from ...model.job import Job
from ...options.requests import SinfoQuery, SqueueQuery
from ...report.fields.derived import node_list

_RULE = "-" * 29


def defined_options(ctx: CommandContext, given: Iterable[tuple[str, str]]) -> None:
    """Print the given options as sbatch and salloc do at -v."""
    for line in option_lines(given):
        ctx.info(line)


def debug(ctx: CommandContext, verbose: int, *lines: str) -> None:
    """Print the lines of -vv on stderr. The first line names the controller that answers."""
    if verbose < 2:
        return
    socket = ctx.controller.paths.socket
    for line in (f"answered by the controller of {ctx.controller.host}, pid {os.getpid()}, at {socket}", *lines):
        ctx.info(f"debug:  {line}")


def propagated(ctx: CommandContext) -> list[str]:
    """Resource limits and umask that the job inherits."""
    rows = resource_limits.of_process(ctx.request.pid).items()
    named = [f"propagating RLIMIT_{name}={soft if soft >= 0 else 2**64 - 1}" for name, (soft, _) in rows]
    return [*named, f"propagating UMASK={ctx.request.umask:04o}"]


def layout(job: Job) -> str:
    """The allocation, as salloc -vv describes it."""
    return f"laying out the {job.num_tasks} tasks on {len(job.shares)} hosts {node_list(job.nodes)}"


def listing(rows: Mapping[str, Any], width: int = 11) -> str:
    """Options and their values between two rules.

    >>> print(listing({"all": True, "names": ("a", "b"), "format": None}))
    -----------------------------
    all         = true
    names       = a,b
    format      = (null)
    -----------------------------
    """
    lines = [f"{name.ljust(width)} = {_text(value)}" for name, value in rows.items()]
    return "\n".join([_RULE, *lines, _RULE])


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "(null)" if value is None else str(value)


def squeue(query: SqueueQuery) -> str:
    """Options of squeue, as its -v prints them."""
    rows = {
        "all": query.all, "array": query.array, "federation": False, "format": query.format,
        "iterate": query.iterate or 0, "job_flag": int(query.jobs is not None), "jobs": query.jobs or None,
        "licenses": query.licenses, "local": False, "names": query.names, "nodes": query.nodelist or "",
        "only_job_state": query.only_job_state, "partitions": query.partitions, "priority": query.priority,
        "reservation": query.reservation or None, "sibling": False, "sort": query.sort, "start_flag": int(query.start),
        "states": query.states, "step_flag": int(query.steps is not None), "steps": query.steps or None,
        "users": query.users, "verbose": query.verbose,
    }  # fmt: skip
    return listing(rows) + "\n\n\n"


def sinfo(query: SinfoQuery) -> str:
    """Options of sinfo, as its -v prints them."""
    rows = {
        "dead": query.dead, "exact": int(query.exact), "filtering": bool(query.states or query.partitions),
        "format": query.format, "iterate": query.iterate or 0, "long": query.long, "no_header": query.noheader,
        "node_format": query.node, "nodes": query.nodelist or "n/a", "partition": query.partitions or "n/a",
        "responding": query.responding, "states": query.states, "sort": query.sort, "summarize": query.summarize,
        "verbose": query.verbose,
    }  # fmt: skip
    return listing(rows) + "\n\n"
