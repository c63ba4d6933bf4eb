"""sprio: reports no priority factors, as under priority/basic.

Source: src/sprio/sprio.c.
"""

from __future__ import annotations

from ..controller.command_context import CommandContext
from ..options import help as helps
from ..options.family import parse
from ..options.table import load
from ..options.usage_errors import CommandError, failure
from ..options.values import leading_int
from ..report.text.sprio_rows import NO_FACTORS
from .common import verbosity
from .common.caller_settings import find_user, read_context
from .common.command_errors import command
from .common.report_settings import known_cluster

#: fields of --format, in the order of --helpformat. Source: sprio/opts.c.
_LETTERS = "aAbBcfFijJnNopPrSqQuyYtT"


@command
def main(ctx: CommandContext) -> int:
    """Validate the request, then print the message of priority/basic."""
    request = parse("sprio", ctx.args, read_context(ctx))
    if request.get("long") and request.get("format") is not None:
        message = "Options -o(--format) and -l(--long) are mutually exclusive. Please remove one and retry."
        raise failure("sprio", message, level="fatal")
    # the list of -j may be the next word
    words = request.words[1:] if "jobs" in request.values and not request.values["jobs"] else request.words
    if words:
        raise CommandError((f"sprio: error: Unrecognized option: {words[0]}",), 1, helps.usage_text(load("sprio")))
    if not known_cluster(ctx, request.get("clusters")):
        return 1
    jobs = request.get("jobs") or (request.words[0] if request.words else "")
    for word in jobs.split(","):
        if word and leading_int(word) <= 0:
            ctx.error(f"Invalid job id: {word}")
            return 1
    if request.get("helpformat"):
        ctx.out(helps.in_columns([f"%{letter}" for letter in _LETTERS], 5, 8, " "))
        return 0
    for name in request.get("users", ()):
        if find_user(name) is None:
            ctx.error(f"Invalid user: {name}\n")
    for line in NO_FACTORS:
        ctx.err(line)
    if request.get("verbose"):
        rows = {"format": request.get("format"), "job_flag": int("jobs" in request.values), "jobs": jobs or None,
                "partition": None, "users": request.get("users"), "verbose": request.get("verbose")}  # fmt: skip
        ctx.out(verbosity.listing(rows, 10) + "\n\n")
    return 1
