"""Installs slurmsky's program and its command launchers on a cloud node."""

from __future__ import annotations

import os
import sys
import zipfile

COMMANDS = (
    "sacct", "sacctmgr", "salloc", "sattach", "sbatch", "sbcast", "scancel", "scontrol", "scrontab", "sdiag", "seff",
    "sinfo", "slurmsky", "sprio", "squeue", "sreport", "srun", "sshare", "sstat", "strigger", "swait",
)  # fmt: skip


def install(home: str, program: str) -> tuple[str, str]:
    """Unpack the shipped ``program`` below ``home``; returns the library folder and the folder of launchers."""
    library, launchers = os.path.join(home, "lib"), os.path.join(home, "bin")
    with zipfile.ZipFile(program) as archive:
        archive.extractall(library)
    os.makedirs(launchers, exist_ok=True)
    for command in COMMANDS:
        path = os.path.join(launchers, command)
        with open(path, "w") as file:
            file.write(
                '#!/bin/sh\nexec "%s" -I -S "%s/slurmsky/client.py" "%s" %s "$@"\n'
                % (sys.executable, library, library, command)
            )
        os.chmod(path, 0o755)
    return library, launchers
