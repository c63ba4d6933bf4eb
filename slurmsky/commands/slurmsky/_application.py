"""Click application ``slurmsky``: command groups, help, and entry points."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import io
import os
import signal
import sys
from collections.abc import Awaitable, Iterator, Sequence
from typing import Any, NamedTuple

import click

from ...options.usage_errors import CommandError
from ._base import HELP, Forward, SlurmskyGroup

#: exit code of usage errors, as in every click application
USAGE_ERROR = 2


class Entry(NamedTuple):
    """Row of the command list. ``here``: the command runs in the caller's process, without a controller."""

    name: str
    section: str
    help: str
    here: bool = False


_JOBS, _SCRIPTS, _OWN, _SHELL = "Jobs", "Scripts and clusters", "This installation", "Shells and manuals"
ENTRIES = (
    Entry("why", _JOBS, "explain why a job waits or how it ended"),
    Entry("top", _JOBS, "show the queue, the nodes and a job's output, live"),
    Entry("report", _JOBS, "write an HTML page: timeline, usage, waiting times, cost"),
    Entry("tunnel", _JOBS, "forward a port to a job's node: Jupyter, VS Code, TensorBoard", here=True),
    Entry("explain", _SCRIPTS, "show the effect of each line of a script, or of a folder"),
    Entry("translate", _SCRIPTS, "print a SkyPilot YAML for a batch script"),
    Entry("site", _SCRIPTS, "validate or create the site file"),
    Entry("status", _OWN, "show the controller, its jobs and its engine"),
    Entry("stop", _OWN, "stop the controller; running jobs continue", here=True),
    Entry("doctor", _OWN, "check this installation; print a command for each finding", here=True),
    Entry("clean", _OWN, "remove old private environments and files of jobs that ended long ago", here=True),
    Entry("service", _OWN, "start the controller at boot (systemd user unit)", here=True),
    Entry("uninstall", _OWN, "stop everything and remove the state of this user", here=True),
    Entry("completion", _SHELL, "the completion script for bash, zsh or fish", here=True),
    Entry("man", _SHELL, "the manual page of a command", here=True),
    Entry("version", _SHELL, "the version", here=True),
    Entry("help", _SHELL, "this page, or the help of a command", here=True),
)
_BY_NAME = {entry.name: entry for entry in ENTRIES}


class Application(SlurmskyGroup):
    """Click group that imports each command at its first use. The module of a command is NAME_command."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Command names in the order of the help page."""
        return [entry.name for entry in ENTRIES]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module and return its ``command``."""
        if cmd_name not in _BY_NAME:
            return None
        found = importlib.import_module(f".{cmd_name}_command", __package__).command
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Raise UsageError with suggestions for an unknown command."""
        if args and args[0] not in _BY_NAME:
            raise click.UsageError(unknown(args[0], list(_BY_NAME)), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one help section per group."""
        for section in dict.fromkeys(entry.section for entry in ENTRIES):
            with formatter.section(section):
                formatter.write_dl([(entry.name, entry.help) for entry in ENTRIES if entry.section == section])


def unknown(word: str, known: Sequence[str]) -> str:
    """Error message for an unknown word, with similar known words."""
    typed = word.strip().lower()
    if not typed:
        return f"unknown command: {word!r}"
    near = difflib.get_close_matches(typed, known, 3, 0.5) or [name for name in known if name.startswith(typed)]
    return f"unknown command: {word}" + (f". Did you mean {' or '.join(near)}?" if near else "")


application = Application(
    "slurmsky",
    help="Commands in addition to Slurm's: explain jobs and scripts, and manage this installation.",
    example="slurmsky explain job.sh      before the first submission\nsbatch job.sh\nslurmsky why 1",
    page="guide",
    context_settings=HELP,
    no_args_is_help=False,
    invoke_without_command=True,
)


@application.result_callback()
def _result(value: Any) -> Any:
    return value


def invoke(args: Sequence[str], ctx: object = None) -> Any:
    """Run click and return the exit code.

    In the controller it may return a coroutine of the exit code. Raises CommandError, Forward.
    """
    words = list(args) or ["help"]
    if words[0] in ("-V", "--version"):
        words[0] = "version"
    elif words[0] in ("-h", "--help"):
        words[0] = "help"
    with errors(words):
        return application.main(words, "slurmsky", standalone_mode=False, obj=ctx) or 0


@contextlib.contextmanager
def errors(words: Sequence[str] = ()) -> Iterator[None]:
    """Context manager that converts click's errors to CommandError. ``words`` is the command line."""
    try:
        yield
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx is not None else _command_path(words)
        name = path.removeprefix("slurmsky").strip()
        prefix = f"slurmsky: {name}: " if name else "slurmsky: "
        message = prefix + _message(error, words)
        raise CommandError((message, f"Try '{path} --help' for more information"), USAGE_ERROR) from None
    except click.ClickException as error:
        raise CommandError((f"slurmsky: {error.format_message()}",), error.exit_code) from None
    except click.Abort:
        raise CommandError((), 130) from None


def _message(error: click.UsageError, words: Sequence[str]) -> str:
    """getopt's wording of an error, else click's wording."""
    if isinstance(error, click.NoSuchOption):
        near = f". Did you mean {' or '.join(error.possibilities)}?" if error.possibilities else ""
        typed = (word for word in words if word.partition("=")[0] == error.option_name)
        return f"unrecognized option '{next(typed, error.option_name)}'{near}"
    if isinstance(error, click.BadOptionUsage) and "requires an argument" in error.format_message():
        return f"option '{error.option_name}' requires an argument"
    return " ".join(error.format_message().split()).rstrip(".")


def _command_path(words: Sequence[str]) -> str:
    """Command that ``words`` name, for an error without a context."""
    return f"slurmsky {words[0]}" if words and words[0] in _BY_NAME else "slurmsky"


def main(args: Sequence[str]) -> int | None:
    """Run a command in the caller's process. Returns the exit code, or None if the controller must run the command."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end silently on SIGPIPE, as filters do
    try:
        code = invoke(args)
        sys.stdout.flush()
        return int(code)
    except Forward:
        return None
    except CommandError as error:
        sys.stdout.flush()
        sys.stdout.write(error.stdout)
        sys.stderr.write("".join(f"{line}\n" for line in error.lines))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        return _crashed(args, error)


def _crashed(args: Sequence[str], error: Exception) -> int:
    """Report an internal error: traceback to the log, one line to stderr."""
    import traceback

    from ... import paths

    log = paths.state(os.environ).log
    message = f"slurmsky: error: internal error ({type(error).__name__}: {error})"
    try:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as file:
            file.write(f"slurmsky {' '.join(args)}\n{''.join(traceback.format_exception(error))}")
        message += f", see {log}"
    except OSError:
        pass  # the line then names no log
    sys.stderr.write(message + "\n")
    return 1


async def serve(ctx: Any) -> int:
    """Run a forwarded command in the controller; return its exit code. Raises CommandError."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):  # click's help text
            result = invoke(ctx.args, ctx)
    finally:
        ctx.out(printed.getvalue())
    if inspect.isawaitable(result):
        waiting: Awaitable[int] = result
        with errors():
            return await waiting or 0
    return int(result)
