"""Commands of ``slurmsky`` that need no controller.

This process prints help, version and command-line errors, so that they work where no controller can be started.
Commands that the controller runs are sent there as any command of Slurm, without an import of click.
"""

from __future__ import annotations

import os
import sys

#: run by the controller; a test compares this with the application's table
IN_CONTROLLER = frozenset(("explain", "report", "site", "status", "top", "translate", "why"))


def run_local_command(args: list[str]) -> None:
    """Run the command and exit, unless the controller runs it."""
    # Arguments of status are validated here, because status starts no controller that would report wrong ones.
    # site check reads the file here first: with an invalid site file no controller starts.
    local = {"-h", "--help"} & set(args) or args[:2] == ["site", "check"]
    local = local or (args[:1] == ["status"] and set(args[1:]) - {"--json"})
    if args and args[0] in IN_CONTROLLER and not local:
        return
    if sys.flags.no_site:
        import site

        site.main()  # makes the dependencies importable: the client runs with -S
    import importlib

    try:  # imported by name: in the layers of imports, the client is below the commands
        application = importlib.import_module("slurmsky.commands.slurmsky._application")
    except ImportError:
        return  # this node has the agent's modules only
    code = application.main(args)
    if code is not None:
        sys.stderr.flush()
        os._exit(code & 0xFF)
