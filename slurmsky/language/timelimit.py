"""Time limits (`2-12:30:00` <-> minutes), and Slurm's durations.

Source: slurm src/common/parse_time.c time_str2mins, secs2time_str, mins2time_str; src/squeue/print.c.
"""

from __future__ import annotations

from typing import Optional

from slurmsky.language._grammar import Grammar, int32, number
from slurmsky.language.syntax_errors import TimeLimitError as TimeLimitError
from slurmsky.model.spec import INFINITE, NO_VAL


class _Build:
    """Builder of seconds with 32 bits, like Slurm's ints. `99999999999` is a valid limit."""

    def forever(self, word: str) -> int:
        return INFINITE

    def minutes(self, minutes: str, seconds: str = "0") -> int:
        return _seconds(0, 0, number(minutes), number(seconds))

    def hours(self, hours: str, minutes: str, seconds: str) -> int:
        return _seconds(0, number(hours), number(minutes), number(seconds))

    def days(self, days: str, *rest: Optional[str]) -> int:
        # `-5` means minus five days, which as an unsigned number is a huge limit
        count = number(days if days.startswith("-") else days.rstrip("-"))
        hours, minutes, seconds = (number(field or "0") for field in (*rest, None, None, None)[:3])
        return _seconds(count, hours, minutes, seconds)


def _seconds(days: int, hours: int, minutes: int, seconds: int) -> int:
    return int32(int32(days) * 86400 + int32(hours) * 3600 + int32(minutes) * 60 + int32(seconds))


_GRAMMAR: Grammar[int] = Grammar("timelimit", _Build(), TimeLimitError)


def parse_seconds(text: str) -> int:
    """Parse a time limit to seconds; INFINITE for UNLIMITED, INFINITE and -1. See `parse`."""
    # Digits alone are minutes; the grammar would take ten times as long.
    seconds = _seconds(0, 0, number(text), 0) if text.isascii() and text.isdecimal() else _GRAMMAR.parse(text)
    if seconds == NO_VAL - 2**32:
        raise TimeLimitError(text)
    return INFINITE if seconds == -1 else seconds


def parse(text: str) -> int:
    """Parse a time limit to minutes, rounded up.

    Accepts M, M:S, H:M:S, D-, D-H, D-H:M, D-H:M:S (fields of any size), and UNLIMITED, INFINITE, -1, which give
    INFINITE. 0 means no limit, too, which the caller handles. Raises TimeLimitError.

    >>> parse("1-02"), parse("5:30"), parse("UNLIMITED") == INFINITE
    (1560, 6, True)
    """
    seconds = parse_seconds(text)
    if seconds == INFINITE:
        return INFINITE
    # C divides towards zero; a negative limit wraps to a huge unsigned one
    minutes = (seconds + 59) // 60 if seconds + 59 >= 0 else -(-(seconds + 59) // 60)
    return minutes % 2**32


def format_seconds(seconds: int) -> str:
    """Duration as scontrol and sacct print it: HH:MM:SS or D-HH:MM:SS.

    >>> format_seconds(3661), format_seconds(90000), format_seconds(INFINITE)
    ('01:01:01', '1-01:00:00', 'UNLIMITED')
    """
    if seconds == INFINITE:
        return "UNLIMITED"
    if seconds == NO_VAL:
        return "N/A"
    if seconds < 0:
        return "INVALID"
    days, rest = divmod(seconds, 86400)
    clock = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days}-{clock}" if days else clock


def format_minutes(minutes: int) -> str:
    """Time limit as scontrol prints it: HH:MM:00 or D-HH:MM:00.

    >>> format_minutes(60), format_minutes(INFINITE), format_minutes(NO_VAL)
    ('01:00:00', 'UNLIMITED', 'N/A')
    """
    return format_seconds(minutes if minutes in (INFINITE, NO_VAL) else minutes * 60)
