"""Installs launchers of slurmsky's commands on a cloud node."""

from __future__ import annotations

import os
import sys

COMMANDS = (
    "sacct", "sacctmgr", "salloc", "sattach", "sbatch", "sbcast", "scancel", "scontrol", "scrontab", "sdiag", "seff",
    "sinfo", "slurmsky", "sprio", "squeue", "sreport", "srun", "sshare", "sstat", "strigger", "swait",
)  # fmt: skip

#: the folder of the modules, or the archive that holds them
LIBRARY = __file__.rsplit("/", 4)[0]
#: the longest path that every kernel starts from a script's first line
_SHEBANG_MAX = 120
_DIRECT = """\
#!{python} -IS
import sys
sys.path.append({library!r})
from slurmsky.client import run
run({library!r}, {command!r}, sys.argv[1:])
"""


def install(home: str) -> str:
    """Write the launchers below ``home``; return their folder."""
    launchers = os.path.join(home, "bin")
    os.makedirs(launchers, exist_ok=True)
    for command in COMMANDS:
        path = os.path.join(launchers, command)
        with open(path, "w") as file:
            file.write(launcher(sys.executable, LIBRARY, command))
        os.chmod(path, 0o755)
    return launchers


def launcher(python: str, library: str, command: str) -> str:
    """Return the script that runs a command.

    If possible the kernel starts the interpreter directly: a shell in between, such as dash, drops variables whose
    names it cannot assign, and a job needs its whole environment.
    """
    if len(python) <= _SHEBANG_MAX and not set(python) & set(" \t\n"):
        return _DIRECT.format(python=python, library=library, command=command)
    return '#!/bin/sh\nexec "%s" -I -S "%s/slurmsky/client.py" "%s" %s "$@"\n' % (python, library, library, command)
