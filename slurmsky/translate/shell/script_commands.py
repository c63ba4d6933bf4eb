"""Parses a batch script into commands, with context and positions.

This covers enough of the shell to find what a script calls. ``shell_parser`` reads commands and operators,
grammar/shell.lark the inside of a word; this module follows scripts within a script, in ``$( )`` and ``bash -c``, to a
fixed depth. Nothing is run, and no text is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from ...language import shellwords
from .shell_elements import FILLER, Assignment, Block, Command, Statement, Word
from .shell_parser import Parser

#: maximum depth of nested ``$( )`` and ``bash -c``
MAX_DEPTH = 6
SHELLS = frozenset(("bash", "sh", "zsh", "dash", "ksh"))

#: interpreters whose scripts consist of commands
_SHELL_LIKE = SHELLS | frozenset(("ash", "busybox", "csh", "tcsh", "fish", "rbash", "mksh", "pdksh", "rc"))
_INTERPRETER = re.compile(r"#!\s*(?:\S*/env\s+(?:-\S+\s+)*(?:\w+=\S*\s+)*)?(?:\S*/)?([\w.+-]+)", re.ASCII)

_OPEN_QUOTE = re.compile(r'(?<!\\)(?:\\\\)*"')
_TAKEN = re.compile(r'\\([$`"\\])')


@dataclass(frozen=True)
class Script:
    """A parsed script. ``comments`` are (offset, text with its #)."""

    source: str
    statements: tuple[Statement, ...]
    comments: tuple[tuple[int, str], ...]
    documents: tuple[tuple[int, int, bool], ...]  # bodies of here-documents: start, end, expanded

    def text(self, item: Statement | Command | Word | Block | Assignment) -> str:
        """The source text of the item."""
        return self.source[item.start : item.end]

    @cached_property
    def commands(self) -> tuple[Command, ...]:
        """All commands, in order. Commands in ``$( )`` and ``bash -c`` follow the command that contains them."""
        found: list[Command] = []
        for statement in self.statements:
            for block in statement.blocks:
                for word in block.words:
                    for script in _substituted(word, 1):
                        found += script.commands
            for command in statement.commands:
                found += descend(command)
        return tuple(found)


@lru_cache(maxsize=64)
def parse(source: str, base: int = 0, first_line: int = 1, depth: int = 0) -> Script:
    """Parse a script.

    ``base`` and ``first_line``: position of its text in the whole script. A file for another interpreter than a shell
    (``#!/usr/bin/env python3``) has no commands. Cached: explain, the images of steps and the packages of Python files
    parse the same text one after the other.
    """
    program = interpreter_of(source) or "bash"
    if program not in _SHELL_LIKE:
        return Script(source, (), (), ())
    if program in ("csh", "tcsh"):
        source = to_shell(source)
    return Script(source, *Parser(source, base, first_line, depth).run())


def interpreter_of(source: str) -> str:
    """Program in a script's first line, or ""."""
    found = _INTERPRETER.match(source)
    return found[1] if found else ""


def descend(command: Command) -> Iterator[Command]:
    """A command, and the commands in its words."""
    yield command
    if command.depth >= MAX_DEPTH:
        return
    for script in inner_scripts(command):
        for statement in script.statements:
            for inner in statement.commands:
                yield from descend(replace(inner, blocks=command.blocks + inner.blocks))


def inner_scripts(command: Command) -> Iterator[Script]:
    """Scripts in a command's words. They are in ``$( )``, in backquotes, or after ``bash -c``."""
    for word in (*command.words, *(given.value for given in command.assignments)):
        yield from _substituted(word, command.depth + 1)
    program = inline_program(command)
    if program is not None:
        yield program


def _substituted(word: Word, depth: int) -> Iterator[Script]:
    if "$(" in word.raw or "`" in word.raw:
        for part in shellwords.nested(word.parts):
            yield parse(word.raw[part.inside : part.end - 1], word.start + part.inside, word.line, depth)


def inline_program(command: Command) -> Script | None:
    """Script in ``[srun options] bash -c '...'``, or None. It has its position in the whole script."""
    word = program_word(command)
    return None if word is None else script_in(word, command.depth + 1)


def program_word(command: Command) -> Word | None:
    """Word after ``bash -c`` anywhere in the command."""
    texts = [word.text or "" for word in command.words]
    for index, text in enumerate(texts[:-2]):
        if text.rpartition("/")[2] in SHELLS:
            option = index + 1
            while option < len(texts) - 1 and texts[option].startswith("-"):
                if not texts[option].startswith("--") and texts[option].endswith("c"):
                    return command.words[option + 1]
                option += 1
    return None


def script_in(word: Word, depth: int) -> Script | None:
    """Script in a quoted word; None if the word is not one pair of quotes."""
    raw = word.raw
    if len(raw) < 2 or depth > MAX_DEPTH:
        return None
    if raw[0] == raw[-1] == "'" and "'" not in raw[1:-1]:
        return parse(raw[1:-1], word.start + 1, word.line, depth)
    if raw[0] == raw[-1] == '"' and not _OPEN_QUOTE.search(raw[1:-1]):
        return parse(_TAKEN.sub(FILLER + r"\1", raw[1:-1]), word.start + 1, word.line, depth)
    return None


_NAME = r"([A-Za-z_]\w*)"
#: csh -> equivalent in the shell grammar; conditions become commands, which nothing here evaluates
_LINES = (
    (re.compile(rf"^(\s*)foreach\s+{_NAME}\s*\((.*)\)\s*$"), r"\1for \2 in \3; do"),
    (re.compile(r"^(\s*)while\s*\(.*\)\s*$"), r"\1while true; do"),
    (re.compile(r"^(\s*)end\s*$"), r"\1done"),
    (re.compile(r"^(\s*)(?:else\s+)?if\s*\(.*\)\s*then\s*$"), r"\1: if"),
    (re.compile(r"^(\s*)if\s*\((?:[^()]|\([^()]*\))*\)\s*(?=\S)"), r"\1"),
    (re.compile(r"^(\s*)(?:else|endif|endsw|breaksw|default:|case\s.*:|switch\s*\(.*\)|then|onintr\s.*|rehash)\s*$"),
     r"\1:"),
    (re.compile(rf"^(\s*)setenv\s+{_NAME}\s+(\S.*)$"), r"\1export \2=\3"),
    (re.compile(rf"^(\s*)set\s+{_NAME}\s*=\s*"), r"\1\2="),
    (re.compile(rf"^(\s*)@\s*{_NAME}\s*[-+*/]?=.*$"), r"\1\2=0"),
    (re.compile(r"^(\s*)(?:un)?limit\b"), r"\1ulimit"),
)  # fmt: skip


def to_shell(source: str) -> str:
    """Convert a csh script to shell syntax, line by line.

    >>> to_shell("foreach i (1 2)\\n  setenv A $i\\nend\\n")
    'for i in 1 2; do\\n  export A=$i\\ndone\\n'
    """
    lines = source.split("\n")
    for index, line in enumerate(lines):
        for pattern, shell in _LINES:
            lines[index] = line = pattern.sub(shell, line)
    return "\n".join(lines)
