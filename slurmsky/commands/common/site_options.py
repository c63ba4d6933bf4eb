"""Option table of a command, with the site's own options."""

from __future__ import annotations

from ...controller.command_context import CommandContext
from ...options import table as tables
from ...site import Site


def table(ctx: CommandContext, command: str, site: Site | None = None) -> tables.OptionTable:
    """Return the option table of this command at this site. ``site`` replaces the controller's."""
    own = (site or ctx.controller.site).options
    base = tables.load(command)
    if not own:
        return base
    return base.with_site_options(
        tables.DeclaredOption(name=option.name, argument=option.argument, help=option.help, policy=option.policy)
        for option in own
    )
