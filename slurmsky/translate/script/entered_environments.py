"""Finds the Python environments that a script enters."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import pairwise

from ..shell.launched_program import in_containers, launched
from ..shell.script_commands import Script
from ..shell.script_variables import Scope
from ..shell.shell_elements import Command
from . import outside_paths, program_paths


def environments(script: Script, scope: Scope) -> Iterator[tuple[int, str]]:
    """(line, name) of Python environments that are activated, not created."""
    made: set[str] = set()
    where = ""  # working directory, relative to the submit folder
    for command in _on_node(script, scope):
        texts = [scope.expand(word) for word in command.words]
        name = command.name
        where = _moved(where, texts) if name == "cd" and not command.blocks else where
        if name in ("conda", "mamba", "micromamba") and "create" in texts[1:3]:
            made.update(following(texts, ("-n", "--name", "-p", "--prefix")))
        elif name == "virtualenv" or {"venv", "virtualenv"} & set(texts[:4]):
            made.update(text.rstrip("/") for text in texts[1:] if not text.startswith("-"))
        elif (name in ("conda", "mamba", "micromamba") and texts[1:2] == ["activate"]) or (
            name in ("source", ".") and texts[1:2] and re.search(r"(^|/)activate$", texts[1]) and len(texts) > 2
        ):
            rest = [text for text in texts[2:] if not text.startswith("-")]
            if rest and rest[0] != "base" and rest[0] not in made:
                yield command.line, f"./{rest[0]}" if re.match(r"[\w.-]+/", rest[0]) and rest[0][0] != "." else rest[0]
        elif name in ("conda", "mamba") and texts[1:2] == ["run"]:
            for env in following(texts, ("-n", "--name", "-p", "--prefix")):
                if env not in made:
                    yield command.line, env
        elif name in ("source", ".") and len(texts) == 2 and texts[1].endswith("bin/activate"):
            folder = texts[1].removesuffix("bin/activate").rstrip("/") or "."
            own = folder in made or folder.removeprefix("$PWD/") in made
            if not folder.startswith(("/", "~", "$")) and folder != ".":
                folder = _as_conda_path(os.path.join(where, folder))
            if not own and folder != "." and not program_paths.CONDA_BASE.search(folder):
                yield command.line, folder
        else:
            found = launched(command, scope.containers)
            program = scope.expand(found.words[0]) if found.words and not found.inside else ""
            folder = program_paths.environment_of(program)
            if folder and folder not in made:
                yield command.line, folder
    for place in outside_paths.places(script, scope):
        folder = program_paths.environment_of(place.text) if place.role == outside_paths.VENV else ""
        if folder and folder not in made:
            yield place.line, folder


def _on_node(script: Script, scope: Scope) -> Iterator[Command]:
    """Commands that no container runs."""
    contained = in_containers(script.commands, scope.containers)
    yield from (one for one in script.commands if not any(start < one.start < end for start, end in contained))


def _moved(where: str, texts: list[str]) -> str:
    """Working directory after ``cd``, from the submit folder; "" if unknown."""
    found = re.fullmatch(r"(\$SLURM_SUBMIT_DIR/?|\$PWD/?)?((?:[\w.-]+/?)*)", texts[1]) if len(texts) == 2 else None
    return os.path.join("" if found[1] and "SLURM" in found[1] else where, found[2]) if found else ""


def _as_conda_path(folder: str) -> str:
    """Relative folder that conda reads as a path."""
    folder = os.path.normpath(folder)
    return folder if folder.startswith("../") else f"./{folder}"


def following(texts: list[str], names: tuple[str, ...]) -> Iterator[str]:
    """The words after any of these options."""
    yield from (value for text, value in pairwise(texts) if text in names)
