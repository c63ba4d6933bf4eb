"""Entries of scrontab: `*/5 8-17 * * mon date` -> due minutes.

Source: slurm src/scrontab/parse.c cronspec_to_bitstring, src/common/cron.c valid_cron_entry, calc_next_cron_start.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Optional, Union

from slurmsky.language._grammar import Grammar, number
from slurmsky.language.syntax_errors import CronSpecError as CronSpecError

#: by field: the smallest and the largest number, and the number from which steps count
_FIELDS = (("minute", 0, 60, 0), ("hour", 0, 24, 0), ("day of month", 0, 31, 1), ("month", 0, 12, 1),
           ("day of week", 0, 7, 1))  # fmt: skip
_MONTHS = [name.lower() for name in calendar.month_abbr]
_DAYS = ["", "mon", "tue", "wed", "thu", "fri", "sat", "sun"]
#: words after @, as the five fields
SHORTCUTS = {
    "yearly": "0 0 1 1 *", "annually": "0 0 1 1 *", "monthly": "0 0 1 * *", "weekly": "0 0 * * 0",
    "daily": "0 0 * * *", "midnight": "0 0 * * *", "elevenses": "0 11 * * *", "fika": "0 15 * * *",
    "teatime": "0 16 * * *", "hourly": "0 * * * *",
}  # fmt: skip
#: An entry is due at most eight years later: from leap day to leap day across a century without one.
_HORIZON_DAYS = 366 * 9


@dataclass(frozen=True)
class CronSpec:
    """Due times and command of an entry.

    The sets have the due values. `any_day` and `any_weekday` mark a star in these fields: a day matches either field
    unless one of the two is a star.
    """

    text: str  # the times as written
    command: str
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]  # 0 is Sunday
    any_day: bool
    any_weekday: bool

    def __str__(self) -> str:
        return f"{self.text} {self.command}"

    def due_on(self, day: date) -> bool:
        """Return whether the command is due on that day."""
        if day.month not in self.months:
            return False
        by_day = day.day in self.days
        by_weekday = day.isoweekday() % 7 in self.weekdays
        if self.any_day:
            return by_weekday
        return by_day if self.any_weekday else by_day or by_weekday

    def after(self, moment: datetime) -> Optional[datetime]:
        """First due minute after `moment`, or None.

        Both are naive times of one zone.

        >>> str(parse("30 4 * * * x").after(datetime(2026, 11, 21, 5, 0)))
        '2026-11-22 04:30:00'
        """
        start = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
        day = start.date()
        hours, minutes = sorted(self.hours), sorted(self.minutes)
        for _ in range(_HORIZON_DAYS):
            if self.due_on(day):
                for hour in hours:
                    for minute in minutes:
                        found = datetime(day.year, day.month, day.day, hour, minute)
                        if found >= start:
                            return found
            day += timedelta(days=1)
        return None


_Field = tuple[str, str, str]  # "star" | "list" | "name", its text, its step


class _Build:
    def field(self, star: str, step: Optional[str] = None) -> _Field:
        return "star", str(star), step or ""

    def listed(self, numbers: str, step: Optional[str] = None) -> _Field:
        return "list", str(numbers), step or ""

    def named(self, name: str, step: Optional[str] = None) -> _Field:
        return "name", str(name), step or ""

    def step(self, every: str) -> str:
        return str(every)

    def shortcut(self, word: str, command: str) -> tuple[Union[str, tuple[_Field, ...]], str]:
        return str(word), str(command)

    def entry(self, *parts: object) -> tuple[Union[str, tuple[_Field, ...]], str]:
        return parts[:5], str(parts[5])  # type: ignore[return-value]


_GRAMMAR: Grammar[tuple[Union[str, tuple[_Field, ...]], str]] = Grammar("cronspec", _Build(), CronSpecError)


def parse(text: str) -> CronSpec:
    """Parse a scrontab line other than comments and variables. Raises CronSpecError."""
    text = text.strip("\n").lstrip(" \t")
    when, command = _GRAMMAR.parse(text)
    shown = text[: len(text) - len(command)].rstrip(" \t")
    if isinstance(when, str):
        fields = SHORTCUTS.get(when[1:].lower())
        if fields is None:
            raise CronSpecError(text, 0, "invalid @ line")
        when, _ = _GRAMMAR.parse(fields + " x")
    assert not isinstance(when, str)
    sets = [_values(text, place, field) for place, field in enumerate(when)]
    minutes, hours, days, months, weekdays = sets
    any_day, any_weekday = (when[place] == ("star", "*", "") for place in (2, 4))
    spec = CronSpec(shown, command, _folded(minutes, 60), _folded(hours, 24), days - {0}, months - {0},
                    _folded(weekdays, 7), any_day, any_weekday)  # fmt: skip
    if not all((spec.minutes, spec.hours, spec.days, spec.months, spec.weekdays)) or _never(spec):
        raise CronSpecError(text, 0)
    return spec


def _values(text: str, place: int, field: _Field) -> frozenset[int]:
    name, low, high, origin = _FIELDS[place]
    kind, values, step = field
    if kind == "star":
        found = set(range(low, high + 1))
    elif kind == "name":
        names = _MONTHS if place == 3 else _DAYS if place == 4 else []
        if values.lower() not in names:
            raise CronSpecError(text, 0, f"bad {name.rpartition(' ')[0] or name} specification")
        found = {names.index(values.lower())}
    else:
        found = set()
        for part in values.split(","):
            first, dash, last = part.partition("-")
            if not first.isdecimal() or (dash and not last.isdecimal()):
                raise CronSpecError(text, 0)
            start, end = number(first), number(last or first)
            if not low <= start <= end <= high:
                raise CronSpecError(text, 0)
            found.update(range(start, end + 1))
    if step:
        every = number(step)
        if not 1 < every < high + 1:
            raise CronSpecError(text, 0, "bad step value")
        found &= set(range(origin, high + 1, every))
    return frozenset(found)


def _folded(values: frozenset[int], top: int) -> frozenset[int]:
    """Replace 60 minutes, 24 hours and weekday 7 by 0."""
    return frozenset(value % top for value in values)


def _never(spec: CronSpec) -> bool:
    """Return whether an entry is never due. None of its months then has its days."""
    if spec.any_day:
        return False
    longest = max(29 if month == 2 else calendar.monthrange(2023, month)[1] for month in spec.months)
    return min(spec.days) > longest and spec.any_weekday
