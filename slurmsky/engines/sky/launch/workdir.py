"""Sends the files of a shipment as SkyPilot's workdir instead of an archive.

SkyPilot sends a workdir's private files, too, but none that git ignores, and it reads ignore files in its own way.
Source: SkyPilot's data/storage_utils.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from pathlib import Path

from ....protocol.node_settings import FILE


def replace_archive(shipped: Path) -> Path | None:
    """Remove a shipment's archive if a workdir sends the same files.

    Returns the folder that must be the task's workdir; None if the archive is needed.
    """
    settings = json.loads((shipped / FILE).read_text())
    archive, folder = shipped / settings["files"]["archive"], Path(settings["files"]["folder"])
    if not _sends_the_same(folder, archive):
        return None
    settings["files"]["archive"] = "~/sky_workdir"
    (shipped / FILE).write_text(json.dumps(settings))
    archive.unlink()
    return folder


def _sends_the_same(folder: Path, archive: Path) -> bool:
    with tarfile.open(archive) as tar:
        archived = {member.name for member in tar if not member.isdir()}
    found = {os.path.relpath(os.path.join(base, name), folder) for base, _, names in os.walk(folder) for name in names}
    return found <= archived and archived.isdisjoint(_ignored_by_git(folder))


def _ignored_by_git(folder: Path) -> set[str]:
    """Paths in the folder; none without git, because SkyPilot calls it, too."""
    command = ("git", "-c", "safe.directory=*", "ls-files", "--others", "--ignored", "--exclude-standard", "-z")
    try:
        listed = subprocess.run(command, cwd=folder, capture_output=True, stdin=subprocess.DEVNULL).stdout
    except OSError:
        return set()
    return set(map(os.fsdecode, listed.split(b"\0")))
