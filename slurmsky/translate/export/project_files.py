"""Completes the files of the workdir.

Setup builds its missing programs and images. Missing inputs are named.
"""

from __future__ import annotations

import os
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
    lines, unbuilt = build_setup(folder, (*start.unbuilt, *(() if makes else own)), given)
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
            reading.drop(0, name, "the workdir has no such file: put it there, or mount a bucket", to_do=True)
    return start._replace(unbuilt=tuple(unbuilt)), above
