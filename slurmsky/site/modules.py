"""Resolves module names: by the site's own map first, then by the shipped map (modules.toml)."""

from __future__ import annotations

import pkgutil
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from .record import Site

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Module:
    """A module and its replacement on the cloud. ``source``: "site" or "shipped"."""

    name: str  # as written in the script, with its version
    source: str
    image: str = ""
    setup: str = ""
    activate: str = ""  # for run, before the program
    path: str = ""  # the folder with its programs, which ``module load`` puts first in PATH on SkyPilot's nodes
    environment: tuple[tuple[str, str], ...] = ()
    note: str = ""
    kind: str = ""  # "" | licensed | site | unknown version
    gives: tuple[str, ...] = ()  # programs that the module provides

    @property
    def complete(self) -> bool:
        """Whether the replacement works without further input of the user."""
        return self.kind not in ("licensed", "unknown version")


@cache
def _tables() -> Mapping[str, Any]:
    data = pkgutil.get_data("slurmsky.site", "modules.toml")
    assert data is not None, "modules.toml is missing from the package"
    read: dict[str, Any] = tomllib.loads(data.decode("utf-8"))
    return read


#: tables of short rows -> command that installs a package
_INSTALL = {
    "conda": "conda install -y -n base -c conda-forge -c bioconda {}",
    "apt": "sudo apt-get update -q && sudo apt-get install -y {}",
    "pip": "pip install {}",
}


@cache
def shipped() -> Mapping[str, Mapping[str, Any]]:
    """Rows of modules.toml by each of their names, in lower case."""
    found: dict[str, Mapping[str, Any]] = {}
    for row in _tables()["module"]:
        for name in row["names"]:
            found.setdefault(name.lower(), row)
    for kind, install in _INSTALL.items():
        for package, names in _tables()[kind].items():
            row = {"names": names.split(), "setup": install.format(package), "gives": package}
            for name in row["names"]:
                found.setdefault(name.lower(), row)
    return found


#: a name as Spack writes it: package, version, compiler, the compiler's version, hash
_BUILT = re.compile(r"([a-z][\w+-]*?)-(\d[\w.]*)-(?:gcc|intel|clang|oneapi|aocc|nvhpc|pgi|cce)-\d[\w.]*"
                    r"(?:-[a-z0-9]{7})?")  # fmt: skip

#: a year's tree of software: 2019, 2022r2, 2021a
_STAGE = re.compile(r"20\d\d([a-z]\d?)?")


@cache
def _categories() -> frozenset[str]:
    return frozenset(_tables()["categories"]["names"].split())


def find(site: Site, name: str) -> Module | None:
    """Resolve ``module load NAME``; None where neither map has the name.

    A site's entry may be a full name ("cuda/12.1"), a name for all versions, or a pattern ("cuda/12.*").
    """
    bare = name.partition("/")[0]
    exact = {module.name: module for module in site.modules}
    for wanted in (name, bare):
        if wanted in exact:
            return _of_site(exact[wanted], name)
    for module in site.modules:
        if "*" in module.name and re.fullmatch(re.escape(module.name).replace(r"\*", ".*"), name):
            return _of_site(module, name)
    row, version = _shipped_row(name)
    return None if row is None else _of_row(row, name, version)


def _shipped_row(name: str) -> tuple[Mapping[str, Any] | None, str]:
    """The shipped row for a name without leading categories (lang/Python/3.11), and the version."""
    parts = [part for part in name.split("/") if part]
    while (
        len(parts) > 1
        and parts[0].lower() in _categories()
        and (not _is_version(parts[1]) or (len(parts) > 2 and parts[1].lower() in _categories()))
    ):
        del parts[0]
    if not parts:
        return None, ""
    rows = shipped()
    first = parts[0].lower()
    built = _BUILT.fullmatch(first)
    if built:
        first, parts = built[1], [built[1], built[2], *parts[1:]]
    if len(parts) == 1 and (_STAGE.fullmatch(first) or (first in _categories() and first not in rows)):
        return {"kind": "site", "note": "a software tree of the old cluster; nothing is needed here"}, ""
    unversioned = re.sub(r"[-_]?v?\d[\d.]*$", "", first)
    unbuilt = re.sub(r"[-_](gpu|cuda|mpi|omp|gcc|intel|serial|x86_64|ib)$", "", first)
    stem = re.sub(r"(?<=\w\w\w)[-_]?v?\d[\d.]*[-_].*$", "", first)
    for wanted in (first, unversioned, unbuilt, stem):
        if wanted in rows:
            glued = re.match(r"[-_]?v?(\d[\d.]*)", first[len(wanted) :])
            versions = [*parts[1:2], *(glued.groups() if glued else ()), *parts[2:]]
            version = next((text for text in versions if _is_version(text)), "")
            return rows[wanted], version
    if first.startswith("py-"):
        package = rows.get(first[3:], {"setup": f"pip install {first[3:]}"})
        return package, next((part for part in parts[1:] if _is_version(part)), "")
    return None, ""


def _is_version(text: str) -> bool:
    return bool(re.match(r"v?\d", text))


def _of_site(module: Any, name: str) -> Module:
    return Module(name, "site", module.image, module.setup, "", "", module.environment)


def _of_row(row: Mapping[str, Any], name: str, version: str) -> Module:
    numbers = re.match(r"v?(\d+(?:\.\d+)*)", version)
    short = numbers[1] if numbers else ""
    image, kind = str(row.get("image", "")), str(row.get("kind", ""))
    versions = row.get("versions", {})
    cut = short
    while cut and cut not in versions:
        cut = cut.rpartition(".")[0]
    note = str(row.get("note", ""))
    if cut:
        image = versions[cut]
    elif image and short and versions:
        # An image of another version is another program: the site file must name a suitable image.
        return Module(name, "shipped", note=f"no image is known for version {short}", kind="unknown version")
    pins = short and row.get("versioned", True) and not _STAGE.match(short)
    pinned = "=" + ".".join(short.split(".")[:2]) if pins else ""
    setup = str(row.get("setup", "")).replace("{version}", pinned)
    gives = tuple(str(row.get("gives", "")).split())
    activate, path = str(row.get("activate", "")), str(row.get("path", ""))
    return Module(name, "shipped", image, setup, activate, path, (), note, kind, gives)


def names(site: Site) -> list[str]:
    """All names of both maps, without duplicates, in order."""
    own = [module.name for module in site.modules]
    return list(dict.fromkeys([*own, *(name for row in shipped().values() for name in row["names"])]))
