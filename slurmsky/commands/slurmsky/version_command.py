"""slurmsky version."""

from __future__ import annotations

import click

from ... import __version__
from ._base import Command


@click.command(cls=Command, page="guide")
def command() -> int:
    """The version, in one line."""
    click.echo(f"slurmsky {__version__}")
    return 0
