"""Finds container image files (``.sif``) that a script's folder lacks.

Setup builds them from the project's definition files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from ..shell.launched_program import launched
from ..shell.script_commands import Script
from ..shell.script_variables import Scope
from .conversion_tables import quoted
from .project_root import candidates

_FILE = re.compile(r"(?:\./|(?:\.\./)*)[A-Za-z_][\w./-]*\.(?:sif|simg)")
_RUNTIMES = frozenset(("singularity", "apptainer"))


def missing_images(script: Script, scope: Scope, folder: str) -> list[str]:
    """Missing image files of the submit folder that commands use.

    Those that a command makes do not count.
    """
    used: dict[str, None] = {}
    made: set[str] = set()
    for command in script.commands:
        texts = [scope.expand(word) for word in command.words]
        if texts[:1] and texts[0] in _RUNTIMES and {"pull", "build"} & set(texts[1:4]):
            made.update(texts)
            if "pull" in texts[1:4] and len(texts) < 5:  # the file has the image's name
                made.update(text.rpartition("/")[2].replace(":", "_") + ".sif" for text in texts[-1:])
        elif command.name in ("wget", "curl", "cp", "mv", "ln"):
            made.update(text.rpartition("/")[2] for text in texts)
        found = launched(command, scope.containers)
        images = [scope.expand(found.image)] if found.image and found.inside in _RUNTIMES else []
        images += [scope.expand(found.words[0])] if found.words and not found.inside else []
        images += [text for option, text in pairwise(texts) if option in ("-with-singularity", "-with-apptainer")]
        used.update((image.removeprefix("./"), None) for image in images if _FILE.fullmatch(image))
    return [name for name in used if name not in made and folder and not (Path(folder) / name).exists()]


def build_line(folder: str, image: str) -> tuple[int, str]:
    """Distance of an image's definition file, and its build command.

    The distance is the number of folders between the submit folder and the definition's. (0, "") without one. A
    definition has the image's name, or is the only one of its folder.
    """
    stem = Path(image).stem
    for levels, base in enumerate(candidates(folder)):
        files = list(_definitions(base))
        named = [file for file in files if stem.lower() in file.lower()] or (files if len(files) == 1 else [])
        if named:
            above = "/".join([".."] * levels)
            target = os.path.relpath(os.path.join(os.path.realpath(folder), image), base)
            built = f"apptainer build {quoted(target)} {quoted(min(named, key=len))}"
            return levels, f"(cd {above} && {built})" if above else built
    return 0, ""


def _definitions(base: str) -> Iterator[str]:
    names = sorted(path.name for path in Path(base).glob("*"))
    yield from (name for name in names if re.fullmatch(r"(?i).*\.def|singularity(\.[\w.-]+)?", name))
