"""Environment variables that define `module`, `ml` and `ibrun` on nodes."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from ... import site
from ...site.modules import Module, find, shipped
from ...site.record import Site
from ..shell import module_lines

#: Only scripts with `module`, `ml` or `ibrun` get the functions; other jobs have Slurm's environment unchanged.
_SAYS = re.compile(rb"(?<![\w./=-])(?:module|ml|ibrun)[ \t]+[\w\"'$./-]")
_FUNCTION = re.compile(r"^(module|ml|ibrun)\(\) (\{\n.*?^\})$", re.DOTALL | re.MULTILINE)
#: limit of SLURMSKY_MODULES: Linux starts no program with a variable of 128 KiB (MAX_ARG_STRLEN), its name included
_MAX_COMMAND_BYTES = 131_000
SHIMS = Path(site.__file__).with_name("shims")


@cache
def functions() -> Mapping[str, str]:
    """Environment variables of the functions, as bash exports functions.

    Source: variables.c, since bash 4.3 patch 27.
    """
    data = pkgutil.get_data("slurmsky.site", "module.bash")
    assert data is not None, "module.bash is missing from the package"
    return {f"BASH_FUNC_{name}%%": f"() {body}" for name, body in _FUNCTION.findall(data.decode("utf-8"))}


def listing(site: Site, loaded: Iterable[str] = ()) -> str:
    """Value of SLURMSKY_MODULES, with the site's own names first.

    Its lines are NAME|replacement|VARIABLE=VALUE|PATH+=FOLDER... ``loaded``: names that the script loads, as it spells
    them (``lang/Python/3.11``); only their rows have VARIABLE?=PATTERNS. Rows of the shipped map that do not fit into
    a variable are omitted.
    """
    rows = []
    for config in site.modules:
        meaning = config.image or config.setup or "this site's"
        rows.append([config.name, meaning, *(f"{name}={value}" for name, value in config.environment)])
    for spelling in loaded:
        found = find(site, spelling)
        if found is not None and found.source == "shipped":
            rows.append([spelling, *_requested(found)])
    for row in {id(row): row for row in shipped().values()}.values():  # once per module, not once per name
        found = find(site, str(row["names"][0]))
        if found is not None and found.source == "shipped":
            rows += [[str(spelling), *_shipped(found)] for spelling in row["names"]]
    seen: dict[str, str] = {}
    room = _MAX_COMMAND_BYTES
    for fields in rows:
        if fields[0] not in seen:
            line = "|".join(re.sub(r"[|\n]", " ", field) for field in fields)
            room -= len(line.encode("utf-8", "surrogateescape")) + 1
            if room < 0:
                break
            seen[fields[0]] = line
    return "\n".join(seen.values())


def _shipped(module: Module) -> list[str]:
    return [module.image or module.setup or module.note, *([f"PATH+={module.path}"] if module.path else [])]


def _requested(module: Module) -> list[str]:
    return [*_shipped(module), *(f"{name}?={place}" for name, place in module.sets)]


def job_variables(site: Site, script: bytes, environment: Mapping[str, str]) -> dict[str, str]:
    """Variables for a job whose script calls `module`, `ml` or `ibrun`.

    {} for any other script. A module system's own functions, exported by the caller's shell, are kept.
    """
    if not _SAYS.search(script):
        return {}
    own = environment.get("BASH_FUNC_module%%", "")
    if own and (environment.get("LMOD_CMD") or environment.get("MODULES_CMD")):
        return {}
    requested = module_lines.parse(script.decode("utf-8", "replace"))
    loaded = [name for line in requested if line.action not in ("unload", "use") for name in line.names]
    found = {**functions(), "SLURMSKY_MODULES": listing(site, loaded)}
    wanted = dict(site.environment).get("SLURMSKY_UNKNOWN_MODULES")
    if wanted:
        found["SLURMSKY_UNKNOWN_MODULES"] = wanted
    if "PATH" in environment and not script.startswith(b"#!/bin/bash"):
        found["PATH"] = f"{environment['PATH']}:{SHIMS}"
    return found
