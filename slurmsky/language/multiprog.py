"""srun --multi-prog: lines of `RANKS PROGRAM ARGUMENTS`.

Source: slurm src/srun/multi_prog.c (checks), src/slurmd/slurmstepd/multi_prog.c (words).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from slurmsky.language._grammar import Fault, Grammar, number
from slurmsky.language.syntax_errors import MultiProgError as MultiProgError

RANK, OFFSET = "%t", "%o"
Piece = str  # RANK, OFFSET, or text after a "="


@dataclass(frozen=True)
class ProgramEntry:
    """One line: its tasks, and the words of their command.

    A word is a tuple of pieces: RANK, OFFSET, or literal text with a leading "=".
    """

    ranks: Optional[tuple[range, ...]]  # None: `*`, every task that no earlier line names
    words: tuple[tuple[Piece, ...], ...]
    line: int  # number of its first line, from 1

    def offset(self, rank: int) -> Optional[int]:
        """Position of `rank` among this line's tasks, from 0, or None."""
        if self.ranks is None:
            return rank
        passed = 0
        for span in self.ranks:
            if rank in span:
                return passed + rank - span.start
            passed += len(span)
        return None


@dataclass(frozen=True)
class MultiProg:
    """A whole configuration file.

    >>> program = parse("0-1 echo %t-%o 'a b'\\n* sleep 1")
    >>> program.argv(1), program.argv(7), program.missing(4)
    (['echo', '1-1', 'a b'], ['sleep', '1'], None)
    """

    entries: tuple[ProgramEntry, ...] = ()

    def argv(self, rank: int) -> Optional[list[str]]:
        """Command of one task; None if no line names it."""
        for entry in self.entries:
            offset = entry.offset(rank)
            if offset is not None:
                values = {RANK: str(rank), OFFSET: str(offset)}
                return ["".join(values.get(piece, piece[1:]) for piece in word) for word in entry.words]
        return None

    def task_count(self, ntasks: Optional[int]) -> int:
        """Number of tasks: the given one, else as the lines name.

        Raises MultiProgError.

        >>> parse("0-1 true\\n4 true").task_count(None), parse("* true").task_count(None)
        (5, 1)
        """
        count, free, grown = ntasks or 1, ntasks is None, False
        before: list[range] = []
        for entry in self.entries:
            free = free and entry.ranks is not None
            for span in entry.ranks or ():
                if span.stop > count:
                    if not (free or grown):
                        raise MultiProgError("", entry.line, f"Invalid task id, {span.stop - 1} >= ntasks")
                    count, free, grown = span.stop, False, True
                both = [range(max(span.start, one.start), min(span.stop, one.stop)) for one in before]
                if any(both):
                    twice = min(ranks.start for ranks in both if ranks)
                    raise MultiProgError("", entry.line, f"Duplicate record for task {twice}")
                before.append(span)
        return count

    def missing(self, ntasks: int) -> Optional[int]:
        """First of `ntasks` tasks without a line, or None. srun prints `no record for task id N`."""
        named: set[int] = set()
        for entry in self.entries:
            if entry.ranks is None:
                return None
            for span in entry.ranks:
                named.update(range(span.start, min(span.stop, ntasks)))
        return next((rank for rank in range(ntasks) if rank not in named), None)


class _Build:
    def word(self, *tokens: str) -> tuple[Piece, ...]:
        return tuple(piece for token in tokens for piece in self._pieces(token))

    def _pieces(self, token: str) -> tuple[Piece, ...]:
        kind: str = token.type  # type: ignore[attr-defined]  # a lark Token
        if kind == "PERCENT":
            return (str(token),) if token in (RANK, OFFSET) else ()  # a % is dropped with any other letter
        if kind == "QUOTED":
            return ("=" + token[1:-1].replace("\\\n", "\\"),)
        if kind == "ESCAPED":
            return ("=" + token[1:],)
        return () if kind == "JOIN" else ("=" + token,)

    def entry(self, ranks: str, *words: tuple[Piece, ...]) -> tuple[str, tuple[tuple[Piece, ...], ...]]:
        return ranks, words

    def comment(self, token: str) -> None:
        return None

    def start(self, *lines: object) -> MultiProg:
        entries: list[ProgramEntry] = []
        for line in lines:
            if not isinstance(line, tuple):
                continue
            ranks, words = line
            number_: int = ranks.line
            if entries and entries[-1].ranks is None:
                raise Fault(number_, "Task range specification with asterisk must be last")
            entries.append(ProgramEntry(_ranks(ranks, number_), words, number_))
        return MultiProg(tuple(entries))


def _ranks(text: str, line: int) -> Optional[tuple[range, ...]]:
    if text == "*":
        return None
    spans = []
    for item in filter(None, text.split(",")):
        low, dash, high = item.partition("-")
        if not (low.isascii() and low.isdecimal()):
            raise Fault(line, f"Invalid task range specification ({item})")
        if dash and not (high.isascii() and high.isdecimal()):
            raise Fault(line, "Invalid task range specification")
        first, last = number(low), number(high or low)
        if last < first:
            raise Fault(line, f"Invalid task range, {first}-{last}")
        spans.append(range(first, last + 1))
    return tuple(spans)


_GRAMMAR: Grammar[MultiProg] = Grammar("multiprog", _Build(), MultiProgError, remember=0)


def parse(text: str) -> MultiProg:
    """Parse a configuration file to its programs.

    Whole-line comments and blank lines are skipped; only single quotes quote; a backslash keeps the next character,
    and at the end of a line joins the next line; %t is the task's rank, %o its position among the tasks of its line.
    Raises MultiProgError: `pos` is the line's number, `message` the line that srun prints before `Line N of
    configuration file NAME invalid` (empty if there is none).
    """
    if not text.strip():
        return MultiProg()
    try:
        return _GRAMMAR.parse(text.lstrip(" \t\r\f\v"))
    except MultiProgError as exc:
        line = exc.pos if exc.message else text.count("\n", 0, exc.pos) + 1
        raise MultiProgError(text, line, exc.message) from None
