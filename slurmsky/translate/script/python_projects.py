"""Reads the packages in requirements.txt and pyproject.toml."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from .declared_packages import version_of
from .small_files import read_small


class ProjectPackages(NamedTuple):
    """Setup lines for a project's packages, and their Python version."""

    lines: list[str]
    python: str


def project_packages(folder: str) -> ProjectPackages | None:
    """Packages that the files of ``folder`` declare, or None."""
    if not folder:
        return None
    text = read_small(Path(folder) / "pyproject.toml") or ""
    python = version_of(text)
    if (Path(folder) / "requirements.txt").is_file():
        return ProjectPackages(["pip install -r requirements.txt"], python)
    if "[tool.poetry.dependencies]" in text:
        return ProjectPackages(["pip install poetry", "poetry install --no-root"], python)
    if re.search(r"(?m)^\[project\]", text) and re.search(r"(?m)^dependencies\s*=", text):
        return ProjectPackages(["pip install -e ."], python)
    return None
