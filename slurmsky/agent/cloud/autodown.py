"""Asks SkyPilot's skylet on the head node to end the cluster once it is idle.

The controller requests autodown after a bring-up. A node does so itself at the end of its pilot, for a controller
that died before. Source: sky/skylet/autostop_lib.py of SkyPilot 0.14.1, which SkyPilot's server calls in the same way.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

_LIMIT_S = 60.0
_CODE = (
    "from sky.skylet import autostop_lib as lib; "
    "lib.set_autostop(int(__import__('sys').argv[1]), 'cloudvmray', lib.AutostopWaitFor.JOBS, True)"
)


def request(minutes: int, environ: Mapping[str, str]) -> bool:
    """Set autodown after ``minutes`` without a job; return whether the skylet's library accepted it."""
    base = environ.get("SKY_RUNTIME_DIR") or os.path.expanduser("~")
    try:
        with open(os.path.join(base, ".sky", "python_path")) as file:
            python = file.read().strip()
        env = {name: value for name, value in environ.items() if not name.startswith("PYTHON")}
        done = subprocess.run(
            [python, "-c", _CODE, str(minutes)],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=_LIMIT_S,
            check=False,
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        print("slurmsky: autodown was not set: %s" % error, file=sys.stderr)
        return False
    return done.returncode == 0
