"""sreport: sums over the jobs of a period.

Source: src/sreport/sreport.c, common.c.
"""

from __future__ import annotations

import os
import pwd
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..controller.command_context import CommandContext
from ..controller.services.budget_policy import month_of
from ..controller.services.managed_jobs import FIRST_ID
from ..controller.store.accounting_index import Where, among
from ..language import timespec
from ..language.key_values import Given, Key, KeyTable, matching_value
from ..language.syntax_errors import LanguageError
from ..options import help as helps
from ..options.family import FamilyRequest, parse
from ..options.usage_errors import failure
from ..options.values import leading_int
from ..report.text import utilization
from ..report.text.print_fields import TableStyle
from ..report.text.spending import Charge
from ..report.text.units import Clock
from .common.caller_settings import read_context, user_name
from .common.command_errors import streaming
from .common.iteration import dialogue
from .common.report_settings import caller_zone, midnight

_DAY = 86400
_VERBS = (
    ("cluster", 2, "cluster"), ("cost", 3, "cost"), ("exit", 1, "exit"), ("help", 2, "help"), ("job", 1, "job"),
    ("nonparsable", 4, "columns"), ("quiet", 4, "quiet"), ("quit", 4, "exit"), ("parsable", 9, "parsable"),
    ("parsable2", 9, "parsable2"), ("reservation", 2, "reservation"), ("resv", 4, "reservation"),
    ("sort", 1, "sort"), ("time", 1, "time"), ("user", 1, "user"), ("verbose", 4, "verbose"),
    ("version", 4, "version"))  # fmt: skip
_LISTS = {
    "cluster": '"AccountUtilizationByUser", "AccountUtilizationByQOS", "UserUtilizationByAccount", '
               '"UserUtilizationByWckey", "Utilization", and "WCKeyUtilizationByUser"',
    "cost": ", ".join(f'"{name}"' for name, _ in utilization.REPORTS["cost"]),
    "job": '"SizesByAccount, SizesByAccountAndWcKey, and  SizesByWckey"',
    "reservation": '"Utilization"', "user": '"Top"',
}  # fmt: skip
#: (condition, length of the shortest accepted prefix, field of Query; "" when the condition has no effect here), by
#: kind of report and in lookup order. A word without "=" is a value of the first condition.
_ACCOUNTS = (("Accounts", 2, "accounts"), ("Acct", 4, "accounts"))
_CONDITIONS = {
    "association": (("Users", 1, "users"), *_ACCOUNTS, ("Clusters", 1, "clusters"), ("End", 1, "end"),
                    ("Format", 1, "format"), ("QosLevel", 1, ""), ("Start", 1, "start")),
    "wckey": (("WCKeys", 3, "wckeys"), ("Clusters", 3, "clusters"), ("End", 1, "end"), ("Format", 1, "format"),
              ("Start", 1, "start"), ("User", 1, "users")),
    "cluster": (("Clusters", 1, "clusters"), ("End", 1, "end"), ("Format", 1, "format"), ("Start", 1, "start")),
    "job": (("Clusters", 1, "clusters"), *_ACCOUNTS, ("Associations", 2, ""), ("End", 1, "end"),
            ("Format", 2, "format"), ("Gid", 2, ""), ("grouping", 2, "grouping"), ("Jobs", 1, "jobs"), ("Nodes", 1, ""),
            ("Partitions", 2, "partitions"), ("Start", 1, "start"), ("Users", 1, "users"), ("Wckeys", 2, "wckeys")),
    "user": (("Users", 1, "users"), *_ACCOUNTS, ("Clusters", 1, "clusters"), ("End", 1, "end"), ("Format", 1, "format"),
             ("Start", 1, "start"), ("TopCount", 1, "top")),
    "reservation": (("Names", 1, ""), ("Clusters", 1, "clusters"), ("End", 1, "end"), ("Flags", 2, ""),
                    ("Format", 2, "format"), ("Ids", 1, ""), ("Nodes", 1, ""), ("Start", 1, "start")),
}  # fmt: skip
_CONDITIONS["cost"] = _CONDITIONS["job"]
_EVERY = ("All_Clusters", 1, "")
_FLAGS = {
    "association": (_EVERY, ("Tree", 4, "tree")), "wckey": (_EVERY, ("WithDeleted", 5, "")),
    "job": (_EVERY, ("AcctAsParent", 2, ""), ("PrintJobCount", 2, "count_jobs"), ("FlatView", 2, "flat")),
    "user": (_EVERY, ("Group", 1, "")),
}  # fmt: skip


def _condition_group(kind: str, name: str) -> str:
    """The group of conditions that a report accepts."""
    if kind != "cluster":
        return kind
    return "cluster" if name == "Utilization" else "wckey" if "WCKEY" in name.upper() else "association"


@dataclass
class _ReportOptions:
    style: TableStyle
    time: utilization.TimeFormat


@streaming
async def main(ctx: CommandContext) -> int:
    """Print one report, or the report of each line of stdin."""
    request = parse("sreport", ctx.args, read_context(ctx))
    if not utilization.known_tres(request.get("tres", ())) and request.get("tres") is not None:
        raise failure("sreport", "No valid TRES given", level="fatal")
    options = _ReportOptions(
        TableStyle(parsable=request.parsable, header=not request.get("noheader")), utilization.MINUTES
    )
    if request.get("time_format"):
        _set_time(ctx, options, request.get("time_format"))
    if request.words:
        return _run(ctx, request, request.words, options)
    return await dialogue(ctx, "sreport: ", _split, _VERBS, lambda words: _run(ctx, request, words, options))


def _split(line: str) -> list[str]:
    return shlex.split(line) if line.count('"') % 2 == 0 and line.count("'") % 2 == 0 else line.split()


def _set_time(ctx: CommandContext, options: _ReportOptions, word: str) -> None:
    found = utilization.time_format(word)
    if found is None:
        ctx.err(f"unknown time format {word}", end="")
    else:
        options.time = found


def _run(ctx: CommandContext, request: FamilyRequest, words: Sequence[str], options: _ReportOptions) -> int:
    verb = matching_value(words[0], _VERBS)
    if verb is None:
        ctx.err(f"invalid keyword: {words[0]}")
        return 1
    if verb in utilization.REPORTS:
        if len(words) < 2:
            ctx.err(f"too few arguments for keyword:{words[0]}")
            return 1
        return _report(ctx, request, verb, words[1:], options)
    if verb == "time":
        if len(words) < 2:
            ctx.err(f"too few arguments for keyword:{words[0]}")
            return 1
        _set_time(ctx, options, words[1])
    elif verb in ("columns", "parsable", "parsable2"):
        options.style = replace(options.style, parsable=("columns", "parsable", "parsable2").index(verb))
    elif verb == "version":
        ctx.out(helps.version_text())
    elif verb == "help":
        from ..options.table import load

        ctx.out(helps.help_text(load("sreport")))
    return 0


def _report(
    ctx: CommandContext, request: FamilyRequest, kind: str, words: Sequence[str], options: _ReportOptions
) -> int:
    name = matching_value(words[0], ((name, least, name) for name, least in utilization.REPORTS[kind]))
    if name is None:
        ctx.err(f"Not valid report {words[0]}")
        ctx.err(f"Valid {kind} reports are, {_LISTS[kind]}")
        return 1
    if kind == "job" and len(utilization.known_tres(request.get("tres", ()))) > 1:
        ctx.err(" Job report only supports a single --tres type.\n Generate a separate report for each TRES type.")
        return 1
    controller = ctx.controller
    now, zone = controller.clock(), caller_zone(ctx)
    today = midnight(now)
    tres = utilization.known_tres(request.get("tres", ())) or ("cpu",)
    user = user_name(os.geteuid())
    start, end = today - _DAY, today
    if kind == "cost":  # our extension: the current month until now
        start, end = int(month_of(now)[0]), int(now) + 1
    query = utilization.UsageQuery(kind, name, start, end, tres=tres, tres_given="tres" in request.values,
                              time=options.time, style=options.style, proper={user: _proper(user)})  # fmt: skip
    clusters = request.get("clusters", "").split(",") if request.get("clusters") else []
    update = _key_table(_condition_group(kind, name)).read(ctx, words[1:])
    code = int(update.pop("failed", False))
    clusters += update.pop("clusters", [])
    query = replace(query, **update)
    query = replace(query, end=query.end if query.end > query.start else query.start + 3600)
    controller.flush()
    chosen = (among("account", map(str.lower, query.accounts)) & among("user", query.users)
              & among("partition", query.partitions) & among("job_id", query.jobs)
              & among("wckey", query.wckeys))  # fmt: skip
    if clusters and controller.job_table.cluster.name not in clusters:
        chosen = Where(("0",))
    store = controller.store
    history = utilization.UsageHistory(() if kind == "cost" else store.uses(query.start, query.end, now, chosen),
                            lambda start, end: _charges(ctx, start, end, chosen))  # fmt: skip
    clock = Clock(now, zone, request.time_format, ctx.error)
    text, unknown = utilization.text(query, controller.job_table.cluster, history, clock)
    for field in unknown:
        ctx.err(f" Unknown field '{field}'")
    ctx.out(text)
    return 1 if unknown else code


def _key_table(group: str) -> KeyTable[CommandContext]:
    """Table of the conditions and flags of a group of reports.

    A word that is not a flag is a value of the first condition.
    """
    rows = _CONDITIONS[group]
    hint = "" if group == "wckey" else "\nUse keyword set to modify value"

    def unknown(ctx: CommandContext, given: Given) -> dict[str, Any]:
        ctx.err(f" Unknown condition: {given.word}{hint}")
        return {"failed": True}

    return KeyTable(
        [Key(name, least, "", _condition(field)) for name, least, field in rows],
        lambda word, rest: Given(word, rows[0][0], word),
        unknown,
        flags=[(name, least, {flag: True} if flag else {}) for name, least, flag in _FLAGS.get(group, (_EVERY,))],
    )


def _condition(field: str) -> Callable[[CommandContext, Given], dict[str, Any]]:
    """Reader of a condition; it returns the query fields to set."""

    def read(ctx: CommandContext, given: Given) -> dict[str, Any]:
        value = given.unquoted
        if field in ("start", "end"):
            try:
                return {field: timespec.parse(value, ctx.controller.clock(), past=True, tz=caller_zone(ctx))}
            except LanguageError as error:
                ctx.err(str(error))
                return {}
        if field == "top":
            if value and not value[:1].isdecimal():
                ctx.error(f"Invalid value for TopCount ({value})")
                return {"failed": True}
            return {"top": leading_int(value)}
        if field == "grouping":
            if value[:1].lower() == "i":
                return {"individual": True}
            return {"grouping": tuple(leading_int(part) for part in value.split(",") if part)}
        if field == "jobs":
            return {"jobs": tuple(int(part) for part in value.split(",") if part.isdecimal())}
        if field == "format":
            return {"format": ",".join(filter(None, (given.before.get("format", ""), value)))}
        if field == "clusters":
            return {"clusters": [*given.before.get("clusters", ()), *value.split(",")]}
        return {field: tuple(value.split(","))} if field else {}

    return read


def _charges(ctx: CommandContext, start: float, end: float, chosen: Where) -> list[Charge]:
    """Cost of jobs, and of warm nodes without jobs."""
    controller = ctx.controller
    found = controller.store.charges(start, end, controller.clock(), chosen)
    if controller.power is None:
        return found
    own = Where(("job_id<?",), (FIRST_ID,))  # a foreign job that the partition lists does not use the partition's nodes
    every = controller.store.charges(start, end, controller.clock(), own)
    return [*found, *controller.power.hours.idle(every, start, end, controller.clock())]


def _proper(user: str) -> str:
    try:
        return pwd.getpwnam(user).pw_gecos.partition(",")[0]
    except KeyError:
        return ""
