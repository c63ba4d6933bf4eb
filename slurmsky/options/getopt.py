"""getopt_long of the GNU C library, with its messages.

Long names may be abbreviated to a unique prefix, short options may be combined; an optional argument must be attached
(``--foo=x``, ``-Ix``); parsing stops at the first operand, or after ``--``. With ``permute`` options after operands are
found, too (glibc's default, without a leading "+"). Source: glibc posix/getopt.c, _getopt_internal_r and
process_long_option.
"""

from __future__ import annotations

from typing import NamedTuple, Optional, Sequence

from .table import SUBMIT, Option, OptionTable
from .usage_errors import USAGE, CommandError

#: Commands that print no "Try" line after getopt errors.
_NO_TRY = ("sacct", "sstat")


class Found(NamedTuple):
    """One option with its argument as written; None without argument."""

    option: Option
    text: Optional[str]


class Words(NamedTuple):
    """A parsed command line.

    ``fault`` follows the last of ``found``: the caller processes the options in order and raises it at the end, so
    that a bad value before a bad option is reported first, and ``--help`` takes precedence.
    """

    found: tuple[Found, ...]
    rest: tuple[str, ...]
    fault: Optional[CommandError] = None


def split(table: OptionTable, words: Sequence[str], permute: bool = False) -> Words:
    """Split ``words`` (without the command's name) into options and operands."""
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


def _long(table: OptionTable, words: Sequence[str], at: int, found: list[Found]) -> int:
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


def _unique(table: OptionTable, name: str, word: str) -> Option:
    """Find an option by its exact name or unique prefix. Aliases of one option count as one."""
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


def _bundle(table: OptionTable, words: Sequence[str], at: int, found: list[Found]) -> int:
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


def _error(table: OptionTable, message: str) -> CommandError:
    lines = [f"{table.command}: {message}"]
    if table.command not in _NO_TRY:
        lines.append(f'Try "{table.command} --help" for more information')
    return CommandError(tuple(lines), USAGE if table.command in SUBMIT else 1)
