"""Packages that a project's files declare: requirements.txt, environment.yml, pyproject.toml."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..shell.word_sets import words
from .small_files import read_small

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: Python of new environments
USUAL = "3.11"
_PYTHON = re.compile(r"(?m)^\s*(?:python|requires-python)\s*=\s*[\"']([^\"'\n]+)")
_REQUIREMENT = re.compile(
    r"[A-Za-z][\w.-]*(\[[\w,-]+\])?\s*([=<>!~]=?\s*[\w.*]+(\s*,\s*[=<>!~]=?\s*[\w.*]+)*)?", re.ASCII
)
_SOURCE = re.compile(r"git\+https://[\w./@+=#&-]+")
#: conditions of requirements that hold on another system
_ELSEWHERE = re.compile(r"(sys_platform|platform_system|os_name)\s*==\s*['\"](?!linux|Linux|posix)")
_ENTRY = re.compile(
    r"\s*-\s+[\"']?(?:[\w.-]+::)?([A-Za-z][\w.-]*(?:\[[\w,-]+\])?)\s*((?:[=<>!~]=?\s*[\w.*+]+,?)*)\s*[\"']?"
)
#: packages of conda's channel pytorch, which PyPI has under these names, or which belong to its builds of PyTorch
_OF_PYTORCH = {"pytorch": "torch", "torchvision": "torchvision", "torchaudio": "torchaudio"}
_BUILDS = words("pytorch-cuda pytorch-mutex cpuonly cudatoolkit cuda cuda-toolkit cudnn python_abi blas mkl")
#: packages of conda that hold no Python
_NO_PYTHON = re.compile(
    r"(r|lib|bioconductor|perl)-|lib|(gcc|gxx|cxx|c|fortran)[-_]?compiler|ld_impl|openssl$|ca-certificates$"
)
#: minor number of the Python of SkyPilot's nodes
_NEWEST = 13
#: for a package: its first version with wheels for a Python, and this Python's minor number
_WHEELS = {
    "torch": ((1, 7, 1, 9), (1, 11, 0, 10), (1, 13, 0, 11), (2, 2, 0, 12), (2, 5, 0, 13)),
    "tensorflow": ((2, 2, 0, 8), (2, 5, 0, 9), (2, 8, 0, 10), (2, 12, 0, 11), (2, 16, 0, 12), (2, 20, 0, 13)),
    "numpy": ((1, 17, 3, 8), (1, 19, 3, 9), (1, 21, 2, 10), (1, 23, 2, 11), (1, 26, 0, 12), (2, 1, 0, 13)),
    "scipy": ((1, 3, 2, 8), (1, 5, 4, 9), (1, 7, 2, 10), (1, 9, 2, 11), (1, 11, 2, 12), (1, 14, 1, 13)),
    "pandas": ((0, 25, 2, 8), (1, 1, 3, 9), (1, 3, 3, 10), (1, 5, 1, 11), (2, 1, 1, 12), (2, 2, 3, 13)),
    "scikit-learn": ((0, 22, 0, 8), (0, 24, 0, 9), (1, 0, 1, 10), (1, 1, 3, 11), (1, 3, 2, 12), (1, 5, 2, 13)),
    "matplotlib": ((3, 2, 0, 8), (3, 3, 3, 9), (3, 5, 0, 10), (3, 6, 0, 11), (3, 8, 0, 12), (3, 9, 2, 13)),
    "numba": ((0, 47, 0, 8), (0, 53, 0, 9), (0, 55, 0, 10), (0, 57, 0, 11), (0, 59, 0, 12), (0, 61, 0, 13)),
    "h5py": ((2, 10, 0, 8), (3, 1, 0, 9), (3, 6, 0, 10), (3, 8, 0, 11), (3, 10, 0, 12), (3, 12, 0, 13)),
    "transformers": ((2, 2, 0, 8), (4, 0, 0, 9), (4, 16, 0, 10), (4, 25, 0, 13)),
}  # fmt: skip


class PythonPackages(NamedTuple):
    """Packages of a job's Python. ``python``: its version, or ""."""

    pip: tuple[str, ...] = ()
    conda: tuple[str, ...] = ()
    python: str = ""
    unknown: bool = False  # the project declares none, and the script's code cannot be read
    absent: tuple[str, ...] = ()  # own modules that the code imports and no folder of the project has

    @property
    def by_pip(self) -> tuple[str, ...]:
        """All Python packages, for an environment without conda."""
        return tuple(dict.fromkeys((*(name for name in self.conda if not _NO_PYTHON.match(name)), *self.pip)))

    @property
    def unpinned(self) -> tuple[str, ...]:
        """Requirements, without versions that need an older Python."""
        old = min((*_newest(self.pip), *([int(self.python[2:])] if self.python else [])), default=_NEWEST) < _NEWEST
        return tuple(re.split(r"[=<>!~]", name)[0] for name in self.pip) if old else self.pip


NO_PACKAGES = PythonPackages()


def declared(folder: Path, environment: str) -> PythonPackages:
    """Packages that the files of a folder declare.

    A file of conda that has the environment's name precedes requirements.txt.
    """
    named = environment_file(str(folder), environment)
    text = read_small(folder / named) or "" if named else ""
    own = bool(environment) and re.search(rf"(?m)^name:\s*[\"']?{re.escape(environment)}[\"']?\s*$", text)
    lines = read_small(folder / "requirements.txt")
    found = PythonPackages()
    if lines is not None and not own:
        found = _of_requirements(lines.splitlines())
    if not found.pip and text:
        found = _of_conda(text)
    if not (found.pip or found.conda):
        found = _of_project(read_small(folder / "pyproject.toml") or "")
    return found._replace(python=found.python or _by_wheels(found.pip))


def environment_file(folder: str, name: str) -> str:
    """Conda's environment file in a folder, or ""."""
    stems = ("environment", "env", "conda", "conda_env", name, f"environment_{name}", f"envs/{name}")
    files = (f"{stem}.{ending}" for stem in stems for ending in ("yml", "yaml")) if folder else ()
    return next((file for file in files if "dependencies:" in (read_small(Path(folder) / file) or "")), "")


def _of_requirements(lines: Iterable[str]) -> PythonPackages:
    """Packages in the lines of requirements.txt. URLs, options, and other files are ignored."""
    names, python = [], ""
    for line in lines:
        text, _, condition = re.sub(r"(^|\s)#.*", "", line).partition(";")
        word = re.sub(r"^-e\s+(?=git\+)|\+\w[\w.]*$|--hash=.*", "", text.rstrip("\\ \t")).strip()
        word = re.sub(r"\s*([=<>!~]=?|[,@])\s*", r"\1", word)
        word = re.sub(r"^([\w.-]+(\[[\w,-]+\])?)@.*", r"\1", word)
        if not (_REQUIREMENT.fullmatch(word) or _SOURCE.fullmatch(word)) or _ELSEWHERE.search(condition):
            continue
        if re.match(r"python(?![\w.-])", word):
            python = version_of(f'python = "{word[6:]}"')
        elif word.lower() not in ("pip", "setuptools", "wheel"):
            names.append(word)
    return PythonPackages(tuple(dict.fromkeys(names)), python=python)


def _of_conda(text: str) -> PythonPackages:
    """Packages in environment.yml.

    Versions of an export (``=``) are ignored, because the channels no longer have all of these builds.
    """
    pip: list[str] = []
    conda: list[str] = []
    python = ""
    inside, below = False, -1  # in dependencies; indentation of the list below pip
    for line in text.splitlines():
        line = line.partition(" #")[0].rstrip()
        if re.match(r"\w", line):
            inside = line.startswith("dependencies:")
            continue
        indent = len(line) - len(line.lstrip())
        if inside and re.fullmatch(r"\s*-\s*pip:", line):
            below = indent
            continue
        below = below if indent > below else -1
        if inside and below >= 0:
            pip.append(line.strip().removeprefix("-").strip(" \"'"))
            continue
        found = _ENTRY.fullmatch(line)
        if not inside or found is None:
            continue
        name, pins = found[1], found[2].replace(" ", "")
        if name == "python":
            python = version_of(f'python = "{pins}"') if pins else ""
        elif name in _OF_PYTORCH:
            pip.append(_OF_PYTORCH[name])
        elif name not in _BUILDS and name not in ("pip", "setuptools", "wheel") and not name.startswith("_"):
            conda.append(name)
    listed = _of_requirements(pip)
    return PythonPackages(listed.pip, tuple(dict.fromkeys(conda)), python or listed.python)


def _of_project(text: str) -> PythonPackages:
    """Packages in pyproject.toml."""
    try:
        project = tomllib.loads(text).get("project", {})
        listed = [one for one in project.get("dependencies", ()) if isinstance(one, str)]
    except (tomllib.TOMLDecodeError, AttributeError, TypeError):
        return PythonPackages()
    found = _of_requirements(listed)
    return found._replace(python=version_of(text) if _PYTHON.search(text) else "")


def version_of(text: str) -> str:
    """Newest usual Python that a constraint allows.

    >>> version_of('python = "~3.10"'), version_of('requires-python = ">=3.8,<3.10"'), version_of('python = "^3.8"')
    ('3.10', '3.9', '3.11')
    """
    found = _PYTHON.search(text)
    bounds = re.findall(r"(~=?|==?|<=?|>=?)\s*3\.(\d+)", found[1]) if found else []
    version = int(USUAL[2:])
    for sign, minor in bounds:
        number = int(minor)
        if sign in ("~", "==", "="):
            return f"3.{number}"
        version = min(version, number - 1) if sign == "<" else min(version, number) if sign == "<=" else version
        version = max(version, number + (sign == ">")) if sign[0] == ">" else version
    return f"3.{version}"


def _by_wheels(requirements: Iterable[str]) -> str:
    """Python for which the pinned packages have wheels; "" for the usual one."""
    return next((f"3.{minor}" for minor in sorted(_newest(requirements)) if minor < int(USUAL[2:])), "")


def _newest(requirements: Iterable[str]) -> Iterator[int]:
    """Newest Python with wheels for each pinned package."""
    for requirement in requirements:
        found = re.match(r"([\w.-]+?)(?:-gpu|-cpu)?(?:\[.*\])?(?:[><!]=?[\w.*]+,)*?(?:==|~=|<=?)([\d.]+)", requirement)
        rows = _WHEELS.get(found[1].lower()) if found else None
        if found and rows:
            version = tuple(int(part) for part in found[2].split(".") if part)
            yield max((row[3] for row in rows if row[:3] <= (*version, 0, 0)[:3]), default=7)
