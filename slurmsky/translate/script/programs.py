"""Determines the source of a script's programs. The source is the node, a package, an image, or none."""

from __future__ import annotations

import pkgutil
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_NAMED = ("base", "node", "slurm", "machine", "licensed", "old", "reports")
APT = (
    "s=$(command -v sudo || true); $s apt-get update -q && $s env DEBIAN_FRONTEND=noninteractive apt-get install -y {}"
)
_INSTALL = {
    "apt": APT,
    "pip": "pip install '{}'",
    "conda": "conda install -y -n base -c conda-forge -c bioconda {}",
}


@dataclass(frozen=True)
class Source:
    """The source of a program.

    ``kind``: base, node, slurm, machine (VMs have it, pods do not), licensed, old, reports, apt, pip, conda, command or
    image.
    """

    kind: str
    package: str = ""
    link: str = ""  # command that links a site's own name, such as lmp_intel_cpu

    @property
    def install(self) -> str:
        """Command that installs the program, or ""."""
        if self.kind == "command":
            return self.package
        return _INSTALL[self.kind].format(self.package) + self.link if self.kind in _INSTALL else ""


@cache
def _read() -> Mapping[str, Any]:
    data = pkgutil.get_data("slurmsky.translate.script", "programs.toml")
    assert data is not None, "programs.toml is missing from the package"
    return tomllib.loads(data.decode("utf-8"))


@cache
def table() -> Mapping[str, Source]:
    """Table of sources by program name."""
    read = _read()
    found: dict[str, Source] = {}
    for kind in _NAMED:
        found.update(dict.fromkeys(read[kind].split(), Source(kind)))
    for kind in ("apt", "pip", "conda", "command", "image"):
        for package, names in read[kind].items():
            for name in names.split():
                found.setdefault(name, Source(kind, package))
    return found


_PYTHON = re.compile(r"python(2|\d\.\d+)")
_GCC = re.compile(r"(gcc|g\+\+|gfortran|clang)-(\d+)")


def find(name: str) -> Source | None:
    """Source of a program, also for a name with a version. None: not in the table."""
    python, gcc = _PYTHON.fullmatch(name), _GCC.fullmatch(name)
    if python:
        folder = f"$(conda info --base)/envs/python{python[1]}/bin/python{python[1]}"
        made = f"conda create -y -n python{python[1]} python={python[1]} && sudo ln -s {folder} /usr/local/bin/"
        return Source("command", made)
    return Source("apt", name) if gcc else table().get(name) or _build(name) or _jar(name)


def _build(name: str) -> Source | None:
    """Program that a site built under another name."""
    for program, names in _read()["builds"].items():
        if re.fullmatch(names, name):
            own = f' && $(command -v sudo || true) ln -sf "$(command -v {program})" /usr/local/bin/{name}'
            return replace(table()[program], link=own)
    return None


def _jar(name: str) -> Source | None:
    """Package of bioconda for a Java archive."""
    packages = _read()["jars"]
    found = next((package for package, files in packages.items() if re.fullmatch(files.split()[0], name)), None)
    return Source("conda", found) if found else None


def location(name: str) -> str:
    """Path of an installed program as a shell word."""
    source = _jar(name) if name.endswith(".jar") else None
    if source is None:
        return f'"$(command -v {shlex.quote(name)})"'
    return f'"$(ls "$(conda info --base)"/share/{_read()["jars"][source.package].split()[1]} | head -n 1)"'


def setup_lines(programs: tuple[str, ...]) -> list[str]:
    """Commands that install missing programs, one per package."""
    lines: dict[str, str] = {}
    for name in programs:
        source = find(name)
        if source is not None and source.install:
            lines.setdefault(source.install, f"command -v {name} >/dev/null || ({source.install})")
    return list(lines.values())
