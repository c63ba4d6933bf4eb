"""How scontrol update reads the values of a job's keys, and what it says of one that it cannot read.

Source: src/scontrol/update_job.c scontrol_update_job.
"""

from __future__ import annotations

from collections.abc import Callable

from ..controller.context import Context
from ..language import nodecount, timelimit, timespec
from ..language.errors import LanguageError


class Unreadable(Exception):
    """A value that scontrol itself refuses: the lines it prints, and its exit code."""

    def __init__(self, *lines: str, code: int = 1) -> None:
        super().__init__(*lines)
        self.lines = lines
        self.code = code


def text(ctx: Context, text: str) -> str:
    return text


def number(name: str, least: int = 0) -> Callable[[Context, str], int]:
    def read(ctx: Context, text: str) -> int:
        body = text[1:] if text[:1] in "+-" else text
        if not body.isdigit() or int(text) < least:
            raise Unreadable(f"scontrol: error: Invalid {name} value: {text}")
        return int(text)

    return read


def loose_number(ctx: Context, text: str) -> int:
    """strtoll without a check of the rest, as Nice= is read."""
    sign, digits = (text[:1] if text[:1] in "+-" else ""), text.lstrip("+-")
    head = digits[: len(digits) - len(digits.lstrip("0123456789"))]
    return int(sign + head) if head else (100 if not text else 0)


def yes_no(name: str) -> Callable[[Context, str], bool]:
    def read(ctx: Context, text: str) -> bool:
        word = text.lower()
        if word in ("yes", "y", "1", "true"):
            return True
        if word in ("no", "n", "0", "false"):
            return False
        raise Unreadable(f"scontrol: error: Invalid {name} value: {text}")

    return read


def minutes(name: str) -> Callable[[Context, str], tuple[str, int]]:
    def read(ctx: Context, text: str) -> tuple[str, int]:
        sign = text[:1] if text[:1] in "+-" else ""
        try:
            limit = timelimit.parse(text[len(sign) :])
        except LanguageError:
            raise Unreadable(f"scontrol: error: Invalid {name} value") from None
        return sign, limit

    return read


def moment(*more: str) -> Callable[[Context, str], int]:
    def read(ctx: Context, text: str) -> int:
        try:
            return timespec.parse(text, ctx.queue.clock())
        except LanguageError:
            raise Unreadable(f"Invalid time specification (pos=0): {text}", *more) from None

    return read


def throttle(ctx: Context, text: str) -> int:
    if not text.isdigit():
        raise Unreadable("scontrol: error: Invalid ArrayTaskThrottle value")
    return int(text)


def node_count(ctx: Context, text: str) -> nodecount.NodeCount:
    try:
        return nodecount.parse(text)
    except LanguageError:
        raise Unreadable(
            f'scontrol: error: Invalid numeric value "{text}" for requested node count.', code=0
        ) from None


def cpu_count(ctx: Context, text: str) -> tuple[int, int]:
    """MIN[-MAX]; 0 for no MAX."""
    first, dash, last = text.partition("-")
    bad = f"scontrol: error: Invalid NumCPUs value: {text}"
    if not first.isdigit() or (dash and not last.isdigit()):
        raise Unreadable(f'scontrol: error: Invalid numeric value "{text}" for NumCPUs.', bad)
    if not int(first) or (dash and int(last) < int(first)):
        raise Unreadable(bad)
    return int(first), int(last) if dash else 0


def site_factor(ctx: Context, text: str) -> int:
    """strtoll without a check of the rest."""
    value = loose_number(ctx, text or "0")
    if abs(value) > _SITE_FACTOR:
        raise Unreadable(f"scontrol: error: SiteFactor value out of range (+/- {_SITE_FACTOR}). Value ignored")
    return value


_SITE_FACTOR = 2147483645


def mail_types(ctx: Context, text: str) -> tuple[str, ...]:
    from ..language import mailtype

    try:
        return tuple(str(mailtype.parse(text)).split(",")) if text else ()
    except LanguageError:
        raise Unreadable(f"Invalid MailType: {text}") from None


def switches(ctx: Context, text: str) -> str:
    """COUNT[@TIME]."""
    count, at, wait = text.partition("@")
    if not count.isdigit():
        raise Unreadable(f"scontrol: error: Invalid Switches value: {text}")
    if at:
        minutes("Switches")(ctx, wait)
    return text
