"""Builds JobSpecs and StepSpecs for sbatch, salloc and srun.

Precedence: command line > input environment > #SBATCH lines. sbatch works in two phases, because its command line
names the script that contains options: ``find_script`` first, then, with the script's bytes, ``parse_sbatch``.

Source: src/sbatch/opt.c, src/salloc/opt.c, src/srun/opt.c, src/common/slurm_opt.c.
"""

from __future__ import annotations

import dataclasses
import os.path
from dataclasses import dataclass
from datetime import datetime
from typing import Optional, Sequence

from ..language import exportspec
from ..language.timelimit import format_minutes
from ..model.spec import INFINITE, JobSpec
from ..model.step_spec import StepSpec
from . import checks, multiprog_file, submission_checks
from . import script as reading
from .component_options import COMMAND_LINE, SCRIPT, Component, answer_early, switched_on
from .getopt import Words, split
from .table import Option, OptionTable, load
from .usage_errors import failure, with_printed_lines
from .values import ReadContext

__all__ = [
    "JobSpec",
    "ScriptChoice",
    "ScriptText",
    "StepRequest",
    "StepSpec",
    "Submission",
    "SubmitFlags",
    "describe",
    "find_script",
    "parse_salloc",
    "parse_sbatch",
    "parse_srun",
    "with_burst_buffer",
    "wrap_script",
]

_JOB_FIELDS = tuple(entry.name for entry in dataclasses.fields(JobSpec))
_STEP_FIELDS = tuple(entry.name for entry in dataclasses.fields(StepSpec) if entry.name not in ("job", "argv", "typed"))


@dataclass(frozen=True)
class ScriptText:
    """A batch script: path as typed ("" for stdin) and content."""

    path: str
    data: bytes


@dataclass(frozen=True)
class ScriptChoice:
    """Script of sbatch: path and arguments, --wrap, or neither (stdin)."""

    argv: tuple[str, ...] = ()
    wrap: Optional[str] = None
    verbose: int = 0
    quiet: int = 0

    @property
    def path(self) -> Optional[str]:
        """The script as the user wrote it."""
        return self.argv[0] if self.argv else None


@dataclass(frozen=True)
class SubmitFlags:
    """Options that affect the command itself, not the job."""

    parsable: bool = False
    test_only: bool = False
    wait: bool = False
    quiet: int = 0
    verbose: int = 0
    ignore_pbs: bool = False
    bell: str = ""  # salloc: "always", "never"; "" = only after a long wait
    no_shell: bool = False
    kill_command: Optional[int] = None  # salloc: signal for the command when the allocation ends


#: of a het job: slurm.h MAX_HET_JOB_COMPONENTS
_MAX_COMPONENTS = 128
_FLAG_FIELDS = tuple(entry.name for entry in dataclasses.fields(SubmitFlags))


@dataclass(frozen=True)
class Submission:
    """Request of sbatch or salloc; ``argv`` has the command's words."""

    components: tuple[JobSpec, ...]
    argv: tuple[str, ...] = ()
    script_path: Optional[str] = None  # None: --wrap, standard input, or no script at all (salloc)
    wrap: Optional[str] = None
    flags: SubmitFlags = SubmitFlags()
    warnings: tuple[str, ...] = ()  # for stderr, printed first
    idle: tuple[Option, ...] = ()  # typed options without effect
    #: given options of the first component, with their texts: listed by -v
    given: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class StepRequest:
    """Request of srun: one StepSpec per het component."""

    components: tuple[StepSpec, ...]
    flags: SubmitFlags = SubmitFlags()
    warnings: tuple[str, ...] = ()
    idle: tuple[Option, ...] = ()
    #: given options of the first component, with their texts: listed by -v
    given: tuple[tuple[str, str], ...] = ()

    @property
    def step(self) -> StepSpec:
        """The first component."""
        return self.components[0]


def wrap_script(command: str) -> bytes:
    """The batch script that --wrap creates for ``command``."""
    return f"#!/bin/sh\n# This script was created by sbatch --wrap.\n\n{command}\n".encode("utf-8", "surrogateescape")


def with_burst_buffer(script: bytes, lines: bytes) -> bytes:
    """Insert the content of --bbf after a script's first line.

    Source: run_command.c run_command_add_to_script.

    >>> with_burst_buffer(b"#!/bin/sh\\ntrue\\n", b"#BB x")
    b'#!/bin/sh\\n#BB x\\ntrue\\n'
    """
    if not lines:
        return script
    first, _, rest = script.partition(b"\n") if script.startswith(b"#") else (b"", b"", script)
    head = first + b"\n" if first else b""
    return head + lines + (b"" if lines.endswith(b"\n") else b"\n") + rest


# ---------------------------------------------------------------- sbatch


def find_script(argv: Sequence[str], context: ReadContext, table: Optional[OptionTable] = None) -> ScriptChoice:
    """First phase: find the script and refuse invalid values.

    --help and similar options are processed. ``argv`` excludes the command's name. A lone ":" separates components
    here, too, and is never passed to the script. Raises CommandError.

    Source: sbatch/opt.c process_options_first_pass, which reads the values of all components.
    """
    table = table or load("sbatch")
    words = split(table, [word for word in argv if word != ":"])
    answer_early(table, words)
    part = Component("sbatch", context)
    part.put_words(words, COMMAND_LINE)
    wrap = part.get("wrap")
    if wrap is not None and words.rest:
        raise failure("sbatch", "Script arguments not permitted with --wrap option", exit_code=context.error_exit)
    return ScriptChoice(words.rest, wrap, part.get("verbose", 0), part.get("quiet", 0))


def parse_sbatch(
    argv: Sequence[str], script: Optional[ScriptText], context: ReadContext, table: Optional[OptionTable] = None
) -> Submission:
    """Second phase: parse all; without ``script``: --wrap. Raises CommandError."""
    table = table or load("sbatch")
    choice = find_script(argv, context, table)
    # The script of --wrap is not scanned for options.
    directives = reading.ScriptOptions() if script is None else reading.read(script.data, script.path, context)
    messages = list(directives.warnings)
    with with_printed_lines(messages):
        parts = _sbatch_components(argv, script, directives, Component("sbatch", context, messages), table)
    messages += _unclosed(parts)
    default = os.path.basename(script.path) or "sbatch" if script else "wrap"
    jobs = tuple(_job(part, context, default) for part in parts)
    flags = _flags(parts[0], parsable=any(part.get("parsable") for part in parts))
    return Submission(
        jobs, choice.argv[1:], choice.path, choice.wrap, flags, tuple(messages), _idle(parts), _given(parts)
    )


def _sbatch_components(
    argv: Sequence[str],
    script: Optional[ScriptText],
    directives: reading.ScriptOptions,
    first: Component,
    table: OptionTable,
) -> list[Component]:
    """Build all components of a submission.

    Each combines its part of the script, the environment, and its part of the command line.
    """
    parts: list[Component] = []
    words, more = list(argv), True
    while more or len(parts) < len(directives.components):
        part = parts[-1].next(table) if parts else first
        if len(parts) < len(directives.components):
            _put_directives(part, table, directives.components[len(parts)])
        if script is not None and not parts and not _ignores_pbs(part, argv, table):
            part.put_words(split(table, reading.other_directives(script.data, script.path, part.context)), SCRIPT)
        part.put_environment(table)
        # Components that only the script defines use the last component's command line: sbatch.c advances in argv only
        # at a ":".
        found = split(table, words)
        part.put_words(found, COMMAND_LINE)
        more = found.rest[:1] == (":",)
        words = list(found.rest[1:]) if more else words
        checks.verify(part)
        parts.append(part)
    for part in parts:
        submission_checks.submission(part, het=len(parts) > 1)
    return parts


def _put_directives(part: Component, table: OptionTable, words: Sequence[str]) -> None:
    found = split(table, words)
    late = tuple(entry for entry in found.found if not entry.option.early)
    part.put_words(Words(late, found.rest, found.fault), SCRIPT)
    if found.rest:
        raise failure("sbatch", f"Invalid directive found in batch script: {found.rest[0]}", exit_code=255)


def _ignores_pbs(part: Component, argv: Sequence[str], table: OptionTable) -> bool:
    """Return whether script, environment or command line has --ignore-pbs."""
    text = part.context.env.get("SBATCH_IGNORE_PBS")
    return (
        bool(part.get("ignore_pbs"))
        or (text is not None and switched_on(text))
        or any(option.long == "ignore-pbs" for option, _ in split(table, argv).found)
    )


# ---------------------------------------------------------------- salloc, srun


def parse_salloc(argv: Sequence[str], context: ReadContext, table: Optional[OptionTable] = None) -> Submission:
    """Parse salloc's command line to a Submission. Raises CommandError."""
    table = table or load("salloc")
    messages: list[str] = []
    with with_printed_lines(messages):
        parts, commands = _components(argv, Component("salloc", context, messages), table)
        for part in parts:
            checks.verify(part)
            submission_checks.submission(part, het=len(parts) > 1)
    command = next((words for words in commands if words), ())
    default = "no-shell" if parts[0].get("no_shell") else "interactive"
    jobs = tuple(_job(part, context, default) for part in parts)
    return Submission(jobs, command, None, None, _flags(parts[0]), tuple(messages), _idle(parts), _given(parts))


def parse_srun(argv: Sequence[str], context: ReadContext, table: Optional[OptionTable] = None) -> StepRequest:
    """Parse srun's command line to a StepRequest. Raises CommandError."""
    table = table or load("srun")
    messages: list[str] = []
    steps = []
    with with_printed_lines(messages):
        parts, commands = _components(argv, Component("srun", context, messages), table)
        _groups(parts)
        for index, part in enumerate(parts):
            # A component without a program runs the last component's program, which is required.
            command = commands[-1] and (commands[index] or commands[-1])
            if not command:
                raise failure("srun", "No command given to execute.", level="fatal")
            if part.get("multi_prog"):
                multiprog_file.verify(part, command[0])
            checks.verify(part)
            _relative(part)
            messages += checks.inside_a_job(part)
            if not part.get("jobid"):
                submission_checks.submission(part, het=len(parts) > 1)
            steps.append(_step(part, context, command))
        messages += _unclosed(parts)
    return StepRequest(tuple(steps), _flags(parts[0]), tuple(messages), _idle(parts), _given(parts))


def _components(
    argv: Sequence[str], first: Component, table: OptionTable
) -> tuple[list[Component], list[tuple[str, ...]]]:
    """Split components, with options set, at lone ":" words."""
    parts: list[Component] = []
    commands: list[tuple[str, ...]] = []
    rest: Optional[Sequence[str]] = list(argv)
    while rest is not None:
        part = parts[-1].next(table) if parts else first
        part.put_environment(table)
        words = split(table, rest)
        answer_early(table, words)
        part.put_words(words, COMMAND_LINE)
        # salloc passes the words after a program to it, with any ":"; srun's program ends at the ":".
        searched = words.rest[:1] if first.command == "salloc" else words.rest
        colon = words.rest.index(":") if ":" in searched else None
        commands.append(words.rest[:colon])
        rest = None if colon is None else words.rest[colon + 1 :]
        parts.append(part)
    return parts, commands


def _unclosed(parts: Sequence[Component]) -> list[str]:
    """Error lines for unclosed quotes in --export, which are kept."""
    items = [exportspec.parse(part.get("export")).unclosed for part in parts if part.get("export")]
    return [f"{parts[0].command}: error: Improperly formed environment variable ({item})" for item in items if item]


def _groups(parts: Sequence[Component]) -> None:
    """Refuse two command-line components for one het component."""
    taken: set[int] = set()
    for index, part in enumerate(parts):
        own: set[int] = set()
        for item in part.get("het_group", str(index)).replace("+", ",").split(","):
            first, _, last = item.partition("-")
            if first.isdecimal() and (not last or last.isdecimal()):
                own.update(range(int(first), min(int(last or first), _MAX_COMPONENTS) + 1))
        if taken & own:
            raise failure("srun", "Duplicate het groups in single srun not supported", level="fatal")
        taken |= own


def _relative(part: Component) -> None:
    if part.get("relative") is not None and not part.get("jobid"):
        raise failure("srun", "--relative option invalid for job allocation request", level="fatal")


# ---------------------------------------------------------------- records


def _job(part: Component, context: ReadContext, default_name: str) -> JobSpec:
    """Build the JobSpec of one component, with the client's defaults."""
    fields = part.pick(_JOB_FIELDS)
    fields.setdefault("job_name", default_name)
    fields.setdefault("chdir", context.cwd)
    return JobSpec(**fields)


def _step(part: Component, context: ReadContext, argv: tuple[str, ...]) -> StepSpec:
    job_fields = part.pick(_JOB_FIELDS)
    # Inside a job SLURM_JOB_NAME is the job's name; a step is named after its program.
    if "job_name" not in job_fields or (part.get("jobid") and not part.has_typed("job-name")):
        job_fields["job_name"] = os.path.basename(argv[0])
    step_fields = part.pick(_STEP_FIELDS)
    # Both records have a field of this name; a step's --exclusive is a boolean.
    step_fields["exclusive"] = part.get("exclusive") is not None
    by_source: dict[str, list[str]] = {}
    for name, source in part.sources.items():
        if part.values.get(name) is not None:
            by_source.setdefault(source, []).append(name)
    return StepSpec(
        job=JobSpec(**job_fields),
        argv=argv,
        **step_fields,
        typed=tuple(by_source.get(COMMAND_LINE, ())),
    )


def describe(request: Submission) -> tuple[tuple[str, str], ...]:
    """Name and value of each given option, as -v lists them."""
    return request.given


def _given(parts: Sequence[Component]) -> tuple[tuple[str, str], ...]:
    first = parts[0]
    return tuple(sorted((name, _shown(first, name, text)) for name, text in first.texts.items()))


def _shown(part: Component, name: str, text: str) -> str:
    """Value of an option as -v shows it, with times expanded.

    Source: slurm_opt.c, arg_get_*.
    """
    option = load(part.command).longs.get(name)
    value = part.get(option.field) if option is not None else None
    if option is None or value is None:
        return text
    if option.reader in ("time", "delay_boot"):
        return "UNLIMITED" if value == INFINITE else format_minutes(value)
    if option.reader == "epoch":
        return datetime.fromtimestamp(value, part.context.timezone).strftime("%Y-%m-%dT%H:%M:%S")
    if option.reader == "exclusive" and not value:
        return "exclusive"
    if option.reader in ("requeue", "no_requeue"):
        return name
    if option.reader == "open_mode":
        return str(value)[0]
    return str(value) if option.reader in ("profile", "cpu_freq") else text


def _idle(parts: Sequence[Component]) -> tuple[Option, ...]:
    return tuple({name: option for part in parts for name, option in part.idle.items()}.values())


def _flags(part: Component, **more: bool) -> SubmitFlags:
    return SubmitFlags(**{**part.pick(_FLAG_FIELDS), **more})
