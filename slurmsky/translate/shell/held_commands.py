"""Commands with the values of their variables: ``run="srun -n 4 python"; time $run a.py``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from .launched_program import in_containers, launched
from .script_commands import Script, parse
from .script_variables import Scope
from .shell_elements import Command, Word

#: values that the shell splits into words as they are written
_PLAIN = re.compile(r"[^'\"`\\;|&<>()*?#\n]+")
_MAX_DEPTH = 4  # variables within variables


def held_commands(script: Script, scope: Scope) -> Iterator[Command]:
    """Commands of a script, with programs that variables hold.

    Commands inside a container (``bash -c``) do not count. ``$(which NAME)`` counts as NAME, except in a test.
    """
    tests = [(one.start, one.end) for one in script.commands if one.name in ("[", "[[", "test")]
    contained = in_containers(script.commands, scope.containers)
    for command in script.commands:
        if any(start < command.start < end for start, end in contained):
            continue
        for _ in range(_MAX_DEPTH):
            entered = _entered(command, script, scope)
            if entered is command:
                break
            command = entered
        asks = command.name == "which" and command.depth and len(command.words) == 2
        if asks and not any(start < command.start < end for start, end in tests):
            command = replace(command, words=command.words[1:])
        yield command


def _entered(command: Command, script: Script, scope: Scope) -> Command:
    """The command with its program, if a variable holds the program."""
    for part in (command.words, launched(command, scope.containers).words):
        inner = _value(part[0], script, scope) if part else ()
        at = command.words.index(part[0]) if inner and part[0] in command.words else -1
        if at >= 0:
            return replace(command, words=(*command.words[:at], *inner, *command.words[at + 1 :]))
    return command


def _value(word: Word, script: Script, scope: Scope) -> tuple[Word, ...]:
    """The words of a variable with one value, or ()."""
    name = word.variable()
    value = scope.values.get(name, "") if name else ""
    if not _PLAIN.fullmatch(value) or len(re.findall(rf"(?m)^[^#\n]*\b{name}\+?=", script.source)) != 1:
        return ()
    commands = parse(value, word.start, word.line).commands
    alone = len(commands) == 1 and not commands[0].assignments
    split = not word.raw.startswith('"') or len(commands[0].words) == 1 if alone else False
    return commands[0].words if split else ()
