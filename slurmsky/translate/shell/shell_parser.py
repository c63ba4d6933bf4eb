"""Parses the shell's grammar as far as needed to separate commands.

It follows POSIX.1 XCU 2 and man bash, in one pass. It covers quotes, expansions, lists, pipes, here-documents, loops,
conditions, functions. Text that no shell would accept ends as one long word. There is no recursion: the inside of a
word is not parsed here.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field, replace

from .brackets import balanced
from .shell_elements import Assignment, Block, Command, Statement, Word

#: Nesting depth to which loops and conditions are distinguished; real scripts stay below it.
MAX_BLOCKS = 50

#: Statements; comments (offset, text with its #); bodies of here-documents (start, end, expanded).
Found = tuple[tuple[Statement, ...], tuple[tuple[int, str], ...], tuple[tuple[int, int, bool], ...]]

_BLANK = re.compile(r"(?:[ \t\r\f\v]|\\\n)+")
_OPERATOR = re.compile(r"&&|\|\||;;&?|;&|\|&|[;|()\n]|&(?!>)")
_REDIRECT = re.compile(r"(?:[0-9]+|\{[A-Za-z_]\w*\})?(?:<<<|<<-?|<>|<&|>&|>>|>\||<(?!\()|>(?!\())|&>>?")
_PLAIN = re.compile(r"[^\s'\"\\$`;&|()<>]+")
_ASSIGN = re.compile(r"([A-Za-z_]\w*)(\[[^\]]*\])?(\+?)=", re.ASCII)
_ARRAY = re.compile(r"[A-Za-z_]\w*(?:\[[^\]]*\])?\+?=\Z", re.ASCII)
_FUNCTION_NAME = re.compile(r"[ \t]+([^\s(){}]+)")
_CLOSING = re.compile(r"[ \t]*\)")
_OPENERS = {"if": "if", "while": "while", "until": "until", "{": "group"}
_CLOSERS = frozenset(("fi", "done", "esac", "}"))
_WITH_HEAD = frozenset(("for", "select", "case"))
_GO_ON = frozenset(("then", "else", "elif", "do", "!", "time"))
_JOINS = frozenset(("|", "|&", "&&", "||"))


@dataclass
class _PartialCommand:
    """A command that is being parsed."""

    start: int = -1
    end: int = 0
    words: list[Word] = field(default_factory=list)
    assignments: list[Assignment] = field(default_factory=list)
    redirects: list[tuple[str, Word]] = field(default_factory=list)


class Parser:
    """One parse of one text. The text starts at ``base`` and on ``first_line`` of the whole script."""

    def __init__(self, source: str, base: int, first_line: int, depth: int) -> None:
        self.source = source
        self.base = base
        self.depth = depth
        self.first_line = first_line
        self.newlines = [found.start() for found in re.finditer("\n", source)]
        self.at = 0
        self.draft = _PartialCommand()
        self.before = ""
        self.stack: list[Block] = []
        self.function = ""  # a function's name, whose body follows
        self.loop: Block | None = None  # a for or case whose head is being parsed
        self.redirect = ""
        self.documents: list[tuple[str, bool, bool]] = []  # delimiter, tabs, expanded
        self.bodies: list[tuple[int, int, bool]] = []
        self.statements: list[Statement] = []
        self.comments: list[tuple[int, str]] = []
        self.commands: list[Command] = []
        self.blocks: list[Block] = []
        self.started = -1  # offset of the statement being read
        self.ended = 0
        self.test = False  # within [[ ]]

    def run(self) -> Found:
        """Parse the whole text."""
        source, end = self.source, len(self.source)
        while self.at < end:
            blank = _BLANK.match(source, self.at)
            if blank:
                self.at = blank.end()
                continue
            char = source[self.at]
            if char == "#":
                self._comment()
                continue
            if self.test and char in "&|()<>;":
                self.at += 1
                continue
            redirect = _REDIRECT.match(source, self.at)
            if redirect:
                self._touch(redirect.end())
                self.redirect = redirect[0]
                self.at = redirect.end()
                continue
            operator = _OPERATOR.match(source, self.at)
            if operator:
                self.at = operator.end()
                self._operator(operator[0], operator.start())
                continue
            self._word()
        self._end_command("")
        self._end_statement()
        return tuple(self.statements), tuple(self.comments), tuple(self.bodies)

    def line(self, at: int) -> int:
        return self.first_line + bisect_right(self.newlines, at - 1)

    def _touch(self, end: int) -> None:
        """Extend the present statement to ``end``."""
        if self.started < 0:
            self.started = self.at
        if self.draft.start < 0:
            self.draft.start = self.at
        self.draft.end = self.ended = end

    def _comment(self) -> None:
        end = self.source.find("\n", self.at)
        end = len(self.source) if end < 0 else end
        self.comments.append((self.base + self.at, self.source[self.at : end]))
        self.at = end

    # --- words

    def _word(self) -> None:
        start = self.at
        end = self._word_end()
        word = Word(self.source[start:end], self.base + start, self.line(start))
        draft = self.draft
        if self.redirect:
            self._touch(end)
            self.at = end
            operator, self.redirect = self.redirect, ""
            draft.redirects.append((operator, word))
            bare = operator.lstrip("0123456789")
            if bare in ("<<", "<<-"):
                delimiter = word.text if word.text is not None else word.raw
                self.documents.append((delimiter, bare == "<<-", delimiter == word.raw))
            return
        if self.test:
            self._touch(end)
            self.at = end
            draft.words.append(word)
            self.test = word.raw != "]]"
            return
        if not draft.words and not draft.assignments and not draft.redirects and self._reserved(word, end):
            return
        self._touch(end)
        self.at = end
        assigned = _ASSIGN.match(word.raw) if not draft.words else None
        if assigned:
            value = Word(word.raw[assigned.end() :], word.start + assigned.end(), word.line)
            draft.assignments.append(
                Assignment(assigned[1], value, bool(assigned[3]), word.start, value.raw.startswith("("))
            )
            return
        draft.words.append(word)
        self.test = word.raw == "[["

    def _word_end(self) -> int:
        source, at, end = self.source, self.at, len(self.source)
        start = at
        while at < end:
            plain = _PLAIN.match(source, at)
            if plain:
                at = plain.end()
                continue
            char = source[at]
            if char == "'":
                close = source.find("'", at + 1)
                at = end if close < 0 else close + 1
            elif char in '"`':
                at = balanced(source, at + 1, char)
            elif char == "\\":
                at = min(at + 2, end)
            elif char == "$":
                following = source[at + 1 : at + 2]
                at = balanced(source, at + 2, ")" if following == "(" else "}") if following in ("(", "{") else at + 1
            elif char == "(" and at > start and at - start < 200 and _ARRAY.match(source[start:at]):
                at = balanced(source, at + 1, ")")
            elif char in "<>" and source[at + 1 : at + 2] == "(" and at == start:
                at = balanced(source, at + 2, ")")
            else:
                break
        return max(at, start + 1)

    def _reserved(self, word: Word, end: int) -> bool:
        """Process a reserved word at the start of a command."""
        raw = word.raw
        top = self.stack[-1] if self.stack else None
        if self.loop is not None:
            return self._head(word, end)
        if raw in _GO_ON:
            self._mark(end)
        elif raw in _OPENERS:
            self._open(_OPENERS[raw], end)
        elif raw in _WITH_HEAD:
            opened = len(self.stack)
            self._open(raw, end)
            self.loop = self.stack[-1] if len(self.stack) > opened else None
        elif raw == "function":
            self._mark(end)
            found = _FUNCTION_NAME.match(self.source, end)
            if found:
                self.function = found[1]
                self.at = found.end()
        elif raw in _CLOSERS and top is not None:
            self._close(end)
        else:
            return False
        return True

    def _head(self, word: Word, end: int) -> bool:
        """Parse ``for NAME in WORDS`` and ``case WORD in``. The head ends at the line's end, ``;`` or ``in``."""
        loop = self.loop
        assert loop is not None
        self._mark(end)
        if word.raw == "in" and loop.kind == "case":
            self.loop, loop.pattern = None, True
        elif loop.kind == "case":
            loop.words = (*loop.words, word)
        elif word.raw == "do":
            self.loop = None
        elif not loop.name:
            loop.name = word.raw
        elif word.raw != "in" or loop.words:
            loop.words = (*loop.words, word)
        return True

    def _mark(self, end: int) -> None:
        if self.started < 0:
            self.started = self.at
        self.at = self.ended = end

    def _open(self, kind: str, end: int) -> None:
        start = self.at
        self._mark(end)
        name, self.function = self.function, ""
        if len(self.stack) >= MAX_BLOCKS:
            return
        if name and kind in ("group", "subshell"):
            kind = "function"
        block = Block(kind, self.base + start, name=name)
        self.stack.append(block)
        self.blocks.append(block)

    def _close(self, end: int) -> None:
        block = self.stack.pop()
        block.end = self.base + end
        self._mark(end)

    # --- operators

    def _operator(self, operator: str, start: int) -> None:
        top = self.stack[-1] if self.stack else None
        if operator == "(":
            self._parenthesis(start)
            return
        if operator == ")":
            if top is not None and top.kind == "case" and top.pattern:
                # The end of a pattern: the command parsed so far is the pattern.
                self.draft, top.pattern, self.before = _PartialCommand(), False, ""
                return
            self._end_command("")
            if top is not None and (top.kind == "subshell" or self.source[top.start - self.base] == "("):
                self.at = start
                self._close(start + 1)
            return
        if top is not None and top.kind == "case" and top.pattern and operator == "|":
            self.draft = _PartialCommand()
            return
        if self.loop is not None:
            if operator in ("\n", ";") and self.loop.kind != "case":
                self.loop = None
            if operator == "\n":
                self._newline()
            return
        if operator != "\n" and (self.draft.start >= 0 or self.started >= 0):
            self.ended = self.at
        self._end_command(operator)
        if operator in (";;", ";&", ";;&") and top is not None:
            top.pattern = True
        goes_on = operator == "\n" and (self.before or self.function)
        if operator in ("\n", ";", "&") and not self.stack and not goes_on:
            self._end_statement()
        if operator == "\n":
            self._newline()

    def _parenthesis(self, start: int) -> None:
        source, draft = self.source, self.draft
        if self.loop is not None or (not draft.words and source[start + 1 : start + 2] == "("):
            end = balanced(source, start + 1, ")")  # (( )): arithmetic
            self.at = start
            self._mark(end)
            return
        closing = _CLOSING.match(source, start + 1)
        if len(draft.words) == 1 and closing and not draft.assignments:
            self.function, self.draft = draft.words[0].raw, _PartialCommand()
            self._mark(closing.end())
            return
        top = self.stack[-1] if self.stack else None
        if top is not None and top.kind == "case" and top.pattern:
            return
        if draft.words or draft.assignments:
            self._end_command("")  # no shell accepts such text; the rest is parsed separately
        self.at = start
        self._open("subshell", start + 1)

    def _newline(self) -> None:
        """Read the here-documents that begin on the next line."""
        for delimiter, tabs, expanded in self.documents:
            start = self.at
            body_end = len(self.source)
            while self.at < len(self.source):
                end = self.source.find("\n", self.at)
                end = len(self.source) if end < 0 else end
                line, begin = self.source[self.at : end], self.at
                self.at = min(end + 1, len(self.source))
                if (line.lstrip("\t") if tabs else line) == delimiter:
                    body_end = begin
                    break
            self.bodies.append((self.base + start, self.base + body_end, expanded))
            self.ended = self.at - 1 if self.source[self.at - 1 : self.at] == "\n" else self.at
        if self.documents:
            self.documents = []
            if not self.stack and self.started < 0 and self.statements:
                self.statements[-1] = replace(self.statements[-1], end=self.base + self.ended)

    def _end_command(self, operator: str) -> None:
        draft, self.draft = self.draft, _PartialCommand()
        self.redirect, self.test = "", False
        if draft.words or draft.assignments or draft.redirects:
            self.commands.append(
                Command(
                    tuple(draft.words),
                    tuple(draft.assignments),
                    tuple(draft.redirects),
                    self.base + draft.start,
                    self.base + draft.end,
                    self.line(draft.start),
                    tuple(self.stack),
                    self.before,
                    operator,
                    self.depth,
                )
            )
            self.before = operator if operator in _JOINS else ""
        elif operator and operator != "\n":
            self.before = operator if operator in _JOINS else ""

    def _end_statement(self) -> None:
        if self.started >= 0:
            self.statements.append(
                Statement(
                    self.base + self.started,
                    self.base + self.ended,
                    self.line(self.started),
                    tuple(self.commands),
                    tuple(self.blocks),
                )
            )
        self.started, self.commands, self.blocks, self.before = -1, [], [], ""
        for block in self.stack:
            block.end = self.base + len(self.source)
        self.stack.clear()
