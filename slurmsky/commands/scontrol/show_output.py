"""Output that all forms of scontrol show share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...controller.command_context import CommandContext
from ...options.query import ScontrolQuery
from ..common.data_output import write
from ..common.report_settings import report


def as_data(query: ScontrolQuery) -> bool:
    """Return whether --json or --yaml was given."""
    return query.json is not None or query.yaml is not None


def print_document(ctx: CommandContext, query: ScontrolQuery, document: Callable[[Any, Any, float], Any]) -> int:
    """Print one JSON or YAML answer. ``document`` receives the document module, the meta block and the time."""
    return write(ctx, query.json, query.yaml, lambda form, about: document(form, about, ctx.controller.clock()))


def updated(ctx: CommandContext, query: ScontrolQuery, records: int) -> None:
    """The line that scontrol -v prints before the records."""
    if query.verbose and not query.quiet:
        clock = report(ctx, query).clock
        ctx.out(f"last_update_time={clock.text(ctx.controller.clock())}, records={records}\n")
