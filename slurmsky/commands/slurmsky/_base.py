"""click base classes of the ``slurmsky`` application.

click parses in the caller's process for commands that run there, and in the controller for other commands.
``in_controller`` marks the latter: their first argument is the controller's CommandContext. In the caller's process
they raise Forward, and the client then sends the request to the controller as for Slurm's commands.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from ...options.usage_errors import CommandError

HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Forward(Exception):
    """Exception of a command that must run in the controller."""


def in_controller(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator for a callback that receives the controller's CommandContext."""

    @functools.wraps(function)
    def run(*args: Any, **options: Any) -> Any:
        ctx = click.get_current_context().find_root().obj
        if ctx is None:
            raise Forward
        return function(ctx, *args, **options)

    return run


def failed(*lines: str, code: int = 1) -> CommandError:
    """CommandError with lines for stderr and an exit code."""
    return CommandError(tuple(lines), code)


class Documented(click.Command):
    """Base of commands and groups with an example and a documentation page.

    ``helps``: True if the command without arguments prints its help and fails.
    """

    helps = False

    def __init__(self, *args: Any, example: str = "", page: str = "", **options: Any) -> None:
        options.setdefault("context_settings", HELP)
        super().__init__(*args, **options)
        self.example, self.page = example, page

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as click does; print the help for missing arguments."""
        if self.helps and not args:
            click.echo(self.get_help(ctx))
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def get_help_option_names(self, ctx: click.Context) -> list[str]:
        """Return -h and --help in every context. click caches the option of the first context."""
        return ["-h", "--help"]

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Append example and documentation page to the help text."""
        if self.example:
            with formatter.section("Example"):
                for line in self.example.splitlines():
                    formatter.write(f"  {line}\n")
        if self.page:
            formatter.write(f"\nMore: {documentation(self.page)}\n")


class SlurmskyCommand(Documented):
    """A click command with an example and a documentation page."""


class SlurmskyGroup(Documented, click.Group):
    """A click group whose help is printed without a subcommand."""

    command_class = SlurmskyCommand

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.helps = not self.invoke_without_command


class PassingCommand(SlurmskyCommand):
    """Command that precedes an sbatch command line. Its flags may also come at the end."""

    helps = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Separate our options from sbatch's command line for click."""
        options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        flags = {name for option in options if option.is_flag for name in option.opts}
        values = {name for option in options if not option.is_flag for name in option.opts}
        own, rest = split(args, flags, values)
        return super().parse_args(ctx, [*own, "--", *rest] if args else [])


def split(words: Sequence[str], flags: set[str], values: set[str]) -> tuple[list[str], list[str]]:
    """Split into our options and the command line after them.

    >>> split(["--json", "-o", "f", "-n4", "job.sh", "--json"], {"--json"}, {"-o"})
    (['--json', '-o', 'f', '--json'], ['-n4', 'job.sh'])
    """
    own: list[str] = []
    rest = list(words)
    while rest:
        name, equals, _ = rest[0].partition("=")
        if name in values and (equals or len(rest) > 1):
            size = 1 if equals else 2
        elif rest[0] in flags:
            size = 1
        else:
            break
        own += rest[:size]
        del rest[:size]
    while len(rest) > 1 and rest[-1] in flags:
        own.append(rest.pop())
    return own, rest


def documentation(page: str) -> str:
    """Address of a documentation page. It comes from the package's metadata or from this clone's docs folder."""
    from importlib.metadata import PackageNotFoundError, metadata

    name, _, anchor = page.partition("#")
    try:
        urls = metadata("slurmsky").get_all("Project-URL") or []
    except PackageNotFoundError:
        urls = []
    for entry in urls:
        label, _, address = str(entry).partition(", ")
        if label.lower() == "documentation":
            return f"{address.rstrip('/')}/{name}/" + (f"#{anchor}" if anchor else "")
    docs = Path(__file__).parents[3] / "docs" / f"{name}.md"
    return f"{docs if docs.exists() else 'docs/' + name + '.md'}" + (f", {anchor}" if anchor else "")
