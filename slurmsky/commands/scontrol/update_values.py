"""Readers of values for scontrol's updates, with scontrol's refusals.

Source: common/proc_args.c parse_uint16, parse_uint32, parse_uint64; src/scontrol/update_*.c.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from ...controller.command_context import CommandContext
from ...language import timelimit
from ...language.key_values import Given, Key
from ...language.syntax_errors import LanguageError
from ...model.spec import INFINITE

Read = Callable[[CommandContext, Given], Any]
#: the smallest number that exceeds a field of this many bits
LIMITS = {bits: (1 << bits) - 2 for bits in (16, 32, 64)}


class Unreadable(Exception):
    """Error with scontrol's own lines and exit code."""

    def __init__(self, *lines: str, code: int = 1) -> None:
        super().__init__(*lines)
        self.lines = lines
        self.code = code


def error(text: str) -> Unreadable:
    """Error with a line in the form of scontrol's log."""
    return Unreadable(f"scontrol: error: {text}")


def answered(ctx: CommandContext, act: Callable[[], int]) -> int:
    """Run a verb; print the refusals that scontrol itself prints."""
    try:
        return act()
    except Unreadable as problem:
        for line in problem.lines:
            ctx.err(line)
        return problem.code


def not_supported(given: Given) -> Unreadable:
    """Refusal of a key or sign that an update lacks."""
    return Unreadable(f"Update of this parameter is not supported: {given.word}", "Request aborted")


def unsupported(ctx: CommandContext, given: Given) -> dict[str, Any]:
    """Refuse a key that an update of this entity lacks."""
    raise not_supported(given)


def misplaced(word: str, rest: Iterator[str]) -> Given:
    """Refuse a word without "=" in an update."""
    raise error(f"Invalid input: {word}  Request aborted")


def strtoll(text: str) -> tuple[int, str]:
    """Parse a leading number as C's strtoll; return number and rest."""
    match = re.match(r"\s*([+-]?\d+)", text)
    return (int(match[1]), text[match.end() :]) if match else (0, text)


def unsigned(text: str, limit: int) -> int | None:
    """Parse a number below a limit. "" is 0; None for any other text."""
    value, rest = strtoll(text)
    return value if not rest and 0 <= value < limit and abs(value) < (1 << 63) - 1 else None


def text(ctx: CommandContext, given: Given) -> str:
    """Return the value unchanged."""
    return given.value


def texts(rows: str) -> list[Key[CommandContext]]:
    """Keys with text values, from rows of ``name letters field``."""
    words = rows.split()
    return [Key(name, int(letters), field, text)
            for name, letters, field in zip(words[::3], words[1::3], words[2::3], strict=True)]  # fmt: skip


def count(bits: int, endless: bool = False, name: str = "") -> Read:
    """Reader of a number of this many bits. ``name`` replaces the key in messages."""

    def read(ctx: CommandContext, given: Given) -> int:
        if endless and given.value.upper() in ("UNLIMITED", "INFINITE"):
            return INFINITE
        value = unsigned(given.value, LIMITS[bits])
        if value is None:
            raise error(f"Invalid {name or given.key} value: {given.value}")
        return value

    return read


def minutes(message: str) -> Read:
    """Reader of a time limit in minutes. ``message`` may contain ``{key}`` and ``{word}``."""

    def read(ctx: CommandContext, given: Given) -> int:
        try:
            return timelimit.parse(given.value)
        except LanguageError:
            raise error(message.format(key=given.key, word=given.word)) from None

    return read
