"""squeue, scancel, sinfo, sacct, scontrol, sattach, sbcast, sstat: their command lines as typed requests.

Filters are kept as parsed values; whether a user, partition or node exists is the command's question. Each parser
takes ``argv`` without the command's name and raises CommandError (Printed for --help and its kin).
Source: src/squeue/opts.c, src/scancel/opt.c, src/sinfo/opts.c, src/sacct/options.c, src/scontrol/scontrol.c,
src/sattach/opt.c, src/sbcast/opts.c, src/sstat/options.c.
"""
from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any, Optional, Sequence, TypeVar

from ..language import jobids
from ..language.errors import JobIdError
from ..language.jobids import JobId
from . import filters, help
from .component import COMMAND_LINE, ENVIRONMENT, Component, answer_early
from .errors import CommandError, failure
from .getopt import split
from .table import Table, load
from .values import Context, leading_int

__all__ = ["JobId", "Query", "ScancelQuery", "ScontrolQuery", "SattachQuery", "SbcastQuery", "SacctQuery",
           "SinfoQuery", "SqueueQuery", "SstatQuery", "parse_sacct", "parse_sattach", "parse_sbcast", "parse_scancel",
           "parse_scontrol", "parse_sinfo", "parse_squeue", "parse_sstat"]


@dataclass(frozen=True)
class Query:
    """What every query has. ``None`` and () mean "not given"."""

    clusters: Optional[str] = None
    verbose: int = 0
    warnings: tuple[str, ...] = ()                   # for stderr, before anything else
    recorded: tuple[tuple[str, str], ...] = ()       # accepted without effect: option, text
    json: Optional[str] = None                       # None: not asked for; "" or the data_parser plugin
    yaml: Optional[str] = None
    #: SLURM_TIME_FORMAT, "" = standard
    time_format: str = ""
    #: SLURM_BITSTR_LEN: characters of an array's task list; None = not set, 0 = no limit
    bitstr_len: Optional[int] = None


@dataclass(frozen=True)
class SqueueQuery(Query):
    """squeue."""

    accounts: tuple[str, ...] = ()
    all: bool = False
    array: bool = False
    array_unique: bool = False
    expand_patterns: bool = False
    format: Optional[str] = None                     # -o, else SQUEUE_FORMAT
    format2: Optional[str] = None                    # -O, else SQUEUE_FORMAT2
    helpformat: bool = False
    helpformat2: bool = False
    helpstate: bool = False
    hide: bool = False
    iterate: Optional[int] = None                    # seconds
    jobs: Optional[tuple[JobId, ...]] = None         # () = bare --jobs
    licenses: tuple[str, ...] = ()
    long: bool = False
    me: bool = False
    notme: bool = False
    names: tuple[str, ...] = ()
    noconvert: bool = False
    nodelist: Optional[str] = None                   # hostlist text
    noheader: bool = False
    only_job_state: bool = False
    partitions: tuple[str, ...] = ()
    priority: bool = False
    qos: tuple[str, ...] = ()
    reservation: tuple[str, ...] = ()
    running_over: Optional[int] = None               # seconds
    running_under: Optional[int] = None
    sort: Optional[str] = None
    start: bool = False
    states: Optional[tuple[str, ...]] = None         # ("all",) = all; None = default states
    steps: Optional[tuple[JobId, ...]] = None        # () = all steps
    users: tuple[str, ...] = ()


@dataclass(frozen=True)
class ScancelQuery(Query):
    """scancel. ``jobs`` in the order given."""

    jobs: tuple[JobId, ...] = ()
    account: Optional[str] = None
    admin_comment: Optional[str] = None
    batch: bool = False
    cron: bool = False
    ctld: bool = False
    full: bool = False
    hurry: bool = False
    interactive: bool = False
    me: bool = False
    name: Optional[str] = None
    nodelist: Optional[str] = None
    partition: Optional[str] = None
    qos: Optional[str] = None
    quiet: int = 0
    reservation: Optional[str] = None
    signal: Optional[int] = None                     # None: TERM, then KILL
    state: Optional[str] = None                      # full name
    user: Optional[str] = None
    wckey: Optional[str] = None

    @property
    def filtered(self) -> bool:
        """Whether jobs are chosen by more than their ids."""
        return any((self.account, self.me, self.name, self.nodelist, self.partition, self.qos, self.reservation,
                    self.state, self.user, self.wckey))


@dataclass(frozen=True)
class SinfoQuery(Query):
    """sinfo."""

    all: bool = False
    dead: bool = False
    exact: bool = False
    future: bool = False
    helpformat: bool = False
    helpformat2: bool = False
    helpstate: bool = False
    hide: bool = False
    iterate: Optional[int] = None
    long: bool = False
    nodelist: Optional[str] = None
    noconvert: bool = False
    noheader: bool = False
    node: bool = False                               # -N
    format: Optional[str] = None
    format2: Optional[str] = None
    partitions: tuple[str, ...] = ()
    responding: bool = False
    list_reasons: bool = False
    summarize: bool = False
    sort: Optional[str] = None
    states: Optional[tuple[str, ...]] = None         # "idle", "~down", "idle&drain"
    reservation: bool = False                        # -T


@dataclass(frozen=True)
class SacctQuery(Query):
    """sacct. Times are epoch seconds; limits minutes."""

    allusers: bool = False
    accounts: tuple[str, ...] = ()
    allocations: bool = False
    array: bool = False
    brief: bool = False
    batch_script: bool = False
    completion: bool = False
    constraints: tuple[str, ...] = ()
    delimiter: Optional[str] = None
    duplicates: bool = False
    helpformat: bool = False
    helpreason: bool = False
    helpstate: bool = False
    endtime: Optional[int] = None
    env_vars: bool = False
    expand_patterns: bool = False
    file: Optional[str] = None
    flags: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    nnodes: Optional[tuple[int, int]] = None
    ncpus: Optional[tuple[int, int]] = None
    jobs: tuple[JobId, ...] = ()
    timelimit_min: Optional[int] = None
    timelimit_max: Optional[int] = None
    long: bool = False
    nodelist: Optional[str] = None
    noconvert: bool = False
    units: Optional[str] = None
    noheader: bool = False
    format: Optional[str] = None
    parsable: bool = False
    parsable2: bool = False
    qos: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    starttime: Optional[int] = None
    truncate: bool = False
    users: tuple[str, ...] = ()
    wckeys: tuple[str, ...] = ()
    whole_hetjob: bool = False
    associations: tuple[str, ...] = ()


@dataclass(frozen=True)
class SstatQuery(Query):
    """sstat."""

    jobs: tuple[JobId, ...] = ()
    allsteps: bool = False
    helpformat: bool = False
    noheader: bool = False
    format: Optional[str] = None
    noconvert: bool = False
    pidformat: bool = False
    parsable: bool = False
    parsable2: bool = False


@dataclass(frozen=True)
class ScontrolQuery(Query):
    """scontrol: options and the words of one request (none: read them from stdin)."""

    words: tuple[str, ...] = ()
    all: bool = False
    details: bool = False
    future: bool = False
    hide: bool = False
    oneliner: bool = False
    quiet: int = 0
    uid: Optional[str] = None


@dataclass(frozen=True)
class SattachQuery(Query):
    """sattach. Filters are task numbers."""

    step: JobId = JobId(1, step=0)
    label: bool = False
    quiet: int = 0
    layout: bool = False
    pty: bool = False
    input_filter: Optional[int] = None
    output_filter: Optional[int] = None
    error_filter: Optional[int] = None


@dataclass(frozen=True)
class SbcastQuery(Query):
    """sbcast."""

    source: str = ""
    destination: str = ""
    jobid: Optional[JobId] = None
    force: bool = False
    preserve: bool = False
    send_libs: bool = False
    exclude: Optional[str] = None


# ---------------------------------------------------------------- gathering

Record = TypeVar("Record", bound=Query)


def _gather(command: str, argv: Sequence[str], context: Context,
            table: Optional[Table]) -> tuple[Component, tuple[str, ...]]:
    """Options set from environment and command line; the operands."""
    table = table or load(command)
    part = Component(command, context)
    _environment(part, table)
    # sattach's option string begins with "+": what follows the step id is not read as options.
    words = split(table, argv, permute=command != "sattach")
    answer_early(table, words)
    part.put_words(words, COMMAND_LINE)
    return part, words.rest


def _environment(part: Component, table: Table) -> None:
    """A flag's variable sets it whatever its value, but for scancel, which wants true or false."""
    for option in table.options:
        if option.same_as or option.field in ("format", "format2"):
            continue
        for name in option.env:
            text = part.context.env.get(name)
            if text is None:
                continue
            if part.command == "scancel" and (option.argument == "none" or option.name == "state"):
                _scancel_variable(part, option.name, name, text)
            elif option.argument == "none":
                part.put(option, None, ENVIRONMENT)
            elif text or option.argument == "optional":
                part.put(option, text or None, ENVIRONMENT)


def _scancel_variable(part: Component, option: str, name: str, text: str) -> None:
    """Source: scancel/opt.c _opt_env; a bad value is told and not used."""
    found = load("scancel").longs[option]
    if option == "state":
        if filters.state_name(text) is None:
            part.warnings += [f"Unrecognized {name} value: {text}",
                              "Valid job states are PENDING, RUNNING, and SUSPENDED"]
        else:
            part.put(found, text, ENVIRONMENT)
    elif text.lower() == "true":
        part.put(found, None, ENVIRONMENT)
    elif text.lower() != "false":
        part.warnings.append(f"scancel: error: Unrecognized {name} value: {text}")


def _record(kind: type[Record], part: Component, **more: Any) -> Record:
    names = [entry.name for entry in dataclasses.fields(kind)]
    environment = part.context.env
    bitstr = environment.get("SLURM_BITSTR_LEN")
    values = {**part.pick(names), "warnings": tuple(part.warnings),
              "time_format": environment.get("SLURM_TIME_FORMAT", ""),
              "bitstr_len": None if bitstr is None else min(max(leading_int(bitstr), 0), 4096)}
    return kind(**{**values, **more})


def _formats(part: Component, prefix: str) -> dict[str, Optional[str]]:
    """-o and -O, else the variables, of which the first one found counts; -l puts the variables aside."""
    if part.get("format") is not None or part.get("format2") is not None or part.get("long"):
        return {}
    environment = part.context.env
    if environment.get(prefix + "_FORMAT") is not None:
        return {"format": environment[prefix + "_FORMAT"]}
    return {"format2": environment.get(prefix + "_FORMAT2")} if prefix == "SQUEUE" else {}


_EXCLUSIVE = "Options -o(--format) and -l(--long) are mutually exclusive. Please remove one and retry."


# ---------------------------------------------------------------- ids

def _step_or_job(command: str, text: str) -> tuple[JobId, ...]:
    """Ids of sacct, sstat, sbcast: junk behind a number is not looked at, 0 selects nothing in particular.

    Source: slurm_protocol_defs.c slurm_parse_step_str, slurm_addto_step_list.
    """
    found = []
    for word in re.split("[, ]+", text.strip(", ")):
        if not word:
            continue
        match = re.match(r"([0-9]+)(?:_([0-9]+|\*)?|\+([0-9]+))?(?:\.(batch$|extern$|interactive$|[0-9]+)?)?", word)
        if match is None:
            raise failure(command, f"Bad job/step specified: {word}", level="fatal")
        job, task, het, step = match.groups()
        marks = word[len(job):]
        if marks.startswith("_") and task is None:
            raise failure(command, f"Bad job array element specified: {job}", level="fatal")
        if "." in marks and step is None:
            raise failure(command, f"Bad step specified: {job}", level="fatal")
        number = leading_int(job)
        if number:
            found.append(JobId(number, "*" if task == "*" else None if task is None else int(task),
                               None if het is None else int(het), int(step) if step and step.isdigit() else step))
    return tuple(found)


def _squeue_jobs(text: str) -> tuple[JobId, ...]:
    """Source: squeue/opts.c _build_job_list: strtol for each part, what follows is not looked at."""
    found = []
    for word in jobids.split(text):
        number = leading_int(word)
        if number <= 0:
            raise failure("squeue", f"Invalid job id: {word}")
        try:
            found.append(jobids.parse(word))
        except JobIdError:
            mark = re.match(r"\s*\+?[0-9]+([_+]?)([0-9]*)", word)
            assert mark is not None
            index = int(mark.group(2) or 0)
            found.append(JobId(number, index if mark.group(1) == "_" else None,
                               index if mark.group(1) == "+" else None))
    return tuple(found)


def _squeue_steps(text: str) -> tuple[JobId, ...]:
    found = []
    for word in jobids.split(text):
        job, dot, step = word.partition(".")
        if not dot or not step:
            raise failure("squeue", f"Invalid job_step id: {job}.??")
        number = leading_int(job)
        if number <= 0:
            raise failure("squeue", f"Invalid job_step id: {job}.{step}")
        try:
            found.append(jobids.parse(word))
        except JobIdError:
            found.append(JobId(number, step=leading_int(step)))
    return tuple(found)


def _scancel_jobs(words: Sequence[str]) -> tuple[JobId, ...]:
    """Source: scancel/opt.c _xlate_job_step_ids; a fault shows the rest of its word from the bad id on."""
    found = []
    for word in words:
        at = 0
        parts = re.split(r",(?![^\[]*\])", word)
        for part in parts:
            # An empty element or step number reads as 0; the batch and extern steps cannot be named.
            text = part + "0" if re.fullmatch(r"[0-9]+[_.]", part) else part
            try:
                job = jobids.parse(text)
                if isinstance(job.step, str) or re.search(r"\s", text):
                    raise JobIdError(text)
            except JobIdError:
                raise failure("scancel", f"Invalid job id {word[at:]}") from None
            found.append(job)
            at += len(part) + 1
    return tuple(found)


# ---------------------------------------------------------------- the commands

def parse_squeue(argv: Sequence[str], context: Context, table: Optional[Table] = None) -> SqueueQuery:
    """squeue's request. --jobs and --steps may have their list in the next word."""
    part, rest = _gather("squeue", argv, context, table)
    for first, second, said in (("format", "format2", "-O (--Format) is incompatible with -o (--format)"),
                                ("format2", "format", "-o (--format) is incompatible with -O (--Format)")):
        order = [name for name in part.values if name in (first, second)]
        if order == [first, second]:
            raise failure("squeue", said)
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
    more: dict[str, Any] = {"jobs": None if jobs is None else _squeue_jobs(jobs),
                            "steps": None if steps is None else _squeue_steps(steps)}
    return _record(SqueueQuery, part, **_formats(part, "SQUEUE"), **more)


def parse_scancel(argv: Sequence[str], context: Context, table: Optional[Table] = None) -> ScancelQuery:
    """scancel's request: ids and filters, at least one of them."""
    part, rest = _gather("scancel", argv, context, table)
    query = _record(ScancelQuery, part, jobs=_scancel_jobs(rest))
    if not query.jobs and not any(name in part.values for name in (
            "account", "me", "name", "nodelist", "partition", "qos", "reservation", "state", "user", "wckey")):
        raise failure("scancel", "No job identification provided")
    return query


def parse_sinfo(argv: Sequence[str], context: Context, table: Optional[Table] = None) -> SinfoQuery:
    """sinfo's request; operands are not looked at."""
    part, _ = _gather("sinfo", argv, context, table)
    if part.get("long") and (part.get("format") is not None or part.get("format2") is not None):
        raise failure("sinfo", _EXCLUSIVE, level="fatal")
    return _record(SinfoQuery, part, **_formats(part, "SINFO"))


def parse_sacct(argv: Sequence[str], context: Context, table: Optional[Table] = None) -> SacctQuery:
    """sacct's request; defaults of the time window are the command's, which knows who asks."""
    part, rest = _gather("sacct", argv, context, table)
    if rest:
        raise failure("sacct", "Unknown arguments:", *(f" {word}" for word in rest))
    jobs = _step_or_job("sacct", part.get("jobs", ""))
    if part.get("batch_script") and part.get("env_vars"):
        raise failure("sacct", "Options --batch-script and --env-vars are mutually exclusive", level="fatal")
    for name, what in (("batch_script", "scripts"), ("env_vars", "environment")):
        if part.get(name) and not jobs:
            raise failure("sacct", f"When requesting job {what} you must also request specific jobs with the '-j' "
                                   "option.", level="fatal")
    if part.get("long") and part.get("format") is not None:
        raise failure("sacct", _EXCLUSIVE, level="fatal")
    start, end = part.get("starttime"), part.get("endtime")
    if start is not None and end is not None and start > end:
        from ..language import timespec

        shown = [timespec.format(moment, tz=context.timezone) for moment in (start, end)]
        raise failure("sacct", f"Start time ({shown[0]}) requested is after end time ({shown[1]}).")
    return _record(SacctQuery, part, jobs=jobs, **_formats(part, "SACCT"))


def parse_sstat(argv: Sequence[str], context: Context, table: Optional[Table] = None) -> SstatQuery:
    """sstat's request; operands are further job ids."""
    part, rest = _gather("sstat", argv, context, table)
    jobs = _step_or_job("sstat", ",".join([part.get("jobs", ""), *rest]))
    if not jobs and not part.get("helpformat"):
        raise failure("sstat", "You didn't give me any jobs to stat.")
    return _record(SstatQuery, part, jobs=jobs)


def parse_scontrol(argv: Sequence[str], context: Context, table: Optional[Table] = None) -> ScontrolQuery:
    """scontrol's options and request words; the words are the command's to read."""
    part, rest = _gather("scontrol", argv, context, table)
    uid = part.get("uid")
    if uid is not None and context.find_user(uid) is None:
        raise failure("scontrol", f'--uid="{uid}" invalid')
    return _record(ScontrolQuery, part, words=rest)


def parse_sattach(argv: Sequence[str], context: Context, table: Optional[Table] = None) -> SattachQuery:
    """sattach's one step."""
    part, rest = _gather("sattach", argv, context, table)
    usage = help.usage_text(load("sattach"))
    if len(rest) != 1:
        raise CommandError(("sattach: error: too many parameters",), 1, usage)
    if re.match(r"[0-9]+[_+0-9]*\.", rest[0]) is None:
        raise CommandError(("sattach: error: Failed to parse stepid from command line options",), 1, usage)
    steps = _step_or_job("sattach", rest[0])
    # Job 0 names nothing: asked of the controller like any unknown id.
    return _record(SattachQuery, part, step=steps[0] if steps else JobId(0xFFFFFFFE, step=0))


def parse_sbcast(argv: Sequence[str], context: Context, table: Optional[Table] = None) -> SbcastQuery:
    """sbcast's file and where it goes."""
    part, rest = _gather("sbcast", argv, context, table)
    if len(rest) != 2:
        raise CommandError((f"Need two file names, have {len(rest)} names",
                            'Try "sbcast --help" for more information'), 1)
    text = part.get("jobid")
    if text is None:
        raise failure("sbcast", "Need a job id to run this command.  Run from within a Slurm job or use the "
                                "--jobid option.")
    if leading_int(text) <= 0:
        raise CommandError(("sbcast: error: Slurm job 0 lookup error: Invalid job id specified",), 255)
    return _record(SbcastQuery, part, source=rest[0], destination=rest[1], jobid=_step_or_job("sbcast", text)[0])
