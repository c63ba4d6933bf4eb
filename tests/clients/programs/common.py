"""Helpers of the programs in this folder: waiting, and queries of sacct."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable


def wait(what: str, condition: Callable[[], object], limit_s: float = 120) -> None:
    """Return when the condition holds; raises TimeoutError."""
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.3)


def state(job: object) -> str:
    """The job's state by sacct, without "by UID"."""
    line = ["sacct", "-nXPo", "State", "-j", str(job)]
    found = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    return found[0] if found else ""


def reach(job: object, wanted: str) -> None:
    """Wait until the job is in a state."""
    wait(f"{job} is {state(job)}, not {wanted}", lambda: state(job) == wanted)
