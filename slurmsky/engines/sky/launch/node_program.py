"""Builds the nodes' program as one file, for Python 3.9 or newer."""

from __future__ import annotations

import hashlib
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path

from ... import agent_files

_STAMP = (2020, 1, 1, 0, 0, 0)  # fixed times: the same content gives the same file


def build(folder: Path) -> Path:
    """Build the program in ``folder`` unless it exists. The file is named after its content."""
    # Read each file once: a git clone may change during the build.
    entries = [(name, source.read_bytes()) for name, source in sorted(_entries())]
    digest = hashlib.sha256()
    for name, data in entries:
        digest.update(name.encode() + b"\0" + data + b"\0")
    target = folder / f"agent-{digest.hexdigest()[:16]}.pyz"
    if not target.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Several jobs may start at once, each in its own thread.
        partial = folder / f"{target.stem}.{uuid.uuid4().hex}.part"
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in entries:
                _add(archive, name, data)
        partial.replace(target)
    return target


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, _STAMP)
    info.external_attr = 0o644 << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, data)


def _entries() -> Iterator[tuple[str, Path]]:
    yield "__main__.py", Path(__file__).parents[3] / "agent" / "cloud" / "program_main.py"
    yield from agent_files.entries()
