"""sacctmgr: shows and changes accounts, users and QOS.

The store keeps changes, which override the site file. Clusters, federations and resources cannot be changed; such
requests get slurmdbd's answer to a user without privileges.

Source: src/sacctmgr/sacctmgr.c.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

from ..controller.command_context import CommandContext
from ..language.key_values import matching_value
from ..model.release import RELEASE
from ..options import help as helps
from ..options.family import FamilyRequest, parse
from ..report.json.manager_records import MANAGED, database_pings
from ..report.text import sacctmgr_dump
from ..report.text import sacctmgr_tables as report
from ..report.text.print_fields import TableStyle
from ._files import write
from .accounting import cluster_load, entity_changes
from .accounting.account_view import records
from .common.caller_settings import read_context, user_name
from .common.command_errors import streaming
from .common.data_output import as_data, check_style, document, is_list
from .common.iteration import dialogue

#: lines that -v adds
_LOADED = "sacctmgr: accounting_storage/slurmdbd: init: Accounting storage SLURMDBD plugin loaded"
_DENIED = "Access/permission denied"
_NO_PRIVILEGE = "Your user doesn't have privilege to perform this action"
_MODIFY = ("Account", "Cluster", "Coordinator", "Federation", "Job", "QOS", "Resource", "User", "Transactions")
_ADD = ("Account", "Cluster", "Coordinator", "Federation", "QOS", "Resource", "User", "Transactions")
#: names of the entities of "add" in slurmdbd's refusal
_ADDED = {"Account": "accounts", "Cluster": "clusters", "QOS": "QOS", "User": "users", "Federation": "federations",
          "Resource": "resources", "Coordinator": "coordinators"}  # fmt: skip
_VERBS = (
    ("add", 3, "add"), ("create", 3, "add"), ("archive", 1, "archive"), ("associations", 3, "associations"),
    ("clear", 2, "clear"), ("delete", 3, "delete"), ("remove", 3, "delete"), ("dump", 3, "dump"), ("exit", 1, "exit"),
    ("help", 2, "help"), ("list", 3, "show"), ("show", 3, "show"), ("load", 2, "load"), ("modify", 1, "modify"),
    ("update", 1, "modify"), ("nonparsable", 4, "nonparsable"), ("oneliner", 1, "flag"), ("parsable", 9, "flag"),
    ("parsable2", 9, "flag"), ("ping", 2, "ping"), ("quiet", 4, "flag"), ("quit", 4, "exit"),
    ("readonly", 4, "readonly"), ("reconfigure", 4, "reconfigure"), ("rollup", 2, "rollup"),
    ("shutdown", 4, "shutdown"), ("verbose", 4, "flag"), ("version", 4, "version"))  # fmt: skip


@dataclass
class _SessionOptions:
    """Output settings of a session, as options and verbs set them."""

    style: TableStyle
    associations: bool
    readonly: bool


@streaming
async def main(ctx: CommandContext) -> int:
    """Run one verb, or each line of stdin."""
    request = parse("sacctmgr", ctx.args, read_context(ctx))
    options = _SessionOptions(TableStyle(parsable=request.parsable, header=not request.get("noheader")),
                 bool(request.get("associations")), bool(request.get("readonly")))  # fmt: skip
    check_style(ctx, request.get("json"), request.get("yaml"))
    if request.get("verbose"):
        ctx.err(_LOADED)
    if request.words:
        return await _run(ctx, request, request.words, options)
    if is_list(request.get("json"), request.get("yaml")):
        return document(ctx, request, "pings", [])
    return await dialogue(ctx, "sacctmgr: ", _split, _VERBS, lambda words: _run(ctx, request, words, options))


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        return line.split()


async def _run(ctx: CommandContext, request: FamilyRequest, words: Sequence[str], options: _SessionOptions) -> int:
    verb = matching_value(words[0], _VERBS)
    rest = words[1:]
    if verb is None:
        ctx.err(f"invalid keyword: {words[0]}")
        return 1
    if verb == "show":
        return _show(ctx, request, rest, options)
    if verb in ("add", "delete", "modify", "archive"):
        return await _change(ctx, verb, rest, options, ask=not request.get("immediate"))
    if verb == "help":
        from ..options.table import load

        ctx.out(helps.help_text(load("sacctmgr")))
    elif verb == "version":
        ctx.out(helps.version_text())
    elif verb == "readonly":
        options.readonly = True
    elif verb == "associations":
        options.associations = True
    elif verb == "ping":
        if as_data(request):
            return document(ctx, request, "pings", database_pings(ctx.controller.host))
        host = dict(_parameters(ctx)).get("AccountingStorageHost") or ctx.controller.host
        ctx.out(f"slurmdbd(primary) at {host} is UP\n")
    elif verb == "shutdown":
        ctx.err(f" Problem shutting down server: {_DENIED}")
        return 1
    elif verb == "dump":
        return await _dump(ctx, rest)
    elif verb == "load":
        if options.readonly:
            ctx.err("Can't run this command in readonly mode.")
            return 1
        return await cluster_load.load(ctx, rest, options.style, ask=not request.get("immediate"))
    elif verb in ("clear", "reconfigure", "rollup"):
        ctx.error(_NO_PRIVILEGE)
        return 1
    return 0


def _show(ctx: CommandContext, request: FamilyRequest, words: Sequence[str], options: _SessionOptions) -> int:
    wanted = report.entity(words[0]) if words else None
    if wanted is None:
        for line in report.UNKNOWN_ENTITY:
            ctx.err(line)
        return 1
    known = records(ctx, request.time_format)
    if as_data(request) and wanted.name in MANAGED:
        name, make = MANAGED[wanted.name]
        try:
            selected = report.selected(known, wanted, words[1:])
        except report.BadRequest as error:
            for line in error.args:
                ctx.err(line)
            return 1
        return document(ctx, request, name, list(compress(make(known), selected)))
    if wanted.name == "RunAwayJobs":
        try:
            report.selected(known, wanted, words[1:])
        except report.BadRequest as error:
            for line in error.args:
                ctx.err(line)
            return 1
        ctx.out(f"Runaway Jobs: No runaway jobs found on cluster {known.cluster.name}\n")
        return 0
    if wanted.name == "Configuration":
        ctx.out(report.configuration(_configuration(ctx), known.clock))
        return 0
    if wanted.name == "Stats":
        ctx.error(f"accounting_storage/slurmdbd: acct_storage_p_get_stats: RC:2002 {_NO_PRIVILEGE}")
        return 1
    more = ["withassoc"] if options.associations and wanted.with_associations else []
    try:
        ctx.out(report.show(known, wanted, [*words[1:], *more], options.style))
    except report.BadRequest as error:
        for line in error.args:
            ctx.err(line)
        return 1
    return 0


#: (key, shortest prefix, line for a second value) of "dump"
_DUMP = (
    ("Cluster", 1, " Can only do one cluster at a time.  Already doing {}"),
    ("File", 1, " File name already set to {}"),
)


async def _dump(ctx: CommandContext, words: Sequence[str]) -> int:
    """Write the cluster's accounts and users to a file.

    Source: cluster_functions.c sacctmgr_dump_cluster.
    """
    given: dict[str, str] = {}
    status = 0
    for word in words:
        name, sign, value = word.partition("=")
        row = matching_value(name, ((row[0], row[1], row) for row in _DUMP)) if sign else _DUMP[0]
        if row is None or row[0] in given:
            status = 1
            ctx.err(f" Unknown option: {word}" if row is None else row[2].format(given[row[0]]))
        else:
            given[row[0]] = value.strip("\"'") if sign else word
    cluster = given.get("Cluster")
    known = records(ctx)
    if cluster is None:
        ctx.err(" We need a cluster to dump.")
        return 1
    if cluster != known.cluster.name:
        ctx.err(f" Cluster {cluster} doesn't exist.")
        return 1
    name = given.get("File") or f"./{cluster}.cfg"
    if "File" not in given:
        ctx.out(f" No filename given, using {name}.\n")
    lines = list(sacctmgr_dump.entries(known))
    try:
        text = sacctmgr_dump.HEADER + "".join(f"{line}\n" for line in lines)
        await write(ctx, name, text.encode("utf-8", "surrogateescape"))
    except OSError as error:
        ctx.err(f"Can't open file {name}, {error.strerror}")
        return 1
    for line in lines:
        ctx.info(line)
    return status


def _parameters(ctx: CommandContext) -> list[tuple[str, str]]:
    from ..report.fields.field_tables import table

    given = dict(ctx.controller.job_table.cluster.parameters)
    return [(row["key"], given.get(row["key"], row["value"])) for row in table("config")]


def _configuration(ctx: CommandContext) -> dict[str, str]:
    owner = os.geteuid()
    values = {"SlurmUserId": f"{user_name(owner)}({owner})", "SLURM_VERSION": RELEASE,
             "SLURM_CONF": ctx.controller.site.source or "(no site file)"}  # fmt: skip
    return {**values, **dict(_parameters(ctx))}


async def _change(ctx: CommandContext, verb: str, words: Sequence[str], options: _SessionOptions, ask: bool) -> int:
    """Run add, delete, modify or archive, validated in sacctmgr's order."""
    if options.readonly:
        ctx.err("Can't run this command in readonly mode.")
        return 1
    entities = _MODIFY if verb == "modify" else _ADD
    what = matching_value(words[0], ((name, 1, name) for name in entities)) if words else None
    if verb == "archive":
        ctx.error(_NO_PRIVILEGE)
        ctx.err(f" Problem dumping archive: {_DENIED}")
        return 1
    if what is None or what == "Transactions":
        ctx.err(f"No valid entity in {verb} command")
        names = [name for name in _ADD[:-1] if verb != "modify" or name != "Coordinator"]
        ctx.err("Input line must include " + ", ".join(f'"{name}"' for name in names[:-1]) + f', or "{names[-1]}"')
        return 1
    if what == "Account" and verb == "delete" and "root" in words[1:]:
        ctx.err(" You are not allowed to remove the root account.")
        ctx.err(" Use remove cluster instead.")
        return 1
    if entity_changes.changes(verb, what):
        return await entity_changes.run(ctx, verb, what, words[1:], ask)
    if verb == "add":
        ctx.err(f" Problem adding {_ADDED[what]}: {_DENIED}")
        return 1
    ctx.error(_NO_PRIVILEGE)
    ctx.err(f" Error with request: {_DENIED}")
    return 1
