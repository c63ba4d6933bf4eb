"""getopt_long as the GNU C library has it, with its messages.

Long names may be shortened while they stay unique, short ones bundled; an optional argument must be glued
(``--foo=x``, ``-Ix``); scanning stops at the first word that is no option, or behind ``--``. With
``permute`` options are also found behind such words (glibc's default, without a leading "+"). Source: glibc
posix/getopt.c, _getopt_internal_r and process_long_option.
"""

from __future__ import annotations

from typing import NamedTuple, Optional, Sequence

from .table import SUBMIT, Option, Table
from .usage_errors import USAGE, CommandError

#: Commands whose getopt errors are not followed by the "Try" line.
_NO_TRY = ("sacct", "sstat")


class Found(NamedTuple):
    """One option with its argument as written; None where none was given."""

    option: Option
    text: Optional[str]


class Words(NamedTuple):
    """What a command line splits into. ``fault`` stands behind the last of ``found``: whoever reads the
    options in order raises it there, so that a bad value in front of a bad option is told first, and
    ``--help`` wins."""

    found: tuple[Found, ...]
    rest: tuple[str, ...]
    fault: Optional[CommandError] = None


def split(table: Table, words: Sequence[str], permute: bool = False) -> Words:
    """Options and operands of ``words`` (without the command's name)."""
    found: list[Found] = []
    operands: list[str] = []
    at = 0
    try:
        while at < len(words):
            word = words[at]
            if word == "--":
                at += 1
                break
            if not word.startswith("-") or word == "-":
                if not permute:
                    break
                operands.append(word)
                at += 1
            elif word.startswith("--"):
                at = _long(table, words, at, found)
            else:
                at = _bundle(table, words, at, found)
    except CommandError as fault:
        return Words(tuple(found), (), fault)
    return Words(tuple(found), (*operands, *words[at:]))


def _long(table: Table, words: Sequence[str], at: int, found: list[Found]) -> int:
    name, equals, value = words[at][2:].partition("=")
    option = _unique(table, name, words[at])
    text: Optional[str] = value if equals else None
    if option.argument == "none" and equals:
        raise _error(table, f"option '--{option.long}' doesn't allow an argument")
    if option.argument == "required" and not equals:
        at += 1
        if at >= len(words):
            raise _error(table, f"option '--{option.long}' requires an argument")
        text = words[at]
    found.append(Found(option, text))
    return at + 1


def _unique(table: Table, name: str, word: str) -> Option:
    """The option that ``name`` means: exact, else the only one (or spellings of one) that it begins."""
    exact = table.longs.get(name)
    if exact is not None:
        return exact
    candidates = [option for long, option in table.longs.items() if long.startswith(name)]
    if not candidates:
        raise _error(table, f"unrecognized option '{word}'")
    first = candidates[0]
    if any((option.name, option.argument) != (first.name, first.argument) for option in candidates):
        listed = " ".join(f"'--{option.long}'" for option in candidates)
        raise _error(table, f"option '{word}' is ambiguous; possibilities: {listed}")
    return first


def _bundle(table: Table, words: Sequence[str], at: int, found: list[Found]) -> int:
    word = words[at]
    for place, letter in enumerate(word[1:], start=1):
        option = table.shorts.get(letter)
        if option is None:
            raise _error(table, f"invalid option -- '{letter}'")
        if option.argument == "none":
            found.append(Found(option, None))
            continue
        glued = word[place + 1 :]
        if glued or option.argument == "optional":
            found.append(Found(option, glued or None))
            return at + 1
        if at + 1 >= len(words):
            raise _error(table, f"option requires an argument -- '{letter}'")
        found.append(Found(option, words[at + 1]))
        return at + 2
    return at + 1


def _error(table: Table, message: str) -> CommandError:
    lines = [f"{table.command}: {message}"]
    if table.command not in _NO_TRY:
        lines.append(f'Try "{table.command} --help" for more information')
    return CommandError(tuple(lines), USAGE if table.command in SUBMIT else 1)
