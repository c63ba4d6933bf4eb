"""Resolves module names by the site's map and modules.toml.

The site's own map takes precedence over the shipped map.
"""

from __future__ import annotations

import pkgutil
import re
import sys
from collections.abc import Iterator, Mapping
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
    activate: str = ""  # command before the program, in ``run``
    path: str = ""  # folder of its programs, which ``module load`` puts first in PATH on SkyPilot's nodes
    environment: tuple[tuple[str, str], ...] = ()
    sets: tuple[tuple[str, str], ...] = ()  # variable -> patterns of paths; the first existing path is its value
    note: str = ""
    kind: str = ""  # "" | licensed | site | unknown version
    gives: tuple[str, ...] = ()  # programs that the module provides
    unpinned: str = ""  # the version in the script, if ``setup`` installs another one

    @property
    def complete(self) -> bool:
        """Return whether the replacement needs no further input."""
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
    """Rows of modules.toml by each lower-case name."""
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


#: languages whose packages are modules, and the command that installs a package
_PACKAGES = dict.fromkeys(("py", "py3"), "pip install {}") | {"r": "conda install -y -n base -c conda-forge r-{}"}

#: a name as Spack writes it: package, version, compiler, the compiler's version, hash
_BUILT = re.compile(r"([a-z][\w+-]*?)-(\d[\w.]*)-(?:gcc|intel|clang|oneapi|aocc|nvhpc|pgi|cce)-\d[\w.]*"
                    r"(?:-[a-z0-9]{7})?")  # fmt: skip

#: a year's tree of software: 2019, 2022r2, 2021a
_STAGE = re.compile(r"20\d\d([a-z]\d?|\.\d{1,2})?")


@cache
def _categories() -> frozenset[str]:
    return frozenset(_tables()["categories"]["names"].split())


def find(site: Site, name: str) -> Module | None:
    """Resolve ``module load NAME``; None for an unknown name.

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
    if row is not None and "python" in row.get("names", ()) and version[:1] not in "23":
        version = next((part for part in reversed(name.split("/")) if re.fullmatch(r"[23](\.\d+)*", part)), "")
    return None if row is None else _of_row(row, name, version)


def _shipped_row(name: str) -> tuple[Mapping[str, Any] | None, str]:
    """Shipped row and version for a name, without leading categories. lang/Python/3.11 has the category lang."""
    parts = [part for part in name.split("/") if part]
    if name.startswith("/"):
        parts = parts[-2:]  # the path of a module file
    while (
        len(parts) > 1
        and parts[0].lower() in _categories()
        and (not _is_version(parts[1]) or (len(parts) > 2 and parts[1].lower() in _categories()))
    ):
        del parts[0]
    if not parts:
        return None, ""
    if len(parts) == 1 and (_STAGE.fullmatch(parts[0].lower()) or _is_tree(parts[0].lower())):
        return {"kind": "site", "note": "a software tree of the old cluster; nothing is needed here"}, ""
    found, version = _named(parts)
    if (found is None or found.get("kind") == "site") and len(parts) > 1 and parts[1].lower() not in _variants():
        inner = _shipped_row("/".join(parts[1:]))  # the first part may be a category of that site's own
        if inner[0] is not None and inner[0].get("kind") != "site":
            return inner
    return found, version


def _is_tree(name: str) -> bool:
    return name in _categories() and name not in shipped()


def _named(parts: list[str]) -> tuple[Mapping[str, Any] | None, str]:
    """Row and version for the parts of a name without categories."""
    rows = shipped()
    first = parts[0].lower()
    built = _BUILT.fullmatch(first)
    if built:
        first, parts = built[1], [built[1], built[2], *parts[1:]]
    language = re.match(r"(py3?|python3?|r)-(?=[a-z])", first)
    if language and first not in rows:
        package = re.sub(r"[-_]v?\d.*$", "", first[language.end() :])
        install = _PACKAGES.get(language[1], "")
        known = rows.get(package, {"kind": "site"})
        return known if known.get("kind") != "site" else {"setup": install.format(package)} if install else None, ""
    for wanted in _spellings(first):
        row = rows.get(wanted)
        if row is not None and (wanted == first or row.get("kind") != "site"):
            glued = re.match(r"[-_]?v?(\d[\d.]*)", first[len(wanted) :])
            versions = [*parts[1:2], *(glued.groups() if glued else ()), *parts[2:]]
            return row, next((text for text in versions if _is_version(text)), "")
    return None, ""


def _spellings(name: str) -> Iterator[str]:
    """Spellings of a name, the most exact one first. They lack the version, the build and a site's marks."""
    plain = re.sub(r"[-_.]?v?\d[\d.]*(?:-\d+)?$", "", name)
    unbuilt = re.sub(r"[-_](gpu|cuda|mpi|omp|gcc|intel|serial|x86_64|ib)$", "", name)
    yield from (name, plain, unbuilt, re.sub(r"(?<=\w\w\w)[-_]?v?\d[\d.]*[-_].*$", "", name))
    dashed = re.sub(r"[_.]", "-", plain)
    if not name.startswith("."):
        yield from (dashed, dashed.replace("-", ""))
    owner, sign, rest = dashed.partition("-")
    if sign and owner in _tables()["owners"]["names"].split():
        yield from _spellings(rest)
    if (owner in _variants() or owner in _categories()) and owner not in ("openmpi", "mpich", "mvapich2"):
        return  # such a part names a program's compiler or language
    words = name.replace("_", "-").split("-")
    yield from ("-".join(words[:count]) for count in range(len(words) - 1, 0, -1) if len(words[0]) > 2)


@cache
def _variants() -> frozenset[str]:
    """Names of compilers, MPIs and languages. After another name they describe its build."""
    return frozenset(_tables()["variants"]["names"].split())


def _is_version(text: str) -> bool:
    return bool(re.match(r"v?\d|(?:latest|default|stable)$", text))


def _of_site(module: Any, name: str) -> Module:
    return Module(name, "site", module.image, module.setup, environment=module.environment)


def _of_row(row: Mapping[str, Any], name: str, version: str) -> Module:
    numbers = re.match(r"v?(\d+(?:\.\d+)*)", version)
    short = numbers[1] if numbers else ""
    if "versions" in row:
        # cuda/112 and cuda11.2 are one version; a year is the version of a software tree
        short = "" if _STAGE.fullmatch(short) else re.sub(r"^([5-9]|1\d)(\d)$", r"\1.\2", short)
    image, kind = str(row.get("image", "")), str(row.get("kind", ""))
    versions = row.get("versions", {})
    cut = short
    while cut and cut not in versions:
        cut = cut.rpartition(".")[0]
    note = str(row.get("note", ""))
    if cut:
        image = versions[cut]
    elif image and short and versions:
        # Another version's image is another program: the site file must name a suitable image.
        gives = tuple(str(row.get("gives", "")).split())
        note = f"no image is known for version {short}"
        return Module(name, "shipped", note=note, kind="unknown version", gives=gives)
    pins = short and row.get("versioned", True) and not _STAGE.match(short)
    pinned = str(row.get("pin", "={}")).format(".".join(short.split(".")[:2])) if pins else ""
    python = re.search(r"(?i)python[-_/]?(3\.\d+)", name)  # Python for which a package of that site is built
    if python and not row.get("versioned", True):
        pinned = f"={python[1]}"
    setup = str(row.get(f"setup-{short.partition('.')[0]}", row.get("setup", ""))).replace("{version}", pinned)
    gives = tuple(str(row.get("gives", "")).split())
    activate, path = str(row.get("activate", "")), str(row.get("path", ""))
    unpinned = version if setup and not image and not (pinned and pinned in setup) else ""
    sets = tuple((one, place) for place, named in row.get("sets", {}).items() for one in named.split())
    return Module(name, "shipped", image, setup, activate, path, (), sets, note, kind, gives, unpinned)


def names(site: Site) -> list[str]:
    """All names of both maps, without duplicates, in order."""
    own = [module.name for module in site.modules]
    return list(dict.fromkeys([*own, *(name for row in shipped().values() for name in row["names"])]))
