"""Reads the packages in requirements.txt and pyproject.toml."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from .python_packages import read_small

#: Python of new environments
USUAL = "3.11"
_PYTHON = re.compile(r"(?m)^\s*(?:python|requires-python)\s*=\s*[\"']([^\"'\n]+)")


class ProjectPackages(NamedTuple):
    """Setup lines for a project's packages, and their Python version."""

    lines: list[str]
    python: str


def project_packages(folder: str) -> ProjectPackages | None:
    """Packages that the files of ``folder`` declare, or None."""
    if not folder:
        return None
    text = read_small(Path(folder) / "pyproject.toml") or ""
    python = _python(text)
    if (Path(folder) / "requirements.txt").is_file():
        return ProjectPackages(["pip install -r requirements.txt"], python)
    if "[tool.poetry.dependencies]" in text:
        return ProjectPackages(["pip install poetry", "poetry install --no-root"], python)
    if re.search(r"(?m)^\[project\]", text) and re.search(r"(?m)^dependencies\s*=", text):
        return ProjectPackages(["pip install -e ."], python)
    return None


def _python(text: str) -> str:
    """Newest usual Python that a constraint allows.

    >>> _python('python = "~3.10"'), _python('requires-python = ">=3.8,<3.10"'), _python('python = "^3.8"')
    ('3.10', '3.9', '3.11')
    """
    found = _PYTHON.search(text)
    bounds = re.findall(r"(~=?|==|<=?|>=?)\s*3\.(\d+)", found[1]) if found else []
    version = int(USUAL[2:])
    for sign, minor in bounds:
        number = int(minor)
        if sign in ("~", "=="):
            return f"3.{number}"
        version = min(version, number - 1) if sign == "<" else min(version, number) if sign == "<=" else version
        version = max(version, number + (sign == ">")) if sign[0] == ">" else version
    return f"3.{version}"
