"""--json and --yaml: choice of the form, and output.

Source: src/interfaces/data_parser.c.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ...controller.command_context import CommandContext
from ...options.family import FamilyRequest
from ...options.usage_errors import failure
from ...report.json import data_parser
from ...report.json.data_parser import BadForm, OutputForm
from .caller_settings import group_name, user_name

#: builds the document from the document module and the meta block
Build = Callable[[Any, Any], Any]


def as_data(request: FamilyRequest) -> bool:
    """Return whether --json or --yaml was given."""
    return "json" in request.values or "yaml" in request.values


def check_style(ctx: CommandContext, json: str | None, yaml: str | None) -> None:
    """Raise CommandError for an invalid SLURM_JSON or SLURM_YAML. Slurm checks these variables first."""
    for given, name in ((json, "SLURM_JSON"), (yaml, "SLURM_YAML")):
        if json is None and yaml is None:
            return
        if given is not None:
            _style(ctx, name)


def _style(ctx: CommandContext, name: str) -> str:
    text = ctx.env.get(name)
    try:
        return data_parser.style(text)
    except ValueError:
        message = f'Unable to parse serializer "{text}" flags: Invalid argument'
        raise failure(ctx.command, message, level="fatal") from None


def _form(ctx: CommandContext, json: str | None, yaml: str | None) -> OutputForm:
    """Form of --json or --yaml; the last of several options wins."""
    if json is not None and yaml is not None:
        last = [word[:3] for word in ctx.args if word.startswith(("--j", "--y"))][-1:]
        json, yaml = (json, None) if last == ["--j"] else (None, yaml)
    name = "SLURM_JSON" if yaml is None else "SLURM_YAML"
    return data_parser.parse_form((json if yaml is None else yaml) or "", yaml is not None, _style(ctx, name))


async def send(ctx: CommandContext, json: str | None, yaml: str | None, make: Build) -> int:
    """Print a document in pieces, at the caller's reading pace."""
    pieces = _pieces(ctx, json, yaml, make)
    if pieces is None:
        return 1
    await ctx.out_lines(iter(pieces), 1)
    return 0


def write(ctx: CommandContext, json: str | None, yaml: str | None, make: Build) -> int:
    """Print a document in one call."""
    pieces = _pieces(ctx, json, yaml, make)
    if pieces is None:
        return 1
    for piece in pieces:
        ctx.out(piece)
    return 0


def document(ctx: CommandContext, request: FamilyRequest, name: str, records: Any) -> int:
    """Print one record or several under their key."""
    return write(ctx, request.get("json"), request.get("yaml"),
                 lambda form, about: form.managed_document(name, records, about))  # fmt: skip


def is_list(json: str | None, yaml: str | None) -> bool:
    """Return whether the call requests the list of data parsers. Interactive commands print it without a prompt."""
    return "list" in (json, yaml)


def _pieces(ctx: CommandContext, json: str | None, yaml: str | None, make: Build) -> Any:
    """The document's text in pieces; prints an error and returns None for an unknown data parser."""
    if is_list(json, yaml):
        ctx.err("Possible data_parser plugins:")
        return ["".join(f"data_parser/{version}\n" for version in data_parser.VERSIONS)]
    try:
        form = _form(ctx, json, yaml)
    except BadForm as bad:
        for line in bad.lines:
            ctx.error(line)
        return None
    for line in form.warnings:
        ctx.err(f"{ctx.command}: {line}")
    from ...report.json import documents as structured

    about = structured.meta(ctx.command, list(ctx.args), ctx.controller.job_table.cluster.name, user_name(os.geteuid()),
                            group_name(os.getegid()), plugin=form.plugin)  # fmt: skip
    return structured.dump(make(structured, about), form)
