"""Finds `module` and `ml` commands in a script.

Nothing is executed.  Source: man module (Environment Modules 5), Lmod's `ml`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...language._grammar import Grammar
from ...language.syntax_errors import ModuleLineError
from . import script_commands
from .shell_elements import Command, Word

# synonyms -> the word in `action`
_SAME = {
    "add": "load",
    "try-add": "try-load",
    "rm": "unload",
    "del": "unload",
    "remove": "unload",
    "sw": "swap",
    "switch": "swap",
    "li": "list",
    "av": "avail",
    "display": "show",
    "disp": "show",
    "wh": "whatis",
    "key": "keyword",
    "search": "keyword",
    "apropos": "keyword",
    "isloaded": "is-loaded",
}
# Programs that run the command in their arguments.
_LEADING = {"command", "builtin", "eval"}
# Most scripts have no such word as a command, and need no full scan.
_LIKELY = re.compile(r"(?<![\w./=-])(?:module|ml)(?=[\s;&|)]|\Z)")


@dataclass(frozen=True)
class ModuleLine:
    """One request to the module system.

    It is `load` of some names, `purge`, `swap` of two, or `use` of folders. Names are as written, variables
    unexpanded. `line` counts from 1.
    """

    action: str
    names: tuple[str, ...] = ()
    line: int = 0
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join(("module", self.action, *self.options, *self.names))


_Requested = tuple[str, tuple[str, ...], tuple[str, ...]]  # action, names, options


class _Build:
    def module(self, *tokens: str) -> list[_Requested]:
        action = "list"  # the default of a bare `ml`; a bare `module` prints its help and is omitted
        names: list[str] = []
        options: list[str] = []
        for token in tokens:
            kind: str = token.type  # type: ignore[attr-defined]  # a lark Token
            if kind == "ACTION":
                action = _SAME.get(token[1:], token[1:])
            else:
                (names if kind == "NAME" else options).append(token[1:])
        return [(action, tuple(names), tuple(options))]

    def unknown(self, *tokens: str) -> list[_Requested]:
        return []

    def short(self, *tokens: str) -> list[_Requested]:
        """Parse the short form: ml gcc -openmpi loads and unloads."""
        kinds: dict[str, list[str]] = {"NAME": [], "UNLOAD": [], "LONG": []}
        for token in tokens:
            kinds[token.type].append(token[1:])  # type: ignore[attr-defined]
        options = tuple(kinds["LONG"])
        unload = tuple(name[1:] for name in kinds["UNLOAD"] if len(name) > 1)
        requested: list[_Requested] = [("unload", unload, options)] if unload else []
        return requested + ([("load", tuple(kinds["NAME"]), options)] if kinds["NAME"] else [])


_BUILD = _Build()
_GRAMMARS: dict[str, Grammar[list[_Requested]]] = {
    "module": Grammar("modulelines", _BUILD, ModuleLineError, start="module", remember=0),
    "ml": Grammar("modulelines", _BUILD, ModuleLineError, start="ml", remember=0),
}


def parse(script: str | bytes) -> tuple[ModuleLine, ...]:
    """Parse all module commands of a script; never raises.

    Comments, here-documents and text in quotes are ignored.

    >>> [str(found) for found in parse("module purge && module load gcc/12 mpi 2>/dev/null\\nml a -b\\n")]
    ['module purge', 'module load gcc/12 mpi', 'module unload b', 'module load a']
    """
    if isinstance(script, bytes):
        script = script.decode("utf-8", "surrogateescape")
    if not _LIKELY.search(script):
        return ()
    statements = script_commands.parse(script.replace("\0", "")).statements
    return tuple(found for statement in statements for command in statement.commands for found in _read(command))


def _unquoted(word: Word) -> str:
    return "".join(part.text if part.kind == "text" else word.raw[part.start : part.end] for part in word.parts)


def _read(command: Command) -> list[ModuleLine]:
    words = list(map(_unquoted, command.words))
    while words and words[0] in _LEADING:
        del words[0]
    if not words or words[0] not in _GRAMMARS or words == ["module"]:
        return []
    try:
        requested = _GRAMMARS[words[0]].parse("".join("\0" + word for word in words[1:]))
    except ModuleLineError:
        return []
    return [ModuleLine(action, names, command.line, options) for action, names, options in requested]
