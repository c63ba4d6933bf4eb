"""--json and --yaml of sdiag, sshare and sacctmgr."""

from __future__ import annotations

from typing import Any

from ..controller.context import Context
from ..options.family import Request


def as_data(request: Request) -> bool:
    """Whether a document is asked for."""
    return "json" in request.values or "yaml" in request.values


def document(ctx: Context, request: Request, name: str, records: Any) -> int:
    """Print records, or one, under their name."""
    from ..report import json as structured

    about = structured.meta(ctx.command, list(ctx.args), ctx.queue.book.cluster.name)
    made = structured.managed_document(name, records, about)
    ctx.out("".join(structured.dump(made, yaml="yaml" in request.values)))
    return 0
