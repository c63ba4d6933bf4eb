"""Private environment of a clone: completeness check and rebuild.

client_setup.py creates it in a folder ``venv-...`` next to the file ``python``, which names it for the launchers.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

#: packages without which no command runs
DEPENDENCIES = ("click", "cryptography", "httpx", "lark", "yaml")
#: file in the environment's folder: the environment was built completely, and no part is known to be missing
COMPLETE = "slurmsky-complete"


def _folder() -> Path | None:
    """Folder of the private environment that runs this process; None for another Python."""
    folder = Path(sys.prefix)
    return folder if folder.name.startswith("venv-") and (folder.parent / "lock").exists() else None


def missing_part() -> str:
    """Missing part of the private environment, or "". "" also means that the environment is not ours."""
    folder = _folder()
    if folder is None:
        return ""
    if not (folder / COMPLETE).exists():
        return "a part of itself"
    return next((name for name in DEPENDENCIES if find_spec(name) is None), "")


def request_rebuild() -> bool:
    """Make the next command rebuild the private environment; False if this process runs in another Python."""
    folder = _folder()
    if folder is None:
        return False
    for path in (folder / COMPLETE, folder.parent / "python"):
        path.unlink(missing_ok=True)
    return True
