"""Options of one job component during parsing."""

from __future__ import annotations

from typing import Any, Iterable, Optional

from ..language.mailtype import EVENTS
from . import container_options, path_readers, readers  # noqa: F401  (they register the readers of submit options)
from .getopt import Words
from .table import Option, OptionTable
from .usage_errors import NOT_CREATED, CommandError, Printed, failure, rejected
from .values import ReadContext, read

SCRIPT, ENVIRONMENT, COMMAND_LINE = "script", "environment", "command line"
#: Fields that collect (name, text) pairs instead of holding one value.
_PAIRS = ("recorded", "site_options")


#: list fields to which each repetition of the option appends (sacct.c and sstat.c: slurm_addto_*_list, xstrfmtcat)
_APPENDING_FIELDS: dict[str, frozenset[str]] = {
    "sacct": frozenset(
        ("accounts", "format", "groups", "jobs", "names", "partitions", "qos", "states", "users", "wckeys")
    ),
    "sstat": frozenset(("format", "jobs")),
    "sshare": frozenset(("accounts", "users")),
}
#: options that reset others: of each pair the last one takes precedence
_RESETS = {"parsable": ("parsable2",), "parsable2": ("parsable",)}


class Component:
    """Field values with their sources, and sources by option. An option is named by its long name."""

    def __init__(self, command: str, context: ReadContext, warnings: Optional[list[str]] = None) -> None:
        self.command = command
        self.context = context
        self.values: dict[str, Any] = {}
        self.sources: dict[str, str] = {}
        self.given: dict[str, str] = {}
        #: lines for stderr, shared by all components of a request
        self.warnings = [] if warnings is None else warnings
        #: text of each given option: "set" for a flag
        self.texts: dict[str, str] = {}
        #: typed options without effect, by name; a dry run or -v reports them
        self.idle: dict[str, Option] = {}

    def next(self, table: OptionTable) -> Component:
        """Create the next het component, with the values that it inherits."""
        following = Component(self.command, self.context, self.warnings)
        reset = {field for option in table.options if option.resets for field in option.field.split(",")}
        following.values = {name: value for name, value in self.values.items() if name not in reset}
        following.sources = {name: self.sources[name] for name in following.values if name in self.sources}
        kept = {option.name for option in table.options if not option.resets}
        following.given = {name: source for name, source in self.given.items() if name in kept}
        return following

    def refused(self, reason: str) -> CommandError:
        """Error for a refusal by slurmctld.

        Source: sbatch.c, srun_job.c (test_only).
        """
        if self.get("test_only"):
            return CommandError((f"allocation failure: {reason}",), 1)
        return rejected(self.command, reason, exit_code=self.context.error_exit)

    def invalid(self, *lines: str) -> CommandError:
        """Error for devices that the command cannot describe.

        Source: slurm_opt_create_job_desc.
        """
        error = failure(self.command, *lines, exit_code=self.context.error_exit)
        if self.get("test_only"):
            return CommandError((*error.lines, *NOT_CREATED.get(self.command, ())), 1)
        return error

    # ------------------------------------------------------------ setting

    def set_fields(self, option: Option, text: Optional[str], source: str) -> None:
        """Set the fields of ``option``; a later call overrides. Raises CommandError for an invalid text."""
        changes = read(option, text, self.context, self.command)
        if option.policy == "refused":
            raise not_here(self.command, option, self.context)
        self.warnings += changes.pop("warnings", ())
        counting = option.reader == "count" and source != ENVIRONMENT
        for name, value in changes.items():
            if name in _PAIRS:
                value = tuple({**dict(self.values.get(name, ())), **dict(value)}.items())
            elif name == "mail_type":
                # Every --mail-type adds to the earlier ones from any source; NONE adds nothing.
                wanted = {*self.values.get(name, ()), *value}
                value = tuple(event for event in EVENTS if event in wanted)
            elif counting and self.sources.get(name) == source:
                value += self.values[name]
            elif name in _APPENDING_FIELDS.get(self.command, ()) and self.sources.get(name) == source:
                before = self.values[name]
                value = f"{before},{value}" if isinstance(value, str) else (*before, *value)
            self.unset(*_RESETS.get(name, ()))
            self.values[name] = value
            self.sources[name] = source
        self.given[option.name] = source
        if option.long:
            value_text = str(self.values.get("verbose")) if option.name == "verbose" else text
            self.texts[option.name] = "set" if value_text is None else value_text
        if option.policy in ("recorded", "none") and source != ENVIRONMENT:
            self.idle[option.name] = option

    def unset(self, *names: str) -> None:
        """Remove fields."""
        for name in names:
            self.values.pop(name, None)
            self.sources.pop(name, None)

    def put_words(self, words: Words, source: str) -> None:
        """Set the options of ``words``, then raise their parse error."""
        for option, text in words.found:
            self.set_fields(option, text, source)
        if words.fault is not None:
            raise words.fault

    def put_environment(self, table: OptionTable) -> None:
        """Set options from input variables, row by row.

        A flag is set by "", "yes" or a number other than 0, and reset by any other value; an empty value of an option
        with an optional argument means no argument. Source: slurm_opt.c, slurm_process_option with set_by_env.
        """
        environment = self.context.env
        for option in table.options:
            if option.same_as or not option.reader:
                continue
            for name in option.env:
                text = environment.get(name)
                if text is None:
                    continue
                if option.argument == "none" and option.reader != "count":
                    if not switched_on(text):
                        self.unset(option.field)
                        self.given.pop(option.name, None)
                        continue
                    self.set_fields(option, None, ENVIRONMENT)
                elif option.argument == "optional" and not text:
                    self.set_fields(option, None, ENVIRONMENT)
                else:
                    self.set_fields(option, text, ENVIRONMENT)

    # ------------------------------------------------------------ reading

    def get(self, field: str, default: Any = None) -> Any:
        """Return the value of ``field``, or ``default`` if unset."""
        value = self.values.get(field)
        return default if value is None else value

    def has_typed(self, *names: str) -> bool:
        """Return whether script or command line have one of these options.

        Source: set_by_cli.
        """
        return any(self.given.get(name) in (SCRIPT, COMMAND_LINE) for name in names)

    def inherited(self, *names: str) -> bool:
        """Return whether the environment has one of these options.

        Source: set_by_env.
        """
        return any(self.given.get(name) == ENVIRONMENT for name in names)

    def pick(self, fields: Iterable[str]) -> dict[str, Any]:
        """Values of those ``fields`` that are set."""
        return {name: self.values[name] for name in fields if self.values.get(name) is not None}


def not_here(command: str, option: Option, context: ReadContext) -> CommandError:
    """Error for an option that is unsupported here. It has Slurm's text, then the reason."""
    reason = "Requested operation not supported on this system"
    return failure(command, reason, f"--{option.name}: {option.why}", exit_code=context.error_exit)


def switched_on(text: str) -> bool:
    """Return whether a flag's input variable sets the flag."""
    stripped = text.strip()
    if text == "" or stripped.lower() == "yes":
        return True
    digits = stripped[1:] if stripped[:1] in ("+", "-") else stripped
    return digits.isdecimal() and digits.strip("0") != ""


def answer_early(table: OptionTable, words: Words) -> None:
    """Process options that only print. Raises Printed for the first one on the command line."""
    from . import help as texts

    for option, text in words.found:
        if option.reader == "help":
            raise Printed(texts.help_text(table))
        if option.reader == "usage":
            raise Printed(texts.usage_text(table))
        if option.reader == "version":
            raise Printed(texts.version_text())
        if option.reader == "autocomplete":
            raise Printed(texts.completions(table, text or ""))
