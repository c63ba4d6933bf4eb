"""Times and dates (`now+2hours`, `tomorrow 16:30`) <-> seconds since 1970.

Source: slurm src/common/parse_time.c _parse_time, slurm_make_time_str.
"""

from __future__ import annotations

import time as _time
from dataclasses import dataclass, replace
from datetime import date as _date
from datetime import datetime, timedelta, tzinfo
from typing import Optional, Union

from slurmsky.language._grammar import HUGE, Fault, Grammar, number
from slurmsky.language.syntax_errors import TimeSpecError as TimeSpecError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_HOURS = {"midnight": 0, "noon": 12, "elevenses": 11, "fika": 15, "teatime": 16}


@dataclass(frozen=True)
class _Moment:
    """Items parsed so far; a later item overrides an earlier one."""

    epoch: Optional[int] = None  # uts1900000000
    offset: Optional[int] = None  # now+N, seconds
    day: Optional[int] = None  # today 0, tomorrow 1
    date: Optional[tuple[int, int, int]] = None  # year (0: not given), month, day of month
    time: Optional[tuple[int, int, int]] = None


class _Build:
    """Builder: each item becomes a change of the earlier items."""

    def word(self, token: str) -> dict[str, object]:
        word = token.lower()
        if word in _HOURS:
            return {"time": (_HOURS[word], 0, 0)}
        return {"day": 0 if word == "today" else 1, "date": None, "offset": None}

    def now(self, word: str, count: Optional[str], unit: Optional[str]) -> dict[str, object]:
        digits = "".join(char for char in count or "" if char.isdecimal())
        seconds = number(digits) * _UNITS[unit[0].lower() if unit else "s"]
        seconds = -seconds if count and count[0] == "-" else seconds
        return {"offset": seconds, "day": None, "date": None, "time": None}

    def time(self, hour: str, minute: str, second: Optional[str], half: Optional[str]) -> dict[str, object]:
        clock = int(hour)
        if half:
            at: int = half.end_pos - 2  # type: ignore[attr-defined]  # a lark Token
            afternoon = half.strip().lower() == "pm"
            if clock > 12:
                raise Fault(at)
            clock = clock % 12 + (12 if afternoon else 0)
        return {"time": (clock, int(minute), int(second or 0))}

    def iso_date(self, year: str, month: str, day: str) -> dict[str, object]:
        return {"date": (int(year), int(month), int(day)), "day": None}

    def us_date(self, month: str, day: str, year: Optional[str]) -> dict[str, object]:
        # 00 counts as a missing year, as in Slurm's parser
        return {"date": (2000 + int(year) if year and int(year) else 0, int(month), int(day)), "day": None}

    def uts(self, token: str) -> _Moment:
        epoch = number(token[3:])
        if epoch < 1000000 or epoch == HUGE:
            raise Fault(0)
        return _Moment(epoch=epoch)

    def start(self, *items: Union[str, dict[str, object]]) -> _Moment:
        parsed = _Moment()
        for item in items:
            if isinstance(item, dict):
                parsed = replace(parsed, **item)  # type: ignore[arg-type]
        return parsed


_GRAMMAR: Grammar[_Moment] = Grammar("timespec", _Build(), TimeSpecError)


def parse(text: str, now: Union[datetime, float], *, past: bool = False, tz: Optional[tzinfo] = None) -> int:
    """Parse a time to seconds since 1970; 0 for "".

    Without a date, a time of day is the next such time (`past`: today's, for sacct); without a year, a date likewise.
    `tz` is the time zone of the text (default: that of a `now` with a zone, else this machine's). Raises
    TimeSpecError, whose message is the line that Slurm prints: `Invalid time specification (pos=N): TEXT`.

    >>> from datetime import timezone
    >>> noon = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
    >>> format(parse("teatime", noon), tz=timezone.utc), format(parse("9:30", noon), tz=timezone.utc)
    ('2026-11-21T16:00:00', '2026-11-22T09:30:00')
    """
    if isinstance(now, datetime):
        tz = tz or now.tzinfo
        now = now.timestamp()
    try:
        parsed = _GRAMMAR.parse(text)
        moment = _resolve(parsed, int(now), past, tz)
        _local(moment, tz)  # times beyond the calendar are refused in the handler below
        return moment
    except TimeSpecError as exc:
        pos = exc.pos - _offset_fault(text, exc.pos)
        raise TimeSpecError(text, pos, f"Invalid time specification (pos={pos}): {text}") from None
    except (OverflowError, ValueError, OSError):  # a year outside the calendar
        pos = len(text)
        raise TimeSpecError(text, pos, f"Invalid time specification (pos={pos}): {text}") from None


def _offset_fault(text: str, pos: int) -> int:
    """Offset that Slurm reports for an error inside now+N. It is the character before the bad one (_get_delta)."""
    head = text[:pos].lower().rstrip("0123456789 \t")
    return 1 if head.startswith("now") and head.endswith(("+", "-")) and head[3:-1].strip(" \t") == "" else 0


def _resolve(parsed: _Moment, now: int, past: bool, tz: Optional[tzinfo]) -> int:
    if parsed.epoch is not None:
        return parsed.epoch
    today = _local(now, tz)
    date, time = parsed.date, parsed.time
    if parsed.offset is not None:
        if date is None and parsed.day is None and time is None:
            return now + parsed.offset
        later = _local(now + parsed.offset, tz)
        date = date or (later.year, later.month, later.day) if parsed.day is None else date
        time = time or (later.hour, later.minute, later.second)
    if parsed.day is not None:
        day = _local(now + 86400 * parsed.day, tz)
        date = (day.year, day.month, day.day)
    if date is None and time is None:
        return 0
    time = time or (0, 0, 0)
    if date is None:
        day = today if past or time[:2] > (today.hour, today.minute) else _local(now + 86400, tz)
        date = (day.year, day.month, day.day)
    year, month, mday = date
    if not year and past:
        year = today.year - (month > today.month)
    elif not year:
        year = today.year + ((month, mday, *time[:2]) <= (today.month, today.day, today.hour, today.minute))
    day_of = _date(year, month, 1) + timedelta(days=mday - 1)  # 02/31 is March the 3rd, as in mktime
    if tz is not None:
        return int(datetime(day_of.year, day_of.month, day_of.day, *time, tzinfo=tz).timestamp())
    return int(_time.mktime((day_of.year, day_of.month, day_of.day, *time, 0, 0, -1)))


def _local(epoch: int, tz: Optional[tzinfo]) -> datetime:
    return datetime.fromtimestamp(epoch, tz)


def format(epoch: int, *, tz: Optional[tzinfo] = None) -> str:
    """Format a time as YYYY-MM-DDTHH:MM:SS. The default of `tz` is this machine's zone."""
    return _local(epoch, tz).strftime("%Y-%m-%dT%H:%M:%S")
