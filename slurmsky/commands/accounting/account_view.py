"""The accounts that sacctmgr, sshare and sreport show."""

from __future__ import annotations

import os

from ...controller.command_context import CommandContext
from ...report.text.sacctmgr_tables import Records
from ...report.text.units import Clock
from ..common.caller_settings import user_name
from ..common.report_settings import caller_zone


def records(ctx: CommandContext, style: str = "") -> Records:
    """The accounting records of this cluster."""
    job_table = ctx.controller.job_table
    user = user_name(os.geteuid())
    return Records(
        cluster=job_table.cluster,
        host=ctx.controller.host,
        user=user,
        # A job is charged to the user's default account unless it names an account that the site lists.
        accounts=tuple(dict.fromkeys((*job_table.overrides.users.get(user, ()), user, *job_table.accounts))),
        nodes=tuple(job_table.nodes.values()),
        users={name: tuple(names) for name, names in job_table.overrides.users.items() if name != user},
        admin_levels=job_table.overrides.admin_levels,
        unused_accounts=tuple(job_table.overrides.unused_accounts.values()),
        clock=Clock(ctx.controller.clock(), caller_zone(ctx), style, ctx.error),
    )
