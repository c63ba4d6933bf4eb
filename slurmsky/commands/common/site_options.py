"""Option table of a command, with the site's own options."""

from __future__ import annotations

from ...controller.command_context import CommandContext
from ...options import table as tables
from ...site import Site


def table(ctx: CommandContext, command: str, site: Site | None = None) -> tables.OptionTable:
    """Return the option table of this command at this site. ``site`` replaces the controller's."""
    return tables.load(command).with_site_options((site or ctx.controller.site).cluster.declared_options)
