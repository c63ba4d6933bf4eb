"""Elements of a shell script, each with its position."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from ...language import shellwords
from ...language.shellwords import Part

#: Replaces a backslash that double quotes removed, so that offsets stay the same.
FILLER = "\ue000"
_NAME = re.compile(r"[\w.+-]+")


@dataclass(frozen=True)
class Word:
    """A word as written. ``start`` is its offset in the whole script, ``line`` counts from 1."""

    raw: str
    start: int
    line: int

    @property
    def end(self) -> int:
        return self.start + len(self.raw)

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The parts of the word: texts and expansions."""
        return shellwords.parse(self.raw)

    @cached_property
    def text(self) -> str | None:
        """Value after quote removal; None if an expansion decides."""
        found = shellwords.static(self.parts)
        return None if found is None else found.replace(FILLER, "")

    @property
    def text_or_source(self) -> str:
        """The text, or the source if the text is unknown."""
        return self.raw if self.text is None else self.text

    @cached_property
    def variables(self) -> tuple[Part, ...]:
        """The variables that the word expands."""
        return tuple(shellwords.variables(self.parts)) if "$" in self.raw else ()

    @cached_property
    def program(self) -> str:
        """Name of the program, also below a variable's folder: ``$TOOLS/bin/bwa`` is bwa. "" for an expansion."""
        _, slash, name = self.text_or_source.strip('"').rpartition("/")
        return name if self.text is not None or (slash and _NAME.fullmatch(name)) else ""

    def variable(self) -> str:
        """Name of the variable, if the word is one variable."""
        kinds = [part for part in self.parts if part.kind != "text" or part.text.replace(FILLER, "")]
        return kinds[0].name if len(kinds) == 1 and kinds[0].kind == "variable" else ""


@dataclass(frozen=True)
class Assignment:
    """An assignment: ``name=value``, ``name+=value``, ``name=(a b)``."""

    name: str
    value: Word
    append: bool
    start: int
    array: bool = False

    @property
    def end(self) -> int:
        return self.value.end


@dataclass
class Block:
    """A compound command.

    It is "for", "while", "until", "select", "if", "case", "group", "subshell" or "function". ``name`` is a loop's
    variable or a function's name, ``words`` are the values of a loop.
    """

    kind: str
    start: int
    end: int = 0
    name: str = ""
    words: tuple[Word, ...] = ()
    pattern: bool = False  # in case: a pattern follows

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


@dataclass(frozen=True)
class Command:
    """A simple command. ``before`` and ``after`` are the adjacent operators ("", "|", "&&", ";", "&" ...)."""

    words: tuple[Word, ...]
    assignments: tuple[Assignment, ...]
    redirects: tuple[tuple[str, Word], ...]
    start: int
    end: int
    line: int
    blocks: tuple[Block, ...]
    before: str = ""
    after: str = ""
    depth: int = 0  # nesting depth in $( ) and bash -c

    @property
    def name(self) -> str:
        """Name of the program without folder; "" for an expansion."""
        return self.words[0].program if self.words else ""

    @property
    def arguments(self) -> tuple[Word, ...]:
        """All words after the program."""
        return self.words[1:]

    @property
    def word_texts(self) -> list[str]:
        """All words; words with expansions as written."""
        return [word.text_or_source for word in self.words]


@dataclass(frozen=True)
class Statement:
    """Commands up to a newline, ``;`` or ``&`` outside blocks. It has the here-documents of its commands."""

    start: int
    end: int
    line: int
    commands: tuple[Command, ...]
    blocks: tuple[Block, ...]
