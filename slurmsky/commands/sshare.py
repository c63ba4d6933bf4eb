"""sshare: the shares of the associations. Source: src/sshare/sshare.c."""

from __future__ import annotations

import os

from ..controller.command_context import CommandContext
from ..options import help as helps
from ..options.family import parse
from ..report.json.manager_records import shares_record
from ..report.text import sshare_rows as report
from ..report.text.print_fields import InvalidField, TableStyle
from ..report.text.sacctmgr_tables import associations
from .accounting.account_view import records
from .common.caller_settings import read_context, user_name
from .common.command_errors import command
from .common.data_output import as_data, check_style, document
from .common.report_settings import known_cluster


@command
def main(ctx: CommandContext) -> int:
    """Print the table."""
    request = parse("sshare", ctx.args, read_context(ctx))
    check_style(ctx, request.get("json"), request.get("yaml"))
    # A uid must belong to a user; an unknown name selects no rows.
    users = [user_name(int(name)) if name.isdecimal() else name for name in request.get("users", ())]
    unknown = next((name for name in users if name.isdecimal()), None)
    if unknown is not None:
        ctx.err(f"Invalid user id: {unknown}")
        return 1
    if request.get("helpformat"):
        ctx.out(helps.in_columns(report.field_names(), 17))
        return 0
    text = request.get("format") or report.default_format(bool(request.get("long")), bool(request.get("partition")))
    try:
        columns = report.columns(text)
    except InvalidField as error:
        if request.get("clusters"):
            ctx.out(f"CLUSTER: {ctx.controller.job_table.cluster.name}\n")
        ctx.error(str(error))
        return 1
    accounts = request.get("accounts", ())
    if request.get("verbose"):
        everyone = ["all"] if request.get("all") else users or [user_name(os.geteuid())]
        ctx.err("\n\t: ".join(("Users requested:", *everyone)))
        ctx.err("\n\t: ".join(("Accounts requested:", *(accounts or ["all"]))))
    if not known_cluster(ctx, request.get("clusters")):
        return 1
    known = records(ctx)
    rows = associations(known.cluster.name, known.accounts, known.user)
    if accounts:
        rows = [row for row in rows if row.account in accounts]
    if users:
        rows = [row for row in rows if not row.user or row.user in users]
    if request.get("users_only"):
        rows = [row for row in rows if row.user]
    if as_data(request):
        return document(ctx, request, "shares", shares_record(rows))
    if request.get("clusters"):
        ctx.out(f"CLUSTER: {known.cluster.name}\n")
    ctx.out(
        report.sshare_text(rows, columns, TableStyle(parsable=request.parsable, header=not request.get("noheader")))
    )
    return 0
