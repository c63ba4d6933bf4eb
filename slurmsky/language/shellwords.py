"""Parses a word of a shell script.

The parts are text, variables, commands in $( ) and arithmetic. Nothing is expanded or run. A word that a shell would
refuse (an open quote) is text as a whole.

Source: POSIX.1 XCU 2.2 and 2.6; man bash, EXPANSION.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Optional

from slurmsky.language._grammar import Grammar
from slurmsky.language.syntax_errors import LanguageError

#: Longer words are text: they do not occur in practice, and parsing would take noticeable time.
MAX_WORD = 1 << 13


class ShellWordError(LanguageError):
    """Error for an unreadable shell word, which becomes text."""

    language = "shell word"


@dataclass(frozen=True)
class Part:
    """Part of a word, with ``start`` and ``end`` in its source.

    ``kind``: "text" (``text`` is the value in the shell), "variable" (``name``; ``parts`` hold the text after the name
    in ``${ }``), "command" (``text`` is the script, which begins at ``inside``), "arithmetic" (``parts``).
    """

    kind: str
    text: str
    start: int
    end: int
    quoted: bool = False
    name: str = ""
    inside: int = 0
    parts: tuple[Part, ...] = ()


class _Build:
    def text(self, token: Any) -> list[Part]:
        return [Part("text", str(token), token.start_pos, token.end_pos)]

    dtext = dollar = text

    def single(self, token: Any) -> list[Part]:
        return [Part("text", token[1:-1], token.start_pos, token.end_pos, True, inside=token.start_pos + 1)]

    def ansi(self, token: Any) -> list[Part]:
        return [Part("text", _ansi(token[2:-1]), token.start_pos, token.end_pos, True)]

    def escape(self, token: Any) -> list[Part]:
        return [Part("text", "" if token[1] == "\n" else token[1], token.start_pos, token.end_pos, True)]

    def descape(self, token: Any) -> list[Part]:
        kept = str(token) if token[1] not in '$`"\\\n' else "" if token[1] == "\n" else token[1]
        return [Part("text", kept, token.start_pos, token.end_pos, True)]

    def double(self, opening: Any, *rest: Any) -> list[Part]:
        parts = [replace(part, quoted=True) for item in rest[:-1] for part in item]
        return parts or [Part("text", "", opening.start_pos, rest[-1].end_pos, True)]

    def variable(self, token: Any) -> list[Part]:
        return [Part("variable", "", token.start_pos, token.end_pos, name=token[1:])]

    def braced(self, opening: Any, name: Any, *rest: Any) -> list[Part]:
        parts = tuple(part for item in rest[:-1] for part in item)
        bare = name[1:] if len(name) > 1 and name[0] in "#!" else str(name)
        return [Part("variable", "", opening.start_pos, rest[-1].end_pos, name=bare, parts=parts)]

    def command(self, opening: Any, *rest: Any) -> list[Part]:
        return [Part("command", "", opening.start_pos, rest[-1].end_pos, inside=opening.end_pos)]

    def tick(self, token: Any) -> list[Part]:
        return [Part("command", "`", token.start_pos, token.end_pos, inside=token.start_pos + 1)]

    def arithmetic(self, opening: Any, *rest: Any) -> list[Part]:
        parts = tuple(part for item in rest[:-2] for part in item)
        return [Part("arithmetic", "", opening.start_pos, rest[-1].end_pos, parts=parts)]

    def aname(self, token: Any) -> list[Part]:
        return [Part("variable", "", token.start_pos, token.end_pos, name=str(token))]

    def group(self, *items: Any) -> list[Part]:
        return [part for item in items[1:-1] for part in item]

    def citem(self, *items: Any) -> list[Part]:
        return []

    def start(self, *items: list[Part]) -> list[Part]:
        return [part for item in items for part in item]


_GRAMMAR: Grammar[list[Part]] = Grammar("shell", _Build(), ShellWordError, remember=0)
_SPECIAL = re.compile(r"""['"\\$`]""")
_PIECE = re.compile(
    r"""(?P<text>[^'"\\$`]+)|(?P<single>'[^']*')|(?P<quote>")|\$(?:(?P<name>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)\})""",
    re.ASCII,
)


def _plain(word: str) -> Optional[list[Part]]:
    """Parts of a word with quotes and simple variables only.

    Most words are of this form; None if the grammar is needed.
    """
    parts: list[Part] = []
    at, quoted = 0, -1
    while at < len(word):
        found = _PIECE.match(word, at)
        if found is None:
            return None
        kind, end = found.lastgroup, found.end()
        if kind == "quote":
            if quoted == at - 1:
                parts.append(Part("text", "", quoted, end, True))
            quoted = at if quoted < 0 else -1
        elif kind in ("name", "braced"):
            parts.append(Part("variable", "", at, end, quoted >= 0, name=found[found.lastgroup or ""]))
        elif kind == "text":
            parts.append(Part("text", found[0], at, end, quoted >= 0))
        elif quoted >= 0:
            return None  # a single quote within double quotes
        else:
            parts.append(Part("text", found[0][1:-1], at, end, True, inside=at + 1))
        at = end
    return parts if quoted < 0 else None


@lru_cache(maxsize=1 << 14)
def parse(word: str) -> tuple[Part, ...]:
    """Parse a word to its parts; never raises.

    >>> [(part.kind, part.text or part.name) for part in parse('a"b $X"/$(ls -l)')]
    [('text', 'a'), ('text', 'b '), ('variable', 'X'), ('text', '/'), ('command', 'ls -l')]
    """
    if not _SPECIAL.search(word):
        return (Part("text", word, 0, len(word)),)
    plain = _plain(word)
    if plain is not None:
        return tuple(plain)
    if len(word) > MAX_WORD:
        return (Part("text", word, 0, len(word)),)
    try:
        parts = _GRAMMAR.parse(word)
    except ShellWordError:
        return (Part("text", word, 0, len(word)),)
    return tuple(_with_script(word, part) for part in parts)


def _with_script(word: str, part: Part) -> Part:
    if part.kind == "command":
        return replace(part, text=word[part.inside : part.end - 1])
    if part.parts:
        return replace(part, parts=tuple(_with_script(word, inner) for inner in part.parts))
    return part


def static(parts: tuple[Part, ...]) -> Optional[str]:
    """Text of a word without expansions, else None."""
    if all(part.kind == "text" for part in parts):
        return "".join(part.text for part in parts)
    return None


def variables(parts: tuple[Part, ...]) -> Iterator[Part]:
    """Variables of a word, also in ``${ }`` and ``$(( ))``. Those of scripts in ``$( )`` are not included."""
    for part in parts:
        if part.kind == "variable":
            yield part
        yield from variables(part.parts)


def nested(parts: tuple[Part, ...]) -> Iterator[Part]:
    """Scripts in ``$( )`` and backquotes, at any depth."""
    for part in parts:
        if part.kind == "command":
            yield part
        yield from nested(part.parts)


_ANSI = re.compile(r"\\([abefnrtv\\'\"?]|[\s\S])")
_ANSI_MEANS = {"a": "\a", "b": "\b", "e": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def _ansi(text: str) -> str:
    return _ANSI.sub(lambda found: _ANSI_MEANS.get(found[1], found[1]), text)
