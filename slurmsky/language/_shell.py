"""Scanner for the simple commands of a shell script, precise enough to find `module load` in it.

It handles words, quotes, expansions, redirections, operators, here-documents and comments; it expands nothing and does
not parse commands nested in a word. One pass, linear, without errors: text that a shell would refuse becomes one long
word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
      (?P<join>\\\r?\n)
    | (?P<escape>\\.)
    | (?P<single>'[^']*')
    | (?P<double>"(?:[^"\\]|\\.)*")
    | (?P<braces>\$\{[^}]*(?:\}|\Z))
    | (?P<dollar>\$\()
    | (?P<tick>`[^`]*`)
    | (?P<redirect>[0-9]*(?:&>>|&>|<<<|<<-?|<>|>>|>&|<&|>\||[<>]))
    | (?P<newline>\r?\n)
    | (?P<operator>;;|&&|\|\||\|&|[;&|()])
    | (?P<blank>[ \t\r\f\v]+)
    | (?P<text>[^\s'"\\$`;&|()<>#]+|[\s\S])
    """,
    re.VERBOSE | re.DOTALL,
)
_INNER = re.compile(r"""\\.|'[^']*'|"(?:[^"\\]|\\.)*"|[()]""", re.DOTALL)


@dataclass(frozen=True)
class SimpleCommand:
    """One simple command: its words, unquoted and unexpanded, without redirections."""

    words: tuple[str, ...]
    line: int  # of its first word, from 1


def commands(script: str) -> Iterator[SimpleCommand]:
    """The simple commands in order, including those in blocks, functions and lists."""
    return _Scanner(script).commands()


class _Scanner:
    def __init__(self, script: str) -> None:
        self.script = script
        self.at = 0
        self.line = 1
        self.words: list[str] = []
        self.first_line = 1
        self.word: list[str] = []  # pieces of the word being read
        self.in_word = False
        self.target = ""  # a redirection operator whose word follows
        self.pending: list[tuple[str, bool]] = []  # here-documents to skip at the next new line

    def commands(self) -> Iterator[SimpleCommand]:
        end = len(self.script)
        while self.at < end:
            match = _TOKEN.match(self.script, self.at)
            if match is None or match.lastgroup is None:  # unreachable: the last alternative matches any text
                break
            kind, text = match.lastgroup, match.group()
            self.at = match.end()
            if kind in ("operator", "newline"):
                self._end_word()
                yield from self._end_command()
                if kind == "newline":
                    self.line += 1
                    self._skip_here_documents()
                continue
            self._take(kind, text)
            self.line += text.count("\n")
        self._end_word()
        yield from self._end_command()

    def _take(self, kind: str, text: str) -> None:
        if kind == "blank":
            self._end_word()
        elif kind == "redirect":
            if self.in_word and text[0].isdecimal():  # x2>y: the digit belongs to the word; rare, and harmless
                text = text.lstrip("0123456789")
            self._end_word()
            self.target = text.lstrip("0123456789")
        elif text == "#" and not self.in_word:
            end = self.script.find("\n", self.at)
            self.at = len(self.script) if end < 0 else end
        elif kind == "join":
            pass
        elif kind == "dollar":
            self._piece(text + self._parenthesised())
        elif kind in ("single", "double"):
            self._piece(_ESCAPED.sub(r"\1", text[1:-1]) if kind == "double" else text[1:-1])
        elif kind == "escape":
            self._piece(text[1])
        elif text in "'\"`":  # an unclosed quote: the rest of the text is inside
            self._piece(self.script[self.at - 1 :])
            self.at = len(self.script)
        else:
            self._piece(text)

    def _piece(self, text: str) -> None:
        if not self.in_word and not self.words:
            self.first_line = self.line
        self.word.append(text)
        self.in_word = True

    def _parenthesised(self) -> str:
        """The text inside $( ), including the closing parenthesis."""
        start, depth = self.at, 1
        for match in _INNER.finditer(self.script, start):
            depth += {"(": 1, ")": -1}.get(match.group(), 0)
            if depth == 0:
                self.at = match.end()
                return self.script[start : self.at]
        self.at = len(self.script)
        return self.script[start:]

    def _end_word(self) -> None:
        if not self.in_word:
            return
        word = "".join(self.word)
        self.word, self.in_word = [], False
        if self.target in ("<<", "<<-"):
            self.pending.append((word, self.target == "<<-"))
        elif not self.target:
            self.words.append(word)
        self.target = ""

    def _end_command(self) -> Iterator[SimpleCommand]:
        if self.words:
            yield SimpleCommand(tuple(self.words), self.first_line)
        self.words, self.target = [], ""

    def _skip_here_documents(self) -> None:
        for delimiter, tabs in self.pending:
            while self.at < len(self.script):
                end = self.script.find("\n", self.at)
                end = len(self.script) if end < 0 else end
                line = self.script[self.at : end]
                self.at = min(end + 1, len(self.script))
                self.line += 1
                if (line.lstrip("\t") if tabs else line) == delimiter:
                    break
        self.pending.clear()


_ESCAPED = re.compile(r'\\(["\\$`\n])')
