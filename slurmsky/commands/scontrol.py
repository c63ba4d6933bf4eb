"""scontrol: show, change, and the small verbs. Source: src/scontrol/scontrol.c _process_command."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..controller.context import Context
from ..options import help as helps
from ..options.query import ScontrolQuery, parse_scontrol
from ..options.table import load
from ..report.json_rest import running_records
from . import _administer, _reservations, _show, _update, _verbs
from ._command import streaming
from ._documents import check_style, is_list
from ._report import known_cluster
from ._surroundings import surroundings

Words = Sequence[str]
Answer = int | Awaitable[int]
Run = Callable[[Context, ScontrolQuery, Words], Answer]


@dataclass(frozen=True)
class Verb:
    """A keyword: how many words may follow (most: None = any), and what it does."""

    least: int
    most: int | None
    run: Run
    short: int = 3  # letters that suffice


def _ping(ctx: Context, query: ScontrolQuery, words: Words) -> int:
    if _show.as_data(query):
        return _show.answer(ctx, query, lambda form, about, now: form.ping_document(ctx.queue.host, about))
    ctx.out(f"Slurmctld(primary) at {ctx.queue.host} is UP\n")
    return 0


def _completing(ctx: Context, query: ScontrolQuery, words: Words) -> int:
    _show.completing(ctx, query)
    return 0


def _listpids(ctx: Context, query: ScontrolQuery, words: Words) -> int:
    return _show.listpids(ctx, query, words)


def _listed(ctx: Context, query: ScontrolQuery, words: Words, what: str) -> int:
    if _show.as_data(query):
        records = running_records(_administer.running(ctx, words))[what]
        return _show.answer(ctx, query, lambda form, about, now: form.managed_document(what, records, about))
    return _administer.listjobs(ctx, words, steps=what == "steps")


def _refused(text: str) -> Run:
    """An administrator's verb that means nothing to one user's own cluster: said, exit code 1."""

    def run(ctx: Context, query: ScontrolQuery, words: Words) -> int:
        ctx.err(f"{text}: Requested operation not supported on this system")
        return 1

    return run


def _errnumstr(ctx: Context, query: ScontrolQuery, words: Words) -> int:
    from ..controller.errors import Errno

    if not words[0].isdigit():
        ctx.err("numeric arguments required for keyword:errnumstr")
        return 1
    found = next(
        (errno.text for errno in Errno if errno.number == int(words[0])), f"Unknown error {words[0]}"
    )
    ctx.out(found + "\n")
    return 0


def _notify(ctx: Context, query: ScontrolQuery, words: Words) -> int:
    return _show.notify(ctx, words)


def _pidinfo(ctx: Context, query: ScontrolQuery, words: Words) -> int:
    return _show.pidinfo(ctx, words)


def _create(ctx: Context, query: ScontrolQuery, words: Words) -> int:
    kind = words[0].partition("=")[0].lower()
    if kind in ("partition", "partitionname"):
        if "=" not in words[0] and len(words) < 2:
            ctx.err(f"scontrol: error: Invalid input: {words[0]}  Request aborted")
            return 1
        ctx.err("Error creating the partition: Requested operation not supported on this system")
        return 1
    if kind.startswith("res"):
        return _reservations.create(ctx, words)
    ctx.err(f"scontrol: error: Invalid creation entity: {words[0]}")
    return 1


def _delete(ctx: Context, query: ScontrolQuery, words: Words) -> int:
    key, equals, name = words[0].partition("=")
    if not equals:
        if len(words) < 2:
            ctx.err("scontrol: error: Proper format is 'delete <ENTITY>=<ID>' or 'delete <ENTITY> <ID>'")
            return 1
        name = words[1]
    if key.lower() == "partitionname":
        known = ctx.queue.book.cluster.partition(name) is not None
        what = (
            "Requested operation not supported on this system"
            if known
            else "Invalid partition name specified"
        )
        ctx.err(f"delete_partition {words[0]}: {what}")
        return 1
    if len(key) >= 3 and "reservationname".startswith(key.lower()):
        return _reservations.delete(ctx, words[0], name)
    ctx.err(f"Invalid deletion entity: {words[0]}")
    return 1


def _version(ctx: Context, query: ScontrolQuery, words: Words) -> int:
    ctx.out(helps.VERSION + "\n")
    return 0


def _usage(ctx: Context, query: ScontrolQuery, words: Words) -> int:
    ctx.out(helps.help_text(load("scontrol")))
    return 0


def _job_verb(run: Callable[[Context, Words], int]) -> Run:
    return lambda ctx, query, words: run(ctx, words)


VERBS: dict[str, Verb] = {
    "show": Verb(1, None, lambda ctx, query, words: _show.show(ctx, query, words), 1),
    "update": Verb(0, None, lambda ctx, query, words: _update.update(ctx, words), 1),
    "hold": Verb(1, None, _job_verb(lambda ctx, words: _verbs.hold(ctx, words, user=False)), 4),
    "holdu": Verb(1, None, _job_verb(lambda ctx, words: _verbs.hold(ctx, words, user=True)), 5),
    "uhold": Verb(1, None, _job_verb(lambda ctx, words: _verbs.hold(ctx, words, user=True)), 2),
    "release": Verb(1, None, _job_verb(_verbs.release), 3),
    "requeue": Verb(1, None, _job_verb(lambda ctx, words: _verbs.requeue(ctx, words, "requeue")), 3),
    "requeuehold": Verb(1, None, _job_verb(lambda ctx, words: _verbs.requeue(ctx, words, "hold")), 8),
    "suspend": Verb(1, None, _job_verb(_verbs.suspend), 2),
    "resume": Verb(1, None, _job_verb(_verbs.resume), 3),
    "top": Verb(1, None, _job_verb(_verbs.top), 3),
    "wait_job": Verb(1, 1, lambda ctx, query, words: _verbs.wait_job(ctx, words[0]), 1),
    "write": Verb(1, None, _job_verb(_verbs.write), 2),
    "ping": Verb(0, 0, _ping, 3),
    "version": Verb(0, None, _version, 4),
    "completing": Verb(0, 0, _completing, 2),
    "listpids": Verb(0, 2, _listpids, 1),
    "notify": Verb(2, None, _notify, 1),
    "pidinfo": Verb(1, 1, _pidinfo, 3),
    "create": Verb(1, None, _create, 2),
    "delete": Verb(1, None, _delete, 2),
    "setdebug": Verb(1, 1, _job_verb(_administer.setdebug), 2),
    "setdebugflags": Verb(1, None, _job_verb(_administer.setdebugflags), 9),
    "errnumstr": Verb(1, 1, _errnumstr, 2),
    "help": Verb(0, None, _usage, 2),
    "schedloglevel": Verb(1, 1, _job_verb(_administer.schedloglevel), 3),
    "reconfigure": Verb(0, 1, lambda ctx, query, words: _administer.reconfigure(ctx), 3),
    "shutdown": Verb(0, 1, _refused("slurm_shutdown error"), 8),
    "takeover": Verb(0, 1, _refused("slurm_takeover error"), 8),
    "reboot": Verb(0, None, _refused("slurm_reboot_nodes error"), 3),
    "cancel_reboot": Verb(1, None, _refused("slurm_cancel_reboot error"), 3),
    "crontab": Verb(0, None, _refused("scontrol crontab error"), 2),
    "fsdampeningfactor": Verb(1, 1, _job_verb(_administer.dampening), 3),
    "token": Verb(0, None, _job_verb(_administer.token), 3),
    "callerid": Verb(4, 5, _job_verb(_administer.callerid), 3),
    "listjobs": Verb(0, 1, lambda ctx, query, words: _listed(ctx, query, words, "jobs"), 5),
    "liststeps": Verb(0, 1, lambda ctx, query, words: _listed(ctx, query, words, "steps"), 5),
    "abort": Verb(0, 0, _refused("slurm_shutdown error"), 5),
}

#: words that only switch how later requests print, in the interactive form
MODES: dict[str, dict[str, Any]] = {
    "oneliner": {"oneliner": True},
    "details": {"details": True},
    "all": {"all": True},
    "hide": {"hide": True},
    "quiet": {"quiet": 1},
    "verbose": {"verbose": 1},
}


#: what some say in place of the usual line
_TOO_FEW = {
    "create": "too few arguments for {} keyword",
    "delete": "too few arguments for {} keyword",
    "pidinfo": "missing argument for keyword:{}",
}


def find_verb(word: str) -> tuple[str, Verb] | None:
    """A keyword by its name or a prefix that is long enough."""
    lower = word.lower()
    if lower in VERBS:
        return lower, VERBS[lower]
    for name, verb in VERBS.items():
        if name.startswith(lower) and len(lower) >= verb.short:
            return name, verb
    return None


@streaming
async def main(ctx: Context) -> int:
    """Do the one request of the command line, or those read from stdin."""
    query = parse_scontrol(ctx.args, surroundings(ctx))
    for line in query.warnings:
        ctx.err(line)
    if not known_cluster(ctx, query.clusters):
        return 1
    check_style(ctx, query.json, query.yaml)
    if query.words:
        return await request(ctx, query, query.words)
    if is_list(query.json, query.yaml):
        return _show.answer(ctx, query, lambda form, about, now: form.ping_document(ctx.queue.host, about))
    return await _interactive(ctx, query)


async def request(ctx: Context, query: ScontrolQuery, words: Words) -> int:
    """One request; Slurm's words when it is none."""
    found = find_verb(words[0])
    if found is None:
        ctx.err(f"invalid keyword: {words[0]}")
        return 1
    name, verb = found
    rest = words[1:]
    if len(rest) < verb.least:
        if not query.quiet:
            ctx.err(_TOO_FEW.get(name, "too few arguments for keyword:{}").format(words[0]))
        return 1
    if verb.most is not None and len(rest) > verb.most:
        ctx.err(f"too many arguments for keyword:{words[0]}")
        return 1
    answer = verb.run(ctx, query, rest)
    return await answer if inspect.isawaitable(answer) else answer


async def _interactive(ctx: Context, query: ScontrolQuery) -> int:
    code = 0
    prompt = "scontrol: " if ctx.request.ttys[0] else ""
    while True:
        ctx.out(prompt)
        line = await ctx.read_line()
        if not line:
            return code
        try:
            words = shlex.split(line)
        except ValueError:
            ctx.err("scontrol: error: unmatched quote")
            code = 1
            continue
        if not words:
            continue
        if words[0] in ("exit", "quit"):
            return code
        if words[0] in MODES:
            query = replace(query, **MODES[words[0]])
            continue
        code = await request(ctx, query, words)
