"""sshare: the shares of the associations. Source: src/sshare/sshare.c."""

from __future__ import annotations

from ..controller.context import Context
from ..options import help as helps
from ..options.errors import failure
from ..options.family import parse
from ..report import shares as report
from ..report.json_manager import shares_record
from ..report.manager import associations
from ..report.print_fields import InvalidField, Look
from ._accounts import records
from ._command import command
from ._documents import as_data, check_style, document
from ._report import known_cluster
from ._surroundings import find_user, surroundings


@command
def main(ctx: Context) -> int:
    """Print the table."""
    request = parse("sshare", ctx.args, surroundings(ctx))
    check_style(ctx, request.get("json"), request.get("yaml"))
    if request.get("helpformat"):
        ctx.out(helps.in_columns(report.field_names()))
        return 0
    for name in request.get("users", ()):
        if find_user(name) is None:
            raise failure("sshare", f"Invalid user id: {name}", level="fatal")
    if not known_cluster(ctx, request.get("clusters")):
        return 1
    known = records(ctx)
    rows = associations(known.cluster.name, known.accounts, known.user)
    accounts, users = request.get("accounts", ()), request.get("users", ())
    if accounts:
        rows = [row for row in rows if row.account in accounts]
    if users:
        rows = [row for row in rows if not row.user or row.user in users]
    if request.get("users_only"):
        rows = [row for row in rows if row.user]
    if as_data(request):
        return document(ctx, request, "shares", shares_record(rows))
    text = request.get("format") or report.default_format(bool(request.get("long")), bool(request.get("partition")))
    try:
        columns = report.columns(text)
    except InvalidField as error:
        ctx.error(str(error))
        return 1
    ctx.out(report.sshare_text(rows, columns, Look(parsable=request.parsable, header=not request.get("noheader"))))
    return 0
