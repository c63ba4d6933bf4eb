"""Keeps a controller's entry in the machine-wide ledger locked while jobs run."""

from __future__ import annotations

import fcntl
import os

from ... import paths

#: variable of an agent that names the entry (controller/services/machine_ledger.py)
CLAIM = paths.CLAIM


def lock_entry() -> None:
    """Keep the environment's entry locked until this process ends, also without a controller."""
    path = os.environ.pop(CLAIM, "")
    if not path:
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        pass  # without a controller, other controllers do not count this agent's jobs
