"""Files of an agent's program: packages, grammars and lark."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("agent", "language", "model", "options", "protocol", "report")
MODULES = (
    "__init__.py", "client.py", "client_relay.py", "client_session.py", "client_start.py", "client_terminal.py",
    "paths.py",
)  # fmt: skip
_OMITTED = ("__pycache__", "__pyinstaller")


def entries() -> Iterator[tuple[str, Path]]:
    """Each file's path in the program's folder, and its present path. Raises FileNotFoundError without lark."""
    package = Path(__file__).parents[1]
    for module in MODULES:
        if (package / module).exists():
            yield f"slurmsky/{module}", package / module
    for name in PACKAGES:
        yield from _tree(package / name, f"slurmsky/{name}")
    grammar = package / "grammar"  # part of the package in a wheel; next to the package in a git clone
    yield from _tree(grammar if grammar.is_dir() else package.parent / "grammar", "slurmsky/grammar")
    spec = importlib.util.find_spec("lark")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the lark package")
    yield from _tree(Path(spec.origin).parent, "lark")


def _tree(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
    for place, folders, files in os.walk(folder):
        folders[:] = [inner for inner in folders if inner not in _OMITTED]
        below = f"{name}{place[len(str(folder)) :]}"
        for file in files:
            yield f"{below}/{file}", Path(place, file)
