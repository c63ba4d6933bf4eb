"""slurmsky man: the manual page of a command."""

from __future__ import annotations

import click

from ._base import SlurmskyCommand


@click.command(cls=SlurmskyCommand, example="slurmsky man sbatch | man -l -", page="guide")
@click.argument("name", metavar="COMMAND")
def command(name: str) -> int:
    """Print the manual page of a command, for man -l -.

    An installed package has its pages in share/man: `man sbatch` shows our page if our sbatch is first on PATH.
    """
    from ...options import manual
    from ._application import unknown

    pages = manual.pages()
    if f"{name}.1" not in pages:
        raise click.UsageError(unknown(name, [page.removesuffix(".1") for page in pages]))
    click.echo(pages[f"{name}.1"], nl=False)
    return 0
