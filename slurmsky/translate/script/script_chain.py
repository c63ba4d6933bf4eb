"""Reads a script that submits others in sequence, as a pipeline.

The submissions have ``--dependency=afterok``. A pipeline starts a task when the one before it has succeeded. Each
order of ``afterok`` dependencies fits, one stage after the other; ``afterany``, arrays of submissions in loops and
other conditions do not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ...options.getopt import split
from ...options.table import load
from ..shell.script_commands import Script
from ..shell.script_variables import Scope
from ..shell.shell_elements import Command, Word
from ..shell.word_sets import words

#: commands of a script that only submits: they print, wait, or extract an id from sbatch's output
_HARMLESS = words(
    """
    : [ [[ test true echo printf set shopt date sleep squeue sinfo awk cut grep sed tail head tr cat exit
    """
)
_AFTER = re.compile(r"afterok(?::(?:\$\w+|\$\{\w+[^:,}?]*\}))+")


@dataclass(frozen=True)
class Stage:
    """One submission. ``words``: sbatch's options, script and arguments, without the dependency."""

    line: int
    words: tuple[str, ...]


def stages(script: Script) -> list[Stage]:
    """Submissions of a chain in order, or []. A chain has at least two submissions."""
    scope, table = Scope.of(script), load("sbatch")
    submissions = [command for command in script.commands if command.name == "sbatch"]
    others = [command for command in script.commands if command.words and command not in submissions]
    if len(submissions) < 2 or any(block for command in submissions for block in command.blocks):
        return []
    if any(command.name not in _HARMLESS for command in others):
        return []
    found: list[Stage] = []
    ids: set[str] = set()
    linked = False
    for command in submissions:
        line = [_text(word, scope) for word in command.words[1:]]
        given = split(table, line)
        wrapped = any(entry.option.name == "wrap" for entry in given.found)
        if bool(given.rest) == wrapped or any("$" in word for word in given.rest):
            return []
        for entry in given.found:
            if entry.option.name == "dependency":
                if not _after(entry.text or "", ids):
                    return []
                linked = True
            elif "$" in (entry.text or "") and entry.option.name != "wrap":
                return []
        found.append(Stage(command.line, _without_dependency(line, given.rest)))
        ids |= _names(script, command, ids)
    return found if linked else []


def _text(word: Word, scope: Scope) -> str:
    """Word as sbatch reads it, with ids of dependencies as variables."""
    return re.sub("[\"']", "", word.raw) if "after" in word.raw else scope.expand(word)


def _after(text: str, ids: set[str]) -> bool:
    """Return whether a dependency is afterok on this script's submissions."""
    parts = text.split(",")
    return all(map(_AFTER.fullmatch, parts)) and set(re.findall(r"\$\{?(\w+)", text)) <= ids


def _names(script: Script, submission: Command, ids: set[str]) -> set[str]:
    """Variables with the id of a submission. Some are derived from others."""
    names: set[str] = set()
    for command in script.commands:
        for given in command.assignments:
            value: Word = given.value
            inside = value.start <= submission.start < value.end
            if inside or {part.name for part in value.variables} & (names | ids):
                names.add(given.name)
    return names


def _without_dependency(line: Sequence[str], rest: Sequence[str]) -> tuple[str, ...]:
    """Words without ``--dependency`` and similar options."""
    options = list(line[: len(line) - len(rest)])
    kept: list[str] = []
    while options:
        word = options.pop(0)
        if word in ("-d", "--dependency"):
            options.pop(0)
        elif not re.match(r"--dep\w*=|-d.|--parsable$|-Q$|--quiet$|--kill-on-invalid-dep", word):
            kept.append(word)
    return (*kept, *rest)
