"""What a module name stands for: the site's own map first, then the shipped one (modules.toml)."""

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
    """A module and what replaces it. ``source``: "site" or "shipped"."""

    name: str  # as the script wrote it, with its version
    source: str
    image: str = ""
    setup: str = ""
    activate: str = ""  # for run, before the program
    environment: tuple[tuple[str, str], ...] = ()
    note: str = ""
    kind: str = ""  # "" | licensed | site

    @property
    def settled(self) -> bool:
        """Whether it needs nothing more of the user."""
        return self.kind != "licensed"


@cache
def shipped() -> Mapping[str, Mapping[str, Any]]:
    """Rows of modules.toml by every name in lower case."""
    data = pkgutil.get_data("slurmsky.site", "modules.toml")
    assert data is not None, "modules.toml is missing from the package"
    rows = tomllib.loads(data.decode("utf-8"))["module"]
    found: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        for name in row["names"]:
            found.setdefault(name.lower(), row)
    return found


def find(site: Site, name: str) -> Module | None:
    """What ``module load NAME`` means; None where neither map knows it.

    A site's entry may be a full name ("cuda/12.1"), a name for all versions, or a pattern ("cuda/12.*").
    """
    bare, _, version = name.partition("/")
    version = version.rsplit("/", 1)[-1]
    exact = {module.name: module for module in site.modules}
    for wanted in (name, bare):
        if wanted in exact:
            return _of_site(exact[wanted], name)
    for module in site.modules:
        if "*" in module.name and re.fullmatch(re.escape(module.name).replace(r"\*", ".*"), name):
            return _of_site(module, name)
    row = shipped().get(bare.lower())
    return None if row is None else _of_row(row, name, version)


def _of_site(module: Any, name: str) -> Module:
    return Module(name, "site", module.image, module.setup, "", module.environment)


def _of_row(row: Mapping[str, Any], name: str, version: str) -> Module:
    numbers = re.match(r"\d+(?:\.\d+)*", version)
    short = numbers[0] if numbers else ""
    image = str(row.get("image", ""))
    versions = row.get("versions", {})
    cut = short
    while cut and cut not in versions:
        cut = cut.rpartition(".")[0]
    note = str(row.get("note", ""))
    if cut:
        image = versions[cut]
    elif image and short and versions:
        note = f"no image is known for version {short}; {note}".rstrip("; ")
    pinned = "=" + ".".join(short.split(".")[:2]) if short else ""
    setup = str(row.get("setup", "")).replace("{version}", pinned)
    return Module(name, "shipped", image, setup, str(row.get("activate", "")), (), note, str(row.get("kind", "")))


def names(site: Site) -> list[str]:
    """Every name that is known, without duplicates, in order."""
    own = [module.name for module in site.modules]
    return list(dict.fromkeys([*own, *(name for row in shipped().values() for name in row["names"])]))
