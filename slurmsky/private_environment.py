"""The private environment of a clone: checks that it is complete, and marks it for rebuilding.

client_setup.py makes it, in a folder ``venv-...`` beside the file ``python`` by which launchers find it.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

#: packages without which no command runs
DEPENDENCIES = ("click", "cryptography", "httpx", "lark", "psutil", "yaml")
#: in the environment's folder: it was made to its end, and nothing of it was missed since
COMPLETE = "slurmsky-complete"


def _folder() -> Path | None:
    """The folder of the private environment that runs this process; None: it is another Python."""
    folder = Path(sys.prefix)
    return folder if folder.name.startswith("venv-") and (folder.parent / "lock").exists() else None


def missing() -> str:
    """The missing part of the private environment; "" where it is complete or the user's own."""
    folder = _folder()
    if folder is None:
        return ""
    if not (folder / COMPLETE).exists():
        return "a part of itself"
    return next((name for name in DEPENDENCIES if find_spec(name) is None), "")


def give_up() -> bool:
    """Let the next command rebuild the private environment; False where this process runs in another Python."""
    folder = _folder()
    if folder is None:
        return False
    for path in (folder / COMPLETE, folder.parent / "python"):
        path.unlink(missing_ok=True)
    return True
