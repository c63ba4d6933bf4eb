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

_NAMING = ("-n", "--name", "-p", "--prefix")


def environments(script: Script, scope: Scope) -> Iterator[tuple[int, str]]:
    """(line, name) of Python environments that are activated, not created."""
    made: set[str] = set()
    where = ""  # working directory, relative to the submit folder
    for command in _on_node(script, scope):
        texts = [scope.expand(word) for word in command.words]
        where = _moved(where, texts) if command.name == "cd" and not command.blocks else where
        created = _created(command.name, texts)
        made.update(created or ())
        for folder, name in _entered(command, texts, scope, where) if created is None else ():
            if not {folder, folder.removeprefix("$PWD/")} & made:
                yield command.line, name
    for place in outside_paths.places(script, scope):
        folder = program_paths.environment_of(place.text) if place.role == outside_paths.VENV else ""
        if folder and folder not in made:
            yield place.line, folder


def _created(name: str, texts: list[str]) -> list[str] | None:
    """Environments that a command creates; None: no such command."""
    if name in program_paths.CONDA_PROGRAMS and "create" in texts[1:3]:
        return list(following(texts, _NAMING))
    if name == "virtualenv" or {"venv", "virtualenv"} & set(texts[:4]):
        return [text.rstrip("/") for text in texts[1:] if not text.startswith("-")]
    return None


def _entered(command: Command, texts: list[str], scope: Scope, where: str) -> Iterator[tuple[str, str]]:
    """Environments that a command enters.

    Each is given as the script writes it, and as conda names it.
    """
    name, sourced = command.name, texts[1] if command.name in ("source", ".") and len(texts) > 1 else ""
    by_conda = name in program_paths.CONDA_PROGRAMS and texts[1:2] == ["activate"]
    if by_conda or (len(texts) > 2 and re.search(r"(^|/)activate$", sourced)):
        for text in [text for text in texts[2:] if not text.startswith("-")][:1]:
            if text != "base":
                yield text, f"./{text}" if re.match(r"[\w-][\w.-]*/", text) else text
    elif name in ("conda", "mamba") and texts[1:2] == ["run"]:
        yield from ((text, text) for text in following(texts, _NAMING))
    elif sourced.endswith("bin/activate") and len(texts) == 2:
        folder = sourced.removesuffix("bin/activate").rstrip("/") or "."
        shown = folder if folder.startswith(("/", "~", "$")) else _as_conda_path(os.path.join(where, folder))
        if folder != "." and not program_paths.CONDA_BASE.search(shown):
            yield folder, shown
    else:
        found = launched(command, scope.containers)
        program = scope.expand(found.words[0]) if found.words and not found.inside else ""
        if folder := program_paths.environment_of(program):
            yield folder, folder


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
