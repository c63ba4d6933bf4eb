"""scontrol: dispatch of its verbs, and the short verbs.

Source: src/scontrol/scontrol.c _process_command.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...controller.command_context import CommandContext
from ...language.key_values import fits
from ...options import help as helps
from ...options.query import ScontrolQuery, parse_scontrol
from ...options.table import load
from ...report.json.other_records import running_records
from ..common.caller_settings import read_context
from ..common.command_errors import streaming
from ..common.data_output import check_style, is_list
from ..common.report_settings import known_cluster
from . import (
    admin_verbs,
    job_verbs,
    process_verbs,
    reservation_verbs,
    show_jobs,
    show_output,
    show_verbs,
    update_jobs,
    update_nodes,
    update_partitions,
)
from .update_values import strtoll

Words = Sequence[str]
Answer = int | Awaitable[int]
Run = Callable[[CommandContext, ScontrolQuery, Words], Answer]


@dataclass(frozen=True)
class Verb:
    """Keyword of scontrol: abbreviation, argument limits, handler, error texts.

    ``letters`` is the length of the shortest accepted prefix. ``least`` and ``most`` limit the number of arguments
    (most None: no limit); ``few`` and ``many`` are the errors beyond these limits. With ``drops_surplus``, surplus
    arguments are reported and then dropped.
    """

    name: str
    letters: int
    least: int
    most: int | None
    run: Run
    few: str = "too few arguments for keyword:{}"
    many: str = "too many arguments for keyword:{}"
    drops_surplus: bool = False
    #: accept extra letters after the full name
    open: bool = False
    #: print argument errors with --quiet, too
    loud: bool = True


def _ping(ctx: CommandContext, query: ScontrolQuery, words: Words) -> int:
    if show_output.as_data(query):
        return show_output.print_document(
            ctx, query, lambda form, about, now: form.ping_document(ctx.controller.host, about)
        )
    ctx.out(f"Slurmctld(primary) at {ctx.controller.host} is UP\n")
    return 0


def _listed(what: str) -> Run:
    def run(ctx: CommandContext, query: ScontrolQuery, words: Words) -> Answer:
        if show_output.as_data(query):
            records = running_records(admin_verbs.running(ctx, words))[what]
            return show_output.print_document(
                ctx, query, lambda form, about, now: form.managed_document(what, records, about)
            )
        return admin_verbs.listjobs(ctx, words, steps=what == "steps")

    return run


def _errnumstr(ctx: CommandContext, query: ScontrolQuery, words: Words) -> int:
    from ...controller.slurm_errors import Errno

    number, rest = strtoll(words[0])
    if rest:
        ctx.err(f"numeric arguments required for keyword:{query.words[0]}")
        return 1
    known = {errno.number: errno.text for errno in Errno}
    ctx.out((known.get(number) or os.strerror(number)) + "\n")
    return 0


def _create(ctx: CommandContext, query: ScontrolQuery, words: Words) -> int:
    for word in words:  # a reservation may name its partition in a later word
        key = word.partition("=")[0]
        for name, make in (("NodeName", update_nodes.create), ("PartitionName", update_partitions.create),
                           ("ReservationName", reservation_verbs.create)):  # fmt: skip
            if fits(key, name, 3):
                return make(ctx, words)
    ctx.error(f"Invalid creation entity: {words[0]}")
    return 1


def _delete(ctx: CommandContext, query: ScontrolQuery, words: Words) -> int:
    key, equals, name = words[0].partition("=")
    if len(words) == 2:
        key, name = words
    elif len(words) > 2 or not equals:
        ctx.error("Proper format is 'delete <ENTITY>=<ID>' or 'delete <ENTITY> <ID>'")
        return 1
    for entity, remove in (("NodeName", update_nodes.delete), ("PartitionName", update_partitions.delete),
                           ("ReservationName", reservation_verbs.delete)):  # fmt: skip
        if fits(key, entity, 3):
            return remove(ctx, words[0], name)
    ctx.err(f"Invalid deletion entity: {words[0]}")
    return 1


def _cluster(ctx: CommandContext, query: ScontrolQuery, words: Words) -> int:
    """Accept -M without effect: there is one cluster."""
    return 0 if not words or known_cluster(ctx, words[0]) else 1


def _version(ctx: CommandContext, query: ScontrolQuery, words: Words) -> int:
    ctx.out(helps.version_text())
    return 0


def _usage(ctx: CommandContext, query: ScontrolQuery, words: Words) -> int:
    ctx.out(helps.help_text(load("scontrol")))
    return 0


_MISSING = "missing argument for keyword:{}"
_FEW_KEYWORD = "too few arguments for {} keyword"
_MANY_KEYWORD = "too many arguments for {} keyword"
_ONE = "one arguments required for keyword:{}"
_NEEDS_ONE = "one argument required for keyword:{}"
_NEEDS_TWO = "two arguments required for keyword:{}"


def _accepted(ctx: CommandContext, query: ScontrolQuery, words: Words) -> int:
    """Accept a keyword that affects only later interactive requests."""
    return 0


def _words(run: Callable[[CommandContext, Words], Answer]) -> Run:
    return lambda ctx, query, words: run(ctx, words)


def _hold(user: bool) -> Run:
    return _words(lambda ctx, words: job_verbs.hold(ctx, words, user=user))


#: in lookup order: the first verb that a prefix fits wins
VERBS: tuple[Verb, ...] = (
    Verb("all", 2, 0, None, _accepted),
    Verb("cancel_reboot", 3, 1, 1, _words(update_nodes.cancel_reboot), _MISSING),
    Verb("completing", 2, 0, 0, lambda ctx, query, words: show_jobs.completing(ctx, query)),
    Verb("cluster", 2, 0, None, _cluster),
    Verb("create", 2, 1, None, _create, _FEW_KEYWORD),
    Verb("details", 1, 0, 0, _accepted),
    Verb("errnumstr", 2, 1, 1, _errnumstr, _ONE, _ONE),
    Verb("errnostr", 2, 1, 1, _errnumstr, _ONE, _ONE),
    Verb("exit", 2, 0, 0, _accepted, drops_surplus=True),
    Verb("getaddrs", 8, 1, 1, _words(admin_verbs.getaddrs), _NEEDS_ONE, _NEEDS_ONE),
    Verb("gethost", 7, 2, 2, _words(admin_verbs.gethost), _NEEDS_TWO, _NEEDS_TWO),
    Verb("help", 2, 0, 0, _usage, drops_surplus=True),
    Verb("hide", 2, 0, None, _accepted),
    Verb("oneliner", 1, 0, 0, _accepted, drops_surplus=True),
    Verb("pidinfo", 3, 1, 1, _words(process_verbs.pidinfo), _MISSING),
    Verb("ping", 3, 0, 0, _ping),
    Verb("power", 2, 2, 4, _words(update_nodes.power), loud=False),
    Verb("quiet", 4, 0, 0, _accepted, drops_surplus=True),
    Verb("quit", 4, 0, 0, _accepted, drops_surplus=True),
    Verb("reboot_nodes", 3, 0, None, lambda ctx, query, words: update_nodes.reboot(ctx, query.words[0], words)),
    Verb("reconfigure", 3, 0, 1, lambda ctx, query, words: admin_verbs.reconfigure(ctx), drops_surplus=True),
    Verb("requeue", 3, 1, None, _words(lambda ctx, words: job_verbs.requeue(ctx, words, "requeue")), loud=False),
    Verb("requeuehold", 11, 1, None, _words(lambda ctx, words: job_verbs.requeue(ctx, words, "hold")), open=True,
         loud=False),
    Verb("holdu", 5, 1, None, _hold(user=True), open=True, loud=False),
    Verb("hold", 4, 1, None, _hold(user=False), open=True, loud=False),
    Verb("uhold", 5, 1, None, _hold(user=True), open=True, loud=False),
    Verb("release", 3, 1, None, _words(job_verbs.release), loud=False),
    Verb("suspend", 2, 1, None, _words(job_verbs.suspend), loud=False),
    Verb("resume", 3, 1, None, _words(job_verbs.resume), loud=False),
    Verb("top", 3, 1, 1, _words(lambda ctx, words: job_verbs.top(ctx, words[0])), loud=False),
    Verb("token", 3, 0, None, _words(admin_verbs.token)),
    Verb("wait_job", 2, 1, 1, lambda ctx, query, words: job_verbs.wait_job(ctx, words[0]), loud=False),
    Verb("setdebugflags", 9, 1, None, _words(admin_verbs.setdebugflags), loud=False),
    Verb("fsdampeningfactor", 3, 1, 1, _words(admin_verbs.dampening), loud=False),
    Verb("fairsharedampeningfactor", 3, 1, 1, _words(admin_verbs.dampening), loud=False),
    Verb("setdebug", 2, 1, 2, _words(admin_verbs.setdebug), loud=False),
    Verb("schedloglevel", 3, 1, 1, _words(admin_verbs.schedloglevel), loud=False),
    Verb("show", 3, 1, None, lambda ctx, query, words: show_verbs.show(ctx, query, words, query.words[0]), loud=False),
    Verb("write", 5, 1, None, _words(job_verbs.write)),
    Verb("takeover", 8, 0, 1, _words(admin_verbs.takeover), many="{}: too many arguments"),
    Verb("shutdown", 8, 0, 1, _words(admin_verbs.shutdown)),
    Verb("update", 1, 1, None, _words(update_jobs.update), _FEW_KEYWORD),
    Verb("delete", 1, 1, None, _delete, _FEW_KEYWORD),
    Verb("verbose", 4, 0, 0, _accepted, many=_MANY_KEYWORD, drops_surplus=True),
    Verb("version", 4, 0, 0, _version, many=_MANY_KEYWORD, drops_surplus=True),
    Verb("listpids", 1, 0, 2, process_verbs.listpids),
    Verb("listjobs", 1, 0, 1, _listed("jobs")),
    Verb("liststeps", 1, 0, 1, _listed("steps")),
    Verb("getent", 6, 0, None, _words(admin_verbs.getent)),
    Verb("notify", 1, 2, None, _words(process_verbs.notify)),
    Verb("callerid", 3, 4, 5, _words(admin_verbs.callerid)),
)  # fmt: skip

#: keywords that change how later interactive requests print
MODES: dict[str, dict[str, Any]] = {
    "oneliner": {"oneliner": True},
    "details": {"details": True},
    "all": {"all": True},
    "hide": {"all": False, "details": False},
    "quiet": {"quiet": 1},
    "verbose": {"verbose": 1},
}


def find_verb(word: str) -> Verb | None:
    """Find a keyword by its name or a long enough prefix."""
    for verb in VERBS:
        if fits(word[: len(verb.name)] if verb.open else word, verb.name, verb.letters):
            return verb
    return None


@streaming
async def main(ctx: CommandContext) -> int:
    """Run the command line's request, or each request from stdin."""
    query = parse_scontrol(ctx.args, read_context(ctx))
    for line in query.warnings:
        ctx.err(line)
    if not known_cluster(ctx, query.clusters):
        return 1
    check_style(ctx, query.json, query.yaml)
    if query.words:
        return await request(ctx, query, query.words)
    if is_list(query.json, query.yaml):
        return show_output.print_document(
            ctx, query, lambda form, about, now: form.ping_document(ctx.controller.host, about)
        )
    return await _interactive(ctx, query)


async def request(ctx: CommandContext, query: ScontrolQuery, words: Words) -> int:
    """Run one request; print Slurm's error for an unknown keyword."""
    verb = find_verb(words[0])
    if verb is None:
        ctx.err(f"invalid keyword: {words[0]}")
        return 1
    rest = words[1:]
    message = ""
    if len(rest) < verb.least:
        message = verb.few
    elif verb.most is not None and len(rest) > verb.most:
        message = verb.many
    if message:
        if verb.loud or not query.quiet:
            ctx.err(message.format(words[0]))
        if message == verb.few or not verb.drops_surplus:
            return 1
        rest = rest[: verb.most]
    answer = verb.run(ctx, replace(query, words=tuple(words)), rest)
    code = await answer if inspect.isawaitable(answer) else answer
    return max(code, 1) if message else code


def _tokens(line: str) -> list[str]:
    """Split a line as scontrol does. Quotes remain in the words. They protect blanks except at the start of a word."""
    words: list[str] = []
    word, quotes = "", ""
    for char in line + " ":
        if char.isspace() and not quotes:
            words += [word] if word else []
            word = ""
            continue
        if word and char in "\"'":
            quotes = quotes.replace(char, "") if char in quotes else quotes + char
        word += char
    return [*words, word[:-1]] if word else words


async def _interactive(ctx: CommandContext, query: ScontrolQuery) -> int:
    code, last = 0, ""
    tty = ctx.request.ttys[0]
    while True:
        ctx.out("scontrol: ")
        raw = await ctx.read_line()
        if not tty:
            ctx.out(raw.rstrip("\n") + ("\n" if raw else ""))
        if not raw:
            ctx.out("\n")
            return code
        line = last if raw.strip("\n") == "!!" else raw.strip("\n")
        last = line
        words = _tokens(line)
        if not words:
            continue
        verb = find_verb("quiet" if words[0].startswith("\\q") else words[0])
        code = max(code, await request(ctx, query, words if words[0][:1] != "\\" else ["quiet", *words[1:]]))
        if verb is not None and verb.name in ("exit", "quit"):
            return code
        if verb is not None and verb.name in MODES:
            query = replace(query, **MODES[verb.name])
