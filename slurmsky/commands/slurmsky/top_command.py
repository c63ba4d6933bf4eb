"""slurmsky top: runs the live view in the caller's terminal."""

from __future__ import annotations

import importlib
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import click

from ... import top
from ...controller.command_context import CommandContext
from ._base import SlurmskyCommand, failed, in_controller

#: the oldest version of textual that the view supports
OLDEST = (8,)
_USUAL_S = 2.0
_QUICKEST_S = 0.5


@click.command(cls=SlurmskyCommand, example="slurmsky top -i 5", page="guide")
@click.option("-i", "--iterate", metavar="SECONDS", default=str(_USUAL_S), show_default=True,
              help="Time between queries; longer if replies are slow.")  # fmt: skip
@in_controller
def command(ctx: CommandContext, iterate: str) -> int:
    """Show the queue, the nodes, and a job's output, details and efficiency, live. Press ? for the keys."""
    try:
        interval_s = float(iterate)
    except ValueError:
        interval_s = -1.0
    if not 0 < interval_s < 1e6:
        raise failed(f"slurmsky: top: Invalid --iterate specification: {iterate}")
    problem = _problem(ctx)
    if problem:
        ctx.err(f"slurmsky: top {problem}")
        return 1
    program = os.path.join(os.path.dirname(top.__file__), "__main__.py")
    # -E, because PYTHONPATH and similar variables belong to the caller's own Python
    ctx.become([sys.executable, "-E", "-X", "utf8", program, str(max(interval_s, _QUICKEST_S))], ctx.env)
    return 0


def _problem(ctx: CommandContext) -> str:
    if not all(ctx.request.ttys) or ctx.env.get("TERM", "dumb") == "dumb":
        return "needs a terminal; squeue --iterate=2 repeats itself anywhere"
    importlib.invalidate_caches()  # textual may have been installed after this process started
    try:
        found = tuple(int(part) for part in version("textual").split(".")[:1])
    except (PackageNotFoundError, ValueError):
        found = ()
    if found < OLDEST:
        pip = f"{sys.executable} -m pip install" if find_spec("pip") else f"uv pip install --python {sys.executable}"
        return f"needs textual, which is not installed here: {pip} 'textual>={OLDEST[0]}'"
    return ""
