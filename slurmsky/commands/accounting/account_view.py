"""Whose accounts there are: what sacctmgr, sshare and sreport ask."""

from __future__ import annotations

import os

from ...controller.command_context import CommandContext
from ...report.text.sacctmgr_tables import Records
from ...report.text.units import Clock
from ..common.caller_settings import user_name
from ..common.report_settings import caller_zone


def records(ctx: CommandContext, style: str = "") -> Records:
    """The accounting records of this cluster."""
    book = ctx.queue.book
    user = user_name(os.geteuid())
    return Records(
        cluster=book.cluster,
        host=ctx.queue.host,
        user=user,
        # Jobs are charged to the user's own account unless they name one that the site lists.
        accounts=tuple(dict.fromkeys((user, *book.accounts))),
        nodes=tuple(book.nodes.values()),
        clock=Clock(ctx.queue.clock(), caller_zone(ctx), style or "standard"),
    )
