"""Findings for files that the submit folder lacks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from ..script.conversion_tables import COMPILERS, one_line
from ..script.entered_environments import following
from ..script.programs import find
from ..script.script_files import files_beside
from ..shell.held_commands import held_commands
from ..shell.launched_program import launched
from ..shell.shell_elements import Command
from ..shell.word_sets import words
from .explain_input import View
from .finding import MISSING, Finding

#: commands after which the folder may have any file
_MAKERS = COMPILERS | words(
    """
    git svn wget curl tar unzip gunzip make cmake ninja cargo cp mv rsync ln scp spack singularity apptainer docker
    podman eval pushd
    """
)
_PROGRAM = re.compile(r"\./|.*\.(?:py|sh|bash|R|r|jl|pl|m|smk|nf|lua|do|sas|csh)$")
#: commands whose words are names of environments and shells
_ENVIRONMENTS = words("conda mamba micromamba module ml spack")
_IMAGE = re.compile(r"(?![/~])[^:]*\.(?:sif|simg|img|sqsh|squashfs)")
_HERE = re.compile(r"(?:\.|\$SLURM_SUBMIT_DIR|\$PWD)/?")


def missing_files(view: View) -> Iterator[Finding]:
    """Files that the script needs and the submit folder lacks.

    These are programs to start, and files to read before any program can make them. The search ends if the folder may
    have any file, or if the script enters another folder.
    """
    lookup = view.lookup
    if lookup is None:
        return
    for name in view.wants.python.absent:
        yield Finding(0, "path", f"module {one_line(name, 50)}", MISSING, "no folder of the project has this module")
    tests = (command for command in view.script.commands if command.name in ("[", "[[", "test"))
    tested = {_without_folder(view.scope.expand(word)) for command in tests for word in command.words}
    seen: set[str] = set()
    ran = False
    for command in held_commands(view.script, view.scope):
        found = launched(command, view.scope.containers)
        if found.name in _ENVIRONMENTS:
            continue
        if command.name in ("source", ".") and command.word_texts[1:2] == ["activate"]:
            continue  # conda's activate is in PATH
        if command.name == "cd" and not all(_HERE.fullmatch(view.scope.expand(word)) for word in command.arguments):
            return
        image = found.image.text or "" if found.image is not None else ""
        named = () if found.inside else (*files_beside([command]), *_by_variables(view, command))
        for name in [image] if _IMAGE.fullmatch(image) else named:
            known = "/" not in name and name == found.name and find(name) is not None
            built = name in following(command.word_texts, ("-o",)) and found.name in COMPILERS
            if known or built or not name or name in seen | tested or (ran and not _PROGRAM.match(name)):
                continue
            if not lookup.path(name):
                seen.add(name)
                yield Finding(command.line, "path", one_line(name, 60), MISSING, "not in the submit folder")
        if found.name in _MAKERS:
            return
        seen.update(_written(command))
        source = find(found.name) if found.words else None
        ran |= bool(found.words) and (source is None or source.kind not in ("base", "slurm"))


def _by_variables(view: View, command: Command) -> Iterator[str]:
    """Files of the submit folder that variables name."""
    found = launched(command, view.scope.containers)
    for word in found.words:
        text = view.scope.expand(word) if word.text is None else ""
        name = _without_folder(text)
        if "$" not in name and not name.startswith(("/", "~")) and (word is found.words[0] or _PROGRAM.match(name)):
            yield os.path.normpath(name) if "/" in name or name != text else ""


def _without_folder(path: str) -> str:
    """Path relative to the submit folder."""
    return re.sub(r"^\$(?:SLURM_SUBMIT_DIR|PWD)/", "", path)


def _written(command: Command) -> Iterator[str]:
    """Files that a command writes by redirection or by name."""
    yield from (word.text or "" for operator, word in command.redirects if "<" not in operator)
    if command.name in ("touch", "mkdir", "tee", "sed", "split"):
        yield from (word.text or "" for word in command.arguments)
