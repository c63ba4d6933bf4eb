"""Finds relative names above the submit folder. SkyPilot's nodes do not have these folders."""

from __future__ import annotations

import posixpath

from ..shell.launched_program import launched
from ..shell.script_commands import Script
from ..shell.script_variables import Scope
from ..shell.word_sets import words
from .outside_paths import is_output_option

_UNREAD = words(
    """
    echo printf export set test [ [[ mkdir touch tee rm rmdir chmod cp mv ln rsync
    """
)


_SUBMIT_DIR = ("$SLURM_SUBMIT_DIR", "$PBS_O_WORKDIR")


def outside(script: Script, scope: Scope) -> tuple[int, str] | None:
    """First file above the submit folder that the script reads.

    Returns line and text, or None. The search ends where the script changes into a folder that is neither relative nor
    the submit folder.
    """
    depth = 0
    for command in script.commands:
        found = launched(command, scope.containers)
        if found.inside or command.depth:
            continue
        if found.name in ("cd", "pushd"):
            target = scope.expand(found.arguments[0]) if found.arguments else "~"
            if target in _SUBMIT_DIR:
                depth = 0
                continue
            parts = posixpath.normpath(target).split("/")
            if target.startswith(("/", "~", "$", "-")) or not target:
                return None
            depth += sum(-1 if part == ".." else part != "." for part in parts)
            if depth < 0:
                return command.line, target
            continue
        # The task's setup creates environments.
        entered = found.name in ("source", ".") and "/bin/activate" in command.word_texts[-1]
        if found.name in _UNREAD or found.name in scope.functions or entered:
            continue
        before = ""
        for word in found.words:
            text = scope.expand(word)
            option, sign, value = text.partition("=")
            path = value if sign and text.startswith("-") else text
            start, _, rest = path.partition("/")
            below = 0 if start in _SUBMIT_DIR else depth
            relative = rest if start in (*_SUBMIT_DIR, "$PWD") else path
            above = posixpath.normpath(relative).split("/").count("..") if f"{relative}/".startswith("../") else 0
            if above > below and not is_output_option(option if path is value else before):
                return word.line, path
            before = text if text.startswith("-") else ""
    return None
