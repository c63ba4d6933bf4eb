"""The command ``slurmsky``: a click application of subcommands.

The client imports ``_application`` for commands that need no controller, so this module must import nothing from the
controller. click is imported only when one of these commands is called, never for Slurm's commands.
"""

from __future__ import annotations

from typing import Any


async def main(ctx: Any) -> int:
    """Serve a request that the client has forwarded to the controller."""
    from ...options.usage_errors import CommandError
    from ..common.command_errors import print_error
    from ._application import serve

    try:
        return await serve(ctx)
    except CommandError as error:
        return print_error(ctx, error)
