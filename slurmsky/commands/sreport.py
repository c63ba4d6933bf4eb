"""sreport: sums over the jobs of a period. Source: src/sreport/sreport.c, common.c."""

from __future__ import annotations

import os
import pwd
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..controller.context import Context
from ..controller.facts import among
from ..language import timespec
from ..language.errors import LanguageError
from ..options import help as helps
from ..options.family import Request, parse
from ..report import matching, utilization
from ..report.print_fields import Look
from ..report.text import Clock
from ._command import streaming
from ._repeat import dialogue
from ._report import caller_zone, known_cluster
from ._surroundings import surroundings, user_name

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
    "job": '"SizesByAccount, SizesByAccountAndWcKey, and SizesByWckey"',
    "reservation": '"Utilization"', "user": '"TopUsage"',
}  # fmt: skip
#: Conditions with the fewest letters that count, and the Query field; "" for those that choose nothing here.
_CONDITIONS = (
    ("Accounts", 2, "accounts"), ("Acct", 4, "accounts"), ("Clusters", 1, "clusters"), ("End", 1, "end"),
    ("Format", 1, "format"), ("Gid", 2, ""), ("grouping", 2, "grouping"), ("Jobs", 1, "jobs"), ("Names", 1, ""),
    ("Nodes", 1, ""), ("Partitions", 1, "partitions"), ("Start", 1, "start"), ("TopCount", 1, "top"),
    ("Users", 1, "users"), ("Wckeys", 2, ""))  # fmt: skip
#: The conditions that each kind of report takes, with the fewest letters that count. Source: src/sreport/*_reports.c.
_PERIOD = {"Clusters": 1, "End": 1, "Format": 1, "Start": 1}
_PEOPLE = {**_PERIOD, "Users": 1, "Accounts": 2, "Acct": 4}
_TAKES = {
    "utilization": _PERIOD,
    "assoc": {**_PEOPLE, "QosLevel": 1},
    "wckey": {**_PERIOD, "Clusters": 3, "WCKeys": 3, "Users": 1},
    "user": {**_PEOPLE, "TopCount": 1},
    "job": {**_PEOPLE, "Associations": 2, "Format": 2, "Gid": 2, "grouping": 2, "Jobs": 1, "Nodes": 1, "Partitions": 2,
            "WCKeys": 2},
    "reservation": {**_PERIOD, "Names": 1, "Flags": 2, "Format": 2, "Ids": 1, "Nodes": 1},
}  # fmt: skip


def _conditions(kind: str, name: str) -> tuple[list[tuple[str, int, str]], str]:
    """The conditions of a report with the fields they set, and what follows the line about an unknown one."""
    if kind == "cost":  # ours
        return list(_CONDITIONS), _HINT
    group = kind
    if kind == "cluster":
        group = "utilization" if name == "Utilization" else "wckey" if "wckey" in name.lower() else "assoc"
    fields = {name.lower(): field for name, _, field in _CONDITIONS}
    known = [(name, least, fields.get(name.lower(), "")) for name, least in _TAKES[group].items()]
    return known, "" if group == "wckey" else _HINT


_HINT = "\nUse keyword set to modify value"
_FLAGS = (("All_Clusters", 1, ""), ("FlatView", 2, "flat"), ("Group", 1, ""), ("PrintJobCount", 2, "count_jobs"),
          ("Tree", 1, "tree"), ("where", 5, ""))  # fmt: skip


@dataclass
class _Mood:
    look: Look
    time: utilization.TimeFormat


@streaming
async def main(ctx: Context) -> int:
    """One report, or those on stdin, line by line."""
    request = parse("sreport", ctx.args, surroundings(ctx))
    if not known_cluster(ctx, request.get("clusters")):
        return 1
    mood = _Mood(Look(parsable=request.parsable, header=not request.get("noheader")), utilization.MINUTES)
    if request.get("time_format"):
        _set_time(ctx, mood, request.get("time_format"))
    if request.words:
        return _run(ctx, request, request.words, mood)
    return await dialogue(ctx, "sreport: ", _split, _VERBS, lambda words: _run(ctx, request, words, mood))


def _split(line: str) -> list[str]:
    return shlex.split(line) if line.count('"') % 2 == 0 and line.count("'") % 2 == 0 else line.split()


def _set_time(ctx: Context, mood: _Mood, word: str) -> None:
    found = utilization.time_format(word)
    if found is None:
        ctx.err(f"unknown time format {word}")
    else:
        mood.time = found


def _run(ctx: Context, request: Request, words: Sequence[str], mood: _Mood) -> int:
    verb = matching.choose(words[0], _VERBS)
    if verb is None:
        ctx.err(f"invalid keyword: {words[0]}")
        return 1
    if verb in utilization.REPORTS:
        if len(words) < 2:
            ctx.err(f"too few arguments for keyword:{words[0]}")
            return 1
        return _report(ctx, request, verb, words[1:], mood)
    if verb == "time":
        if len(words) < 2:
            ctx.err(f"too few arguments for keyword:{words[0]}")
            return 1
        _set_time(ctx, mood, words[1])
    elif verb in ("columns", "parsable", "parsable2"):
        mood.look = replace(mood.look, parsable=("columns", "parsable", "parsable2").index(verb))
    elif verb == "version":
        ctx.out(helps.version_text())
    elif verb == "help":
        from ..options.table import load

        ctx.out(helps.help_text(load("sreport")))
    return 0


def _report(ctx: Context, request: Request, kind: str, words: Sequence[str], mood: _Mood) -> int:
    name = matching.choose(words[0], ((name, least, name) for name, least in utilization.REPORTS[kind]))
    if name is None:
        ctx.err(f"Not valid report {words[0]}")
        ctx.err(f"Valid {kind} reports are, {_LISTS[kind]}")
        return 1
    queue = ctx.queue
    now, zone = queue.clock(), caller_zone(ctx)
    today = _midnight(now)
    tres = utilization.known_tres(request.get("tres", ())) or ("cpu",)
    user = user_name(os.geteuid())
    start, end = today - _DAY, today
    if kind == "cost":  # ours: this month, up to now
        start, end = _month(now), int(now) + 1
    query = utilization.Query(kind, name, start, end, tres=tres, tres_given="tres" in request.values,
                              time=mood.time, look=mood.look, proper={user: _proper(user)})  # fmt: skip
    code = 0
    asked = matching.conditions(words[1:])
    for word in asked.bare:
        field = matching.choose(word, _FLAGS)
        if field is None:
            ctx.err(f" Unknown condition: {word}{_HINT}")
            code = 1
        elif field:
            query = replace(query, **{field: True})  # type: ignore[arg-type]
    known, hint = _conditions(kind, name)
    for key, value in asked.pairs:
        field = matching.choose(key, known)
        if field is None:
            ctx.err(f" Unknown condition: {key}={value}{hint}")
            code = 1
        elif field in ("start", "end"):
            try:
                query = replace(query, **{field: timespec.parse(value, now, past=True, tz=zone)})  # type: ignore[arg-type]
            except LanguageError as error:
                ctx.err(str(error))
        elif field == "clusters":
            if not known_cluster(ctx, value):
                return 1
        elif field in ("top", "grouping", "jobs"):
            numbers = tuple(int(part) for part in value.split(",") if part.isdigit())
            if numbers:
                query = replace(query, **{field: numbers[0] if field == "top" else numbers})  # type: ignore[arg-type]
        elif field == "format":
            query = replace(query, format=",".join(filter(None, (query.format, value))))
        elif field:
            query = replace(query, **{field: tuple(value.split(","))})  # type: ignore[arg-type]
    query = replace(query, end=query.end if query.end > query.start else query.start + 3600)
    queue.flush()
    chosen = (among("account", query.accounts) & among("user", query.users) & among("partition", query.partitions)
              & among("job_id", query.jobs))  # fmt: skip
    store = queue.store
    past = utilization.Past(() if kind == "cost" else store.uses(query.start, query.end, now, chosen),
                            lambda start, end: store.charges(start, end, now, chosen))  # fmt: skip
    try:
        ctx.out(utilization.text(query, queue.book.cluster, past, Clock(now, zone, request.time_format or "standard")))
    except matching.UnknownField as error:
        ctx.err(f" Unknown field '{error}'")
        return 1
    return code


def _midnight(now: float) -> int:
    local = time.localtime(now)
    return int(time.mktime((local.tm_year, local.tm_mon, local.tm_mday, 0, 0, 0, 0, 0, -1)))


def _month(now: float) -> int:
    local = time.localtime(now)
    return int(time.mktime((local.tm_year, local.tm_mon, 1, 0, 0, 0, 0, 0, -1)))


def _proper(user: str) -> str:
    try:
        return pwd.getpwnam(user).pw_gecos.partition(",")[0]
    except KeyError:
        return ""
