"""Counts folders above the submit folder that a script reads."""

from __future__ import annotations

import re

from ..shell.script_commands import Script
from ..shell.script_variables import Scope
from ..shell.shell_elements import Block, Command

_UP = re.compile(
    r"(?:^|[=:,\s])(?:(?:\$PWD|\$SLURM_SUBMIT_DIR|\$\(\))/)?(?:\./)?((?:\.\./)+(?:\.\.(?![\w.]))?|\.\.(?![\w./]))"
)
_SPEAKERS = frozenset(("echo", "printf"))
_SUBMIT_DIR = frozenset(("$SLURM_SUBMIT_DIR", "$PWD", "$PBS_O_WORKDIR", ".", "./"))


def levels_above(script: Script, scope: Scope) -> tuple[int, str]:
    """Number of folders above the submit folder, and the farthest path.

    (0, "") for none. Counting ends at the first ``cd`` to an unknown or absolute folder.
    """
    most, farthest = 0, ""
    depths: dict[tuple[Block, ...], int] = {}  # by the subshells around a command: a cd ends with its subshell
    for command in script.commands:
        shells = tuple(block for block in command.blocks if block.kind == "subshell")
        depth = next((depths[shells[:end]] for end in range(len(shells), -1, -1) if shells[:end] in depths), 0)
        if command.name in ("pushd", "popd"):
            break
        if command.name in ("source", ".") and (command.word_texts[1:2] or [""])[0].endswith("/activate"):
            continue  # an environment of the old cluster, which setup creates
        for text in _paths(command, scope):
            above = text.count("..") - depth
            if above > most:
                most, farthest = above, text
        if command.name == "cd":
            target = scope.expand(command.words[1]) if len(command.words) > 1 else "~"
            if target in _SUBMIT_DIR:
                depths[shells] = 0
            elif target.startswith(("/", "~", "$", "-")):
                break
            else:
                parts = [part for part in target.split("/") if part not in ("", ".")]
                depths[shells] = depth + sum(-1 if part == ".." else 1 for part in parts)
    return most, farthest


def _paths(command: Command, scope: Scope) -> list[str]:
    """Leading ``../..`` of each path in a command line."""
    words = [] if command.name in _SPEAKERS else list(command.words)
    words += [word for _, word in command.redirects]
    found = []
    for word in words:
        if ".." in (text := scope.expand(word)):
            found += [match[1].rstrip("/") for match in _UP.finditer(text)]
    return found
