"""Replaces variables that hold the start of a launcher's command line: ``run="srun -n 4"; $run ./a``. Pure."""

from __future__ import annotations

import re
from collections import Counter

from ..script.conversion_tables import LAUNCHERS
from ..shell.script_commands import Script, parse
from ..shell.shell_elements import Command, Word

_STARTS = LAUNCHERS | {"srun", "ibrun", "aprun"}
_PREFIXES = frozenset(("time", "eval", "exec", "nohup"))
_SPEAKERS = frozenset(("echo", "printf"))
#: values that the shell splits into words as they are written
_PLAIN = re.compile(r"[^'\"`\\;|&<>()*?#\n]*")
#: mpiexec with its options, in variables that a site's modules set
_SITES_LAUNCHER = re.compile(r"\$(?:MPIEXEC\b|\{MPIEXEC\})(?: +\$(?:FLAGS_MPI_BATCH\b|\{FLAGS_MPI_BATCH\}))?(?= )")
_MAX_DEPTH = 4  # variables within variables


def inlined(source: str) -> str:
    """A script with the launchers' command lines in place of the variables that hold them."""
    if not re.search(r"\bMPIEXEC=", source):
        source = _SITES_LAUNCHER.sub("mpirun", source)
    for _ in range(_MAX_DEPTH):
        script = parse(source)
        held = _held(script)
        edits = [edit for command in script.commands for edit in _uses(command, held)]
        edits += _within(script, held)
        if not edits:
            break
        for start, end, text in sorted(set(edits), reverse=True):
            source = source[:start] + text + source[end:]
        source = _without_unused(source, held)
    return source


def only_shown(script: Script, name: str) -> bool:
    """Return whether a script only prints a variable."""
    shown = [script.text(command) for command in script.commands if command.name in _SPEAKERS]
    used = re.compile(rf"\$\{{?{re.escape(name)}\b")
    return sum(len(used.findall(text)) for text in shown) == len(used.findall(script.source))


def _held(script: Script) -> dict[str, str]:
    """The variables with one value, which starts with a launcher."""
    given = [one for command in script.commands for one in command.assignments]
    given_names = [one.name for one in given]
    exported = (word.raw for command in script.commands if command.name == "export" for word in command.arguments)
    counts = Counter([*given_names, *(raw.partition("=")[0] for raw in exported)])
    found = {}
    for one in given:
        text = _inner(one.value)
        words = text.split()
        plain = _PLAIN.fullmatch(text) and counts[one.name] == 1 and not (one.append or one.array)
        if plain and len(words) > 1 and words[0].rpartition("/")[2] in _STARTS:
            found[one.name] = text.strip()
    return found


def _inner(word: Word) -> str:
    raw = word.raw
    return raw[1:-1] if len(raw) > 1 and raw[0] == raw[-1] == '"' else raw


def _uses(command: Command, held: dict[str, str]) -> list[tuple[int, int, str]]:
    """Edits for the variables that are commands: ``$run``, ``time $run``, ``eval $run``."""
    words = list(command.words)
    while words and words[0].text in _PREFIXES:
        del words[0]
    name = words[0].variable() if words else ""
    if not name or name not in held or (words[0].raw.startswith('"') and command.name != "eval"):
        return []
    start = words[0].start if command.name != "eval" else command.words[0].start
    return [(start, words[0].end, held[name])]


def _within(script: Script, held: dict[str, str]) -> list[tuple[int, int, str]]:
    """Edits for values that start with such a variable: ``com="$run python a.py"``."""
    edits = []
    for command in script.commands:
        for one in command.assignments:
            found = re.match(r"\"?\s*\$\{?(\w+)\}?(?=[\s\"])", one.value.raw)
            if found and found[1] in held and one.name not in held:
                at = one.value.start + found.start(1) - (2 if "{" in found[0] else 1)
                edits.append((at, one.value.start + found.end(), held[found[1]]))
    return edits


def _without_unused(source: str, held: dict[str, str]) -> str:
    """The script without assignments of variables that nothing reads any more: what replaces them follows."""
    script = parse(source)
    for statement in reversed(script.statements):
        for command in reversed(statement.commands):
            alone = len(command.assignments) == 1 and not command.words
            name = command.assignments[0].name if alone else ""
            if name in held and not re.search(rf"\$\{{?{re.escape(name)}\b", source):
                rest = source[command.end :]
                before = source[: command.start]
                source = before.rstrip(" \t") + rest if rest.startswith("\n") else before + rest.lstrip("; ")
    return source
