"""Parses the command lines of the query commands to typed requests.

Filters are stored as parsed values; the command checks whether a user, partition or node exists. Each parser receives
``argv`` without the command's name and raises CommandError (Printed for --help and similar).

Source: src/squeue/opts.c, src/scancel/opt.c, src/sinfo/opts.c, src/sacct/options.c, src/scontrol/scontrol.c,
src/sattach/opt.c, src/sbcast/opts.c, src/sstat/options.c.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
from typing import Any, Container, Optional, Sequence, TypeVar

from ..language.jobids import JobId
from . import filters, help
from .component_options import COMMAND_LINE, ENVIRONMENT, Component, answer_early
from .getopt import split
from .ids import scancel_jobs, squeue_jobs, squeue_steps, step_or_job
from .requests import (
    Query,
    SacctQuery,
    SattachQuery,
    SbcastQuery,
    ScancelQuery,
    ScontrolQuery,
    SinfoQuery,
    SqueueQuery,
    SstatQuery,
)
from .table import OptionTable, load
from .usage_errors import CommandError, failure
from .values import ReadContext, leading_int

__all__ = [
    "JobId",
    "Query",
    "SacctQuery",
    "SattachQuery",
    "SbcastQuery",
    "ScancelQuery",
    "ScontrolQuery",
    "SinfoQuery",
    "SqueueQuery",
    "SstatQuery",
    "parse_sacct",
    "parse_sattach",
    "parse_sbcast",
    "parse_scancel",
    "parse_scontrol",
    "parse_sinfo",
    "parse_squeue",
    "parse_sstat",
]

# ---------------------------------------------------------------- gathering

Record = TypeVar("Record", bound=Query)


def gather(
    command: str, argv: Sequence[str], context: ReadContext, table: Optional[OptionTable]
) -> tuple[Component, tuple[str, ...]]:
    """Set options from environment and command line; return the operands, too."""
    table = table or load(command)
    part = Component(command, context)
    # sattach's option string begins with "+": words after the step id are not options.
    words = split(table, argv, permute=command != "sattach")
    # squeue reads its filters' variables last, and only for options that were not given.
    given = {option.field for option, _ in words.found} if command == "squeue" else set()
    _environment(part, table, given)
    answer_early(table, words)
    part.put_words(words, COMMAND_LINE)
    return part, words.rest


def _environment(part: Component, table: OptionTable, given: Container[str]) -> None:
    """Set options from environment variables.

    A flag's variable sets the flag with any value, except that scancel requires true or false. ``given``: fields whose
    variables are ignored.
    """
    for option in table.options:
        if option.same_as or option.field in ("format", "format2") or option.field in given:
            continue
        for name in option.env:
            text = part.context.env.get(name)
            if text is None:
                continue
            if part.command == "scancel" and (option.argument == "none" or option.name == "state"):
                _scancel_variable(part, option.name, name, text)
            elif option.argument == "none":
                part.set_fields(option, None, ENVIRONMENT)
            elif text or option.argument == "optional":
                part.set_fields(option, text or None, ENVIRONMENT)


def _scancel_variable(part: Component, option: str, name: str, text: str) -> None:
    """Set an option of scancel from a variable.

    A bad value is reported and ignored. Source: scancel/opt.c _opt_env.
    """
    found = load("scancel").longs[option]
    if option == "state":
        if filters.state_name(text) is None:
            part.warnings += [
                f"Unrecognized {name} value: {text}",
                "Valid job states are PENDING, RUNNING, and SUSPENDED",
            ]
        else:
            part.set_fields(found, text, ENVIRONMENT)
    elif text.lower() == "true":
        part.set_fields(found, None, ENVIRONMENT)
    elif text.lower() != "false":
        part.warnings.append(f"scancel: error: Unrecognized {name} value: {text}")


def _record(kind: type[Record], part: Component, **more: Any) -> Record:
    names = [entry.name for entry in dataclasses.fields(kind)]
    environment = part.context.env
    bitstr = environment.get("SLURM_BITSTR_LEN")
    values = {
        **part.pick(names),
        "warnings": tuple(part.warnings),
        "time_format": environment.get("SLURM_TIME_FORMAT", ""),
        "bitstr_len": None if bitstr is None else min(max(leading_int(bitstr), 0), 4096),
    }
    return kind(**{**values, **more})


def _formats(part: Component, prefix: str) -> dict[str, Optional[str]]:
    """Format from -o and -O, else from the first variable. Options with a fixed format override the variables."""
    if part.get("format") is not None or part.get("format2") is not None:
        return {}
    if any(part.get(name) is not None for name in _OWN_FORMAT[prefix]):
        return {}
    environment = part.context.env
    if environment.get(prefix + "_FORMAT") is not None:
        return {"format": environment[prefix + "_FORMAT"]}
    return {"format2": environment.get(prefix + "_FORMAT2")} if prefix == "SQUEUE" else {}


_OWN_FORMAT = {"SQUEUE": ("long", "start", "steps"), "SINFO": ("summarize", "node", "list_reasons"), "SACCT": ("long",)}
_EXCLUSIVE = "Options -o(--format) and -l(--long) are mutually exclusive. Please remove one and retry."


# ---------------------------------------------------------------- the commands


def parse_squeue(argv: Sequence[str], context: ReadContext, table: Optional[OptionTable] = None) -> SqueueQuery:
    """Parse squeue's command line. --jobs and --steps may have their list in the next word."""
    part, rest = gather("squeue", argv, context, table)
    for first, second, message in (
        ("format", "format2", "-O (--Format) is incompatible with -o (--format)"),
        ("format2", "format", "-o (--format) is incompatible with -O (--Format)"),
    ):
        order = [name for name in part.values if name in (first, second)]
        if order == [first, second]:
            raise failure("squeue", message)
    words = list(rest)
    for field in ("jobs", "steps"):
        if field in part.values and not part.get(field) and words:
            part.values[field] = words.pop(0)
    if words:
        raise CommandError((f"squeue: error: Unrecognized option: {words[0]}",), 1, help.usage_text(load("squeue")))
    if part.get("long") and part.get("format") is not None:
        raise failure("squeue", _EXCLUSIVE, level="fatal")
    if part.values.get("jobs") == "" and part.values.get("steps") == "":
        raise failure("squeue", "Incompatible options --jobs and --steps")
    jobs, steps = part.values.get("jobs"), part.values.get("steps")
    more: dict[str, Any] = {
        "jobs": None if jobs is None else squeue_jobs(jobs),
        "steps": None if steps is None else squeue_steps(steps),
    }
    return _record(SqueueQuery, part, **_formats(part, "SQUEUE"), **more)


def parse_scancel(argv: Sequence[str], context: ReadContext, table: Optional[OptionTable] = None) -> ScancelQuery:
    """Parse scancel's command line: ids and filters. At least one of them is required."""
    part, rest = gather("scancel", argv, context, table)
    query = _record(ScancelQuery, part, jobs=scancel_jobs(rest))
    if not query.jobs and not any(
        name in part.values
        for name in (
            "account",
            "me",
            "name",
            "nodelist",
            "partition",
            "qos",
            "reservation",
            "state",
            "user",
            "wckey",
        )
    ):
        raise failure("scancel", "No job identification provided")
    return query


def parse_sinfo(argv: Sequence[str], context: ReadContext, table: Optional[OptionTable] = None) -> SinfoQuery:
    """Parse sinfo's command line; operands are ignored."""
    part, _ = gather("sinfo", argv, context, table)
    if part.get("long") and (part.get("format") is not None or part.get("format2") is not None):
        raise failure("sinfo", _EXCLUSIVE, level="fatal")
    if part.get("all") and part.get("partitions") is not None:
        sources = part.sources["all"], part.sources["partitions"]
        if sources == (COMMAND_LINE, ENVIRONMENT):
            part.unset("partitions")
        elif sources[0] == sources[1]:
            names = ("-a", "-p") if sources[0] == COMMAND_LINE else ("SINFO_ALL", "SINFO_PARTITION")
            message = f"Conflicting options, {names[0]} and {names[1]}, specified. Please choose one or the other."
            raise failure("sinfo", message)
    return _record(SinfoQuery, part, **_formats(part, "SINFO"))


def parse_sacct(argv: Sequence[str], context: ReadContext, table: Optional[OptionTable] = None) -> SacctQuery:
    """Parse sacct's command line. The command sets the defaults of the time window, because they depend on the user."""
    part, rest = gather("sacct", argv, context, table)
    if rest:
        raise failure("sacct", "Unknown arguments:", *(f" {word}" for word in rest))
    jobs = step_or_job("sacct", part.get("jobs", ""))
    if part.get("batch_script") and part.get("env_vars"):
        raise failure("sacct", "Options --batch-script and --env-vars are mutually exclusive", level="fatal")
    for name, what in (("batch_script", "scripts"), ("env_vars", "environment")):
        if part.get(name) and not jobs:
            raise failure(
                "sacct",
                f"When requesting job {what} you must also request specific jobs with the '-j' option.",
                level="fatal",
            )
    if part.get("long") and part.get("format") is not None:
        raise failure("sacct", _EXCLUSIVE, level="fatal")
    start, end = part.get("starttime"), part.get("endtime")
    if start is not None:
        usual = start if part.get("states") else int(context.now)
        in_order(start, usual if end is None else end, context.timezone)
    return _record(SacctQuery, part, jobs=jobs, **_formats(part, "SACCT"))


def in_order(start: int, end: int, zone: Optional[datetime.tzinfo]) -> None:
    """Raise CommandError if sacct's time window ends before it begins."""
    if start > end:
        from ..language import timespec

        shown = [timespec.format(moment, tz=zone) for moment in (start, end)]
        raise failure("sacct", f"Start time ({shown[0]}) requested is after end time ({shown[1]}).")


def parse_sstat(argv: Sequence[str], context: ReadContext, table: Optional[OptionTable] = None) -> SstatQuery:
    """Parse sstat's command line; operands are further job ids."""
    part, rest = gather("sstat", argv, context, table)
    if part.get("helpformat"):
        return _record(SstatQuery, part, jobs=())
    jobs = step_or_job("sstat", ",".join([part.get("jobs", ""), *rest]))
    if not jobs:
        raise failure("sstat", "You didn't give me any jobs to stat.")
    return _record(SstatQuery, part, jobs=jobs)


def parse_scontrol(argv: Sequence[str], context: ReadContext, table: Optional[OptionTable] = None) -> ScontrolQuery:
    """Parse scontrol's options and request words. The command interprets the words."""
    # Words after "setdebugflags" are not options: "-NAME" removes a flag.
    end = next((at for at, word in enumerate(argv) if word.lower().startswith("setdebug") and len(word) > 8), len(argv))
    part, rest = gather("scontrol", argv[:end], context, table)
    return _record(ScontrolQuery, part, words=(*rest, *argv[end:]))


def parse_sattach(argv: Sequence[str], context: ReadContext, table: Optional[OptionTable] = None) -> SattachQuery:
    """Parse sattach's command line: one step."""
    part, rest = gather("sattach", argv, context, table)
    usage = help.usage_text(load("sattach"))
    if len(rest) != 1:
        raise CommandError(("sattach: error: too many parameters",), 1, usage)
    if re.match(r"[0-9]+[_+0-9]*\.", rest[0]) is None:
        raise CommandError(("sattach: error: Failed to parse stepid from command line options",), 1, usage)
    steps = step_or_job("sattach", rest[0])
    # No job has id 0: the controller is queried as for any unknown id.
    return _record(SattachQuery, part, step=steps[0] if steps else JobId(0xFFFFFFFE, step=0))


def parse_sbcast(argv: Sequence[str], context: ReadContext, table: Optional[OptionTable] = None) -> SbcastQuery:
    """Parse sbcast's command line: source file and destination."""
    part, rest = gather("sbcast", argv, context, table)
    if len(rest) != 2:
        count = f"Need two file names, have {len(rest)} names"
        raise CommandError((*part.warnings, count, 'Try "sbcast --help" for more information'), 1)
    text = part.get("jobid")
    if text is None:
        missing = "Need a job id to run this command.  Run from within a Slurm job or use the --jobid option."
        raise CommandError((*part.warnings, f"sbcast: error: {missing}"), 1)
    if leading_int(text) <= 0:
        raise CommandError(("sbcast: error: Slurm job 0 lookup error: Invalid job id specified",), 255)
    return _record(SbcastQuery, part, source=rest[0], destination=rest[1], jobid=step_or_job("sbcast", text)[0])
