"""Finds a project's own Python modules and programs.

``python scripts/train.py`` finds modules beside train.py. Modules of the project's folder need ``pip install -e .`` if
the project has setup.py or pyproject.toml, and PYTHONPATH otherwise. The module reads a bounded number of files.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from .project_root import candidates
from .python_packages import LOCAL, holds_module, python_files, started_python_files
from .small_files import read_small

_PROJECT_FILES = ("pyproject.toml", "setup.py", "setup.cfg")
_INSTALLS = re.compile(
    r"pip3? install +(\S+ +)*(-e +|--editable[ =])?[\"']?(\.|\$\w+)(?![\w])|setup\.py +(install|develop)"
    r"|\b(uv|poetry|pixi|pdm) (run|sync|install)"
)
_FINDS = re.compile(r"PYTHONPATH|sys\.path\.(append|insert)\([^\n]*(['\"]\.|__file__|getcwd)")


class OwnPackage(NamedTuple):
    """A project's own module or program.

    ``levels``: number of folders between the submit folder and the one that has it; -1 if no folder has it.
    ``installed``: pip installs it from there. ``found``: the script or its file extends Python's search path.
    """

    name: str
    levels: int
    installed: bool = False
    found: bool = False


def own_packages(source: str, folder: str, programs: Iterable[str] = ()) -> list[OwnPackage]:
    """Own modules and programs that need an installation or a search path.

    ``folder``: the submit folder. ``programs``: programs of the script that no table has.
    """
    if not (folder and os.path.isdir(folder)):
        return []
    bases = [Path(base) for base in candidates(folder)]
    found = [one for name in programs if (one := _program(name, bases))]
    if _INSTALLS.search(source):
        return []
    for name, text in _imports(source, Path(folder)):
        at = next((at for at, base in enumerate(bases) if _has(base, name)), -1)
        if at >= 0 or name in LOCAL:
            found.append(OwnPackage(name, at, at >= 0 and _is_project(bases[at]), bool(_FINDS.search(text + source))))
    return list(dict.fromkeys(found))


def _has(base: Path, name: str) -> bool:
    """Return whether a folder has a module's file or folder."""
    return any(
        (place / f"{name}.py").is_file() or ((place / name).is_dir() and any((place / name).glob("*.py")))
        for place in (base, base / "src")
    ) or ((base / name).is_dir() and any((base / name).glob("*/*.py")))


def _is_project(base: Path) -> bool:
    return (base / "setup.py").is_file() or bool(
        re.search(r"(?m)^\[(project|build-system|tool\.poetry)\]", read_small(base / "pyproject.toml") or "")
    )


def _program(name: str, bases: list[Path]) -> OwnPackage | None:
    """The project that defines a program of this name."""
    defines = re.compile(rf"(?m)^\s*[\"']?{re.escape(name)}[\"']?\s*=\s*[\"']?[\w.]+:\w+")
    for at, base in enumerate(bases):
        if any(defines.search(read_small(base / file) or "") for file in _PROJECT_FILES):
            return OwnPackage(name, at, True)
    return None


def _imports(source: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Modules that are not beside the started files.

    Each has the text of a file that imports it.
    """
    standard: frozenset[str] = getattr(sys, "stdlib_module_names", frozenset())
    files = started_python_files(source, str(folder))
    beside = {(folder / name).parent for name in files}
    seen: set[str] = set()
    for path, names in python_files(files, folder):
        for module in names:
            name = module.partition(".")[0]
            if name not in standard and name not in seen and not any(holds_module(place, name) for place in beside):
                seen.add(name)
                yield name, read_small(path) or ""
