"""Remembers which kinds of nodes this machine can reach: nodes wait for their controller only where it may come."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from ...model.allocation import Launch

_FILE = "reached.json"


def kind(launch: Launch) -> str:
    """What nodes are reached alike: those of a partition, as a managed job's or as an allocation's (by ssh, too)."""
    return launch.partition if launch.script is not None else f"{launch.partition}/allocation"


def known(folder: Path, kind: str) -> str:
    """Whether the last attempt to reach nodes of a kind succeeded: "yes", "no", or "" for unknown."""
    found = _read(folder).get(kind)
    return "" if found is None else "yes" if found else "no"


def note(folder: Path, kind: str, success: bool) -> None:
    """Record an attempt to reach nodes of a kind."""
    found = _read(folder)
    if found.get(kind) is not success:
        partial = folder / f"{_FILE}.part"
        with contextlib.suppress(OSError):  # a full disk: the next attempt notes it
            partial.write_text(json.dumps({**found, kind: success}))
            os.replace(partial, folder / _FILE)


def _read(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / _FILE).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
