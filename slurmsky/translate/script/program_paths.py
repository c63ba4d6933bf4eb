"""Programs and Python environments at paths of the old cluster."""

from __future__ import annotations

import re

from ..shell.path_texts import SHAPE
from .mount_points import on_every_node
from .programs import find

#: programs of distributions and installers, which old clusters have in other folders
_OWN_FOLDER = frozenset(("R", "Rscript", "java", "parallel", "ffmpeg", "cmake", "pixi"))
#: programs that create and enter conda environments
CONDA_PROGRAMS = ("conda", "mamba", "micromamba")
#: folder of conda itself
CONDA_BASE = re.compile(r"(conda|forge|mamba)[\w.-]*$")
_PYTHON = re.compile(r"(?P<folder>.+)/bin/(?:i?python[\d.]*|pip3?)$")


def environment_of(program: str) -> str:
    """Python environment's folder in a program's path, or ""."""
    found = _PYTHON.fullmatch(program)
    known = SHAPE.match(program) and "$" not in program
    return found["folder"] if found and known and not on_every_node(program) else ""


def known_program(path: str) -> str:
    """Installable program at a path of the old cluster, or ""."""
    name = path.rpartition("/")[2]
    source = find(name) if "$" not in path and SHAPE.match(path) and not on_every_node(path) else None
    return name if source is not None and (source.kind in ("conda", "pip") or name in _OWN_FOLDER) else ""
