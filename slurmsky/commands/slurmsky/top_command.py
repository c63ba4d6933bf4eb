"""slurmsky top: hands the caller's terminal to the live view."""

from __future__ import annotations

import importlib
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from ... import top
from ...controller.command_context import CommandContext
from .explain_command import split

USAGE = """Usage: slurmsky top [-i SECONDS]

  -i, --iterate=SECONDS   how often to ask (default 2; less often where answers take long)

The queue, the nodes, and of the chosen job its output, details and efficiency, live. Press ? for the keys.
"""
#: the oldest textual that this view is tested with
OLDEST = (8,)
_USUAL_S = 2.0
_QUICKEST_S = 0.5


def main(ctx: CommandContext) -> int:
    """Check that the view can be shown; the caller's process then becomes it."""
    call = split(ctx.args[1:], frozenset(("-h", "--help")), frozenset(("-i", "--iterate")))
    if call.flags or call.rest:
        ctx.out(USAGE)
        return 0 if call.flags and not call.rest else 1
    text = call.values.get("--iterate", call.values.get("-i", ""))
    try:
        interval_s = float(text) if text else _USUAL_S
    except ValueError:
        interval_s = -1.0
    if not 0 < interval_s < 1e6:
        ctx.err(f"slurmsky: top: Invalid --iterate specification: {text}")
        return 1
    problem = _problem(ctx)
    if problem:
        ctx.err(f"slurmsky: top {problem}")
        return 1
    program = os.path.join(os.path.dirname(top.__file__), "__main__.py")
    # -E: PYTHONPATH and such are meant for the caller's own Python.
    ctx.become([sys.executable, "-E", "-X", "utf8", program, str(max(interval_s, _QUICKEST_S))], ctx.env)
    return 0


def _problem(ctx: CommandContext) -> str:
    if not all(ctx.request.ttys) or ctx.env.get("TERM", "dumb") == "dumb":
        return "needs a terminal; squeue --iterate=2 repeats itself anywhere"
    importlib.invalidate_caches()  # it may have been installed since this process began
    try:
        found = tuple(int(part) for part in version("textual").split(".")[:1])
    except (PackageNotFoundError, ValueError):
        found = ()
    if found < OLDEST:
        pip = f"{sys.executable} -m pip install" if find_spec("pip") else f"uv pip install --python {sys.executable}"
        return f"needs textual, which is not installed here: {pip} 'textual>={OLDEST[0]}'"
    return ""
