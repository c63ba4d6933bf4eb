"""slurmsky: the commands beside Slurm's own, a click application with one module each.

The client imports ``_application`` for commands that need no controller, so this module imports nothing of the
controller; and click is imported when one of these commands is called, never for Slurm's.
"""

from __future__ import annotations

from typing import Any


async def main(ctx: Any) -> int:
    """Run in the controller what the client has sent here."""
    from ...options.usage_errors import CommandError
    from ..common.command_errors import answer
    from ._application import serve

    try:
        return await serve(ctx)
    except CommandError as error:
        return answer(ctx, error)
