"""Record of the nodes that this machine can reach. Only reachable nodes wait for their controller's connection."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from ....model.allocation import Launch

_FILE = "reached.json"


def kind(launch: Launch) -> str:
    """Return the key of nodes with the same reachability.

    Those of a partition, as a managed job or as an allocation, which is reached by ssh, too.
    """
    return launch.partition if launch.script is not None else f"{launch.partition}/allocation"


def last_result(folder: Path, kind: str) -> str:
    """Return the last result for nodes of a kind: "yes", "no" or "" (unknown)."""
    found = _read(folder).get(kind)
    return "" if found is None else "yes" if found else "no"


def record_result(folder: Path, kind: str, success: bool) -> None:
    """Record the result of an attempt to reach nodes of a kind."""
    found = _read(folder)
    if found.get(kind) is not success:
        partial = folder / f"{_FILE}.part"
        with contextlib.suppress(OSError):  # a full disk: the next attempt records it
            partial.write_text(json.dumps({**found, kind: success}))
            os.replace(partial, folder / _FILE)


def _read(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / _FILE).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
