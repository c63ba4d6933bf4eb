"""Builds the program that nodes run, as one file: the packages an agent needs and lark, for Python 3.9 or newer."""

from __future__ import annotations

import hashlib
import importlib.util
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("agent", "language", "model", "options", "protocol", "report")
MODULES = ("__init__.py", "client.py", "client_relay.py", "client_start.py", "client_terminal.py", "paths.py")
_STAMP = (2020, 1, 1, 0, 0, 0)  # fixed times: the same content gives the same file


def build(folder: Path) -> Path:
    """Build the program in ``folder`` unless it exists; the file is named after its content."""
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
    package = Path(__file__).parents[2]
    yield "__main__.py", package / "agent" / "cloud" / "program_main.py"
    for module in MODULES:
        if (package / module).exists():
            yield f"slurmsky/{module}", package / module
    for name in PACKAGES:
        yield from _tree(package / name, f"slurmsky/{name}")
    grammar = package / "grammar"  # part of the package in a wheel; beside the package in a git clone
    yield from _tree(grammar if grammar.is_dir() else package.parent / "grammar", "slurmsky/grammar")
    spec = importlib.util.find_spec("lark")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the lark package")
    yield from _tree(Path(spec.origin).parent, "lark")


def _tree(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
    for path in folder.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts and "__pyinstaller" not in path.parts:
            yield f"{name}/{path.relative_to(folder).as_posix()}", path
