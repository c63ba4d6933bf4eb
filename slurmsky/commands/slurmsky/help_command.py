"""slurmsky help: the command list, or one command's help."""

from __future__ import annotations

import click

from ._base import SlurmskyCommand


@click.command(cls=SlurmskyCommand, example="slurmsky help why")
@click.argument("words", nargs=-1, metavar="[COMMAND]...")
def command(words: tuple[str, ...]) -> int:
    """Print the list of commands, or the help of one command."""
    from ._application import application, unknown

    group, ctx = application, click.Context(application, info_name="slurmsky")
    found: click.Command = group
    for word in words:
        child = found.get_command(ctx, word) if isinstance(found, click.Group) else None
        if child is None:
            known = found.list_commands(ctx) if isinstance(found, click.Group) else []
            raise click.UsageError(unknown(word, known))
        found, ctx = child, click.Context(child, info_name=word, parent=ctx)
    click.echo(found.get_help(ctx))
    return 0
