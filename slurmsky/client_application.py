"""The client's part of ``slurmsky``: commands that need no controller run in this process.

Help, version and faults of the command line are answered here, so that they work where no controller can be started.
What the controller runs is sent there as any command of Slurm, without an import of click.
"""

from __future__ import annotations

import os
import sys

#: run by the controller; a test compares this with the application's table
IN_CONTROLLER = frozenset(("explain", "report", "site", "status", "top", "translate", "why"))


def answer(args: list[str]) -> None:
    """End the process with the command's exit code; return where the controller is to answer."""
    if args and args[0] in IN_CONTROLLER and not {"-h", "--help"} & set(args):
        return
    if sys.flags.no_site:
        import site

        site.main()  # the dependencies of the environment that runs us
    import importlib

    try:  # by name: the client stands below the commands, and the agent below the client
        application = importlib.import_module("slurmsky.commands.slurmsky._application")
    except ImportError:
        return  # a node that has the agent alone
    code = application.main(args)
    if code is not None:
        sys.stderr.flush()
        os._exit(code & 0xFF)
