"""slurmsky version: prints the version."""

from __future__ import annotations

import click

from ... import __version__
from ._base import SlurmskyCommand


@click.command(cls=SlurmskyCommand, page="guide")
def command() -> int:
    """Print the version in one line."""
    click.echo(f"slurmsky {__version__}")
    return 0
