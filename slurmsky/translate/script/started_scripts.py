"""Finds shell scripts that a script starts: ``bash x.sh``.

Sourced scripts count, too. They must be in the submit folder. Scripts are read one level deep: a batch script is often
a header, and a second file does the work.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from ..shell.launched_program import launched
from ..shell.path_texts import home
from ..shell.script_commands import SHELLS, Script, parse
from ..shell.script_variables import Scope
from .entered_environments import following
from .make_recipes import recipe
from .project_folder import Project

MAX_SCRIPTS = 20
MAKEFILES = ("GNUmakefile", "makefile", "Makefile")
_SUBMIT_FOLDER = ("$SLURM_SUBMIT_DIR/", "$PWD/", "./")


@dataclass(frozen=True)
class InnerScript:
    """A started script. ``line`` is the starting command's line number; ``scope`` has the starting script's values.

    ``folder``: the working directory at its start, below the submit folder.
    """

    line: int
    name: str
    script: Script
    scope: Scope
    sourced: bool
    folder: str = ""


def makefiles_of(script: Script, scope: Scope, project: Project) -> Iterator[InnerScript]:
    """Recipes of the submit folder's makefiles that the script runs."""
    for command in script.commands:
        found = launched(command, scope.containers)
        if found.name != "make" or found.inside or "make" in scope.functions:
            continue
        texts = [scope.expand(word) for word in found.arguments]
        folder = next(iter(following(texts, ("-C", "--directory"))), "")
        names = [*following(texts, ("-f", "--file", "--makefile")), *MAKEFILES]
        for name in (os.path.join(folder, name) for name in names):
            if text := project.text_of(name):
                inner = parse(recipe(text, texts))
                yield InnerScript(command.line, name, inner, Scope.of(inner, scope.values), False, folder)
                break


def batch_documents(script: Script, scope: Scope) -> Iterator[InnerScript]:
    """Batch scripts that the script writes by here-documents, and submits."""
    if "sbatch" not in script.source:
        return
    for start, end, expanded in script.documents:
        text = script.source[start:end]
        if "#SBATCH" in text:
            inner = parse(text.replace("\\$", "$") if expanded else text)
            own = Scope.of(inner, scope.values if expanded else {})
            yield InnerScript(script.source.count("\n", 0, start) + 1, "here-document", inner, own, False)


def started_by(script: Script, scope: Scope, project: Project) -> Iterator[InnerScript]:
    """Shell scripts in the submit folder that commands start."""
    seen: set[str] = set()
    folder = ""
    for command in script.commands:
        found = launched(command, scope.containers)
        words = found.words
        if found.name in ("cd", "pushd"):
            target = scope.expand(words[1]) if len(words) > 1 else "~"
            folder = "" if target.startswith(("/", "~", "$", "-")) else os.path.join(folder, target)
            continue
        if found.inside or found.name in scope.functions:
            continue
        sourced = found.name in ("source", ".")
        if found.name in SHELLS or sourced:
            words = words[1:]
            while words and words[0].raw.startswith("-") and not words[0].raw.endswith("c"):
                words = words[1:]
        elif command.name != "srun" and words and "/" not in words[0].raw:
            continue  # a program of PATH
        elif command.name == "srun" and "--multi-prog" in command.word_texts:
            continue  # a list of programs for ranks
        name = home(scope.expand(words[0])) if words else ""
        former = project.former(name) if name[:1] in ("/", "~") else ""
        starts = (f"{former}/", *_SUBMIT_FOLDER) if former else _SUBMIT_FOLDER
        name = next((name[len(start) :] for start in starts if name.startswith(start)), name)
        path = os.path.normpath(os.path.join(folder, name)) if name and name[0] not in "/~$-" else ""
        if path and path not in seen and len(seen) < MAX_SCRIPTS and (text := project.text_of(path)):
            seen.add(path)
            inner = parse(text)
            own = Scope.of(inner, scope.values)
            own.functions |= scope.functions if sourced else set()
            yield InnerScript(command.line, name, inner, own, sourced, folder)
