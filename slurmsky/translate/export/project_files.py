"""Completes the files of the workdir.

Setup builds its missing programs and images. Missing inputs are named.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from ..script.build_lines import build_setup
from ..script.container_files import build_line, missing_images
from ..script.conversion_tables import COMPILERS
from ..script.project_folder import builds
from ..script.project_root import Origin
from ..script.script_files import inputs
from ..shell.script_commands import Script
from ..shell.script_variables import Scope
from .conversion import Reading

_OF_ENVIRONMENT = re.compile(r"(?:\./)?(?P<folder>[\w./-]*v?env[\w.-]*)/bin/(?:python[\d.]*|pip3?|torchrun|accelerate)")
#: programs by which the script builds its own programs
_BUILDERS = COMPILERS | {"make", "cmake"}


def bring_files(
    script: Script, reading: Reading, folder: str, start: Origin, unknown: Sequence[str]
) -> tuple[Origin, list[tuple[int, str]]]:
    """Build missing programs and images; name missing inputs.

    ``folder``: the submit folder. ``unknown``: programs of the script that no package has.
    mpirun finds those of the working directory.
    Returns ``start`` with the programs that have no rule, and the folders above the submit folder that setup reads:
    their number, and the file that is built there.
    """
    given = {program for module in reading.modules for program in module.gives}
    makes = any(command.name in _BUILDERS for command in script.commands)
    own = [name for name in unknown if folder and builds([folder], name)]
    reading.brought.update(own)
    missing = _without_environments(start.unbuilt, reading)
    lines, unbuilt = build_setup(folder, (*missing, *(() if makes else own)), given)
    reading.setup += lines
    above: list[tuple[int, str]] = []
    for image in missing_images(script, Scope.of(script), folder):
        levels, line = build_line(folder, image)
        if line:
            reading.setup.append(line)
            above.append((levels, image))
        else:
            why = "the workdir has no such image file: put it there, or build or pull it in setup"
            reading.drop(0, image, why, to_do=True)
    known = folder and not (start.former or start.missing)
    for name in dict.fromkeys(inputs(script)) if known else ():
        if not os.path.lexists(os.path.join(folder, name)):
            kind = "folder" if name.endswith("/") else "file"
            reading.drop(0, name, f"the workdir has no such {kind}: put it there, or mount a bucket", to_do=True)
    return start._replace(unbuilt=tuple(unbuilt)), above


def _without_environments(programs: Sequence[str], reading: Reading) -> list[str]:
    """Programs without those of virtual environments in the workdir.

    Setup makes these environments with the job's packages.
    """
    kept = []
    for name in programs:
        found = _OF_ENVIRONMENT.fullmatch(name)
        if not found:
            kept.append(name)
        elif (made := f"python3 -m venv {found['folder']}") not in reading.setup:
            install = re.compile(r"(?:uv )?pip install(?: --system)?(?= )")
            installed = [install.sub(f"{found['folder']}/bin/pip install", line) for line in reading.setup]
            first = next((at for at, line in enumerate(reading.setup) if install.match(line)), len(installed))
            reading.setup[:] = [*installed[:first], made, *installed[first:]]
    return kept
