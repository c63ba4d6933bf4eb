"""Slurm's formats of numbers, durations and times."""

from __future__ import annotations

from datetime import datetime, tzinfo
from functools import lru_cache
from typing import Callable, NamedTuple, Optional

from slurmsky.language.timelimit import format_minutes as format_minutes
from slurmsky.language.timelimit import format_seconds as format_seconds
from slurmsky.model.spec import INFINITE, NO_VAL

#: cached format_minutes: thousands of jobs have few different limits
minutes_text = lru_cache(maxsize=1024)(format_minutes)

YEAR_S = 365 * 24 * 3600
_CYCLE_S = 146097 * 86400
_MAX_STYLE = 32  # bytes of the buffer in parse_time.c
_LAST_SECOND = 253402300799 - 86400
UNITS = " KMGTP?"
NONE, KILO, MEGA, GIGA, TERA, PETA = range(6)


class Clock:
    """Formatter of epoch seconds in the style of SLURM_TIME_FORMAT.

    ``style`` is "standard" (also ""), "relative", or a strftime text with ``%``. ``now`` is used by "relative" only.
    A style that is none of them is standard; the first time calls ``complain`` with Slurm's error.

    Source: slurm_make_time_str in parse_time.c.
    """

    def __init__(
        self,
        now: float,
        zone: Optional[tzinfo] = None,
        style: str = "standard",
        complain: Optional[Callable[[str], None]] = None,
    ) -> None:
        self.now = now
        self.zone = zone
        invalid = style not in ("", "standard", "relative") and ("%" not in style or len(style) >= _MAX_STYLE)
        self.style = "standard" if invalid else style
        self._fault = "invalid SLURM_TIME_FORMAT = '%s'" % style if invalid and complain is not None else ""
        self._complain = complain
        self._seen: dict[int, str] = {}

    def text(self, time: float) -> str:
        """Time as ``2026-11-21T08:21:12``; "Unknown" for 0 and INFINITE, "None" for NO_VAL."""
        second = int(time)
        known = self._seen.get(second)
        if known is None:
            known = self._seen[second] = self._write(second)
        return known

    def or_na(self, time: float) -> str:
        """As ``text``, but "N/A" for 0, as in squeue."""
        return self.text(time) if time else "N/A"

    def date_line(self, moment: Optional[float] = None) -> str:
        """First line of squeue -l: ``Sat Nov 21 08:21:57 2026``. ``moment`` replaces the current time."""
        when = self.now if moment is None else moment
        return datetime.fromtimestamp(when, self.zone).strftime("%a %b %d %H:%M:%S %Y")

    def _write(self, second: int) -> str:
        if second in (0, INFINITE):
            return "Unknown"
        if second == NO_VAL:
            return "None"
        if self._fault and self._complain is not None:
            self._complain(self._fault)
            self._fault = ""
        # The calendar repeats every 400 years, and datetime ends with the year 9999.
        cycles = max(0, second - _LAST_SECOND) // _CYCLE_S + (second > _LAST_SECOND)
        moment = datetime.fromtimestamp(second - cycles * _CYCLE_S, self.zone)
        if cycles:
            year = str(moment.year + 400 * cycles)
            style = self.style if "%" in self.style else "%Y-%m-%dT%H:%M:%S"
            return moment.strftime(style.replace("%Y", year))
        if self.style == "relative":
            return self._relative(moment)
        if "%" in self.style:
            return moment.strftime(self.style)
        return moment.isoformat("T", "seconds")[:19]

    def _relative(self, moment: datetime) -> str:
        # The distance in calendar days selects the form: _relative_date_fmt in parse_time.c.
        days = (moment.date() - datetime.fromtimestamp(self.now, self.zone).date()).days
        if days == -1:
            return moment.strftime("Ystday %H:%M")
        if days == 0:
            return moment.strftime("%H:%M:%S")
        if days == 1:
            return moment.strftime("Tomorr %H:%M")
        if days < -365 or days > 365:
            return moment.strftime("%-d %b %Y")
        if days < -1 or days > 6:
            return moment.strftime("%-d %b %H:%M")
        return moment.strftime("%a %H:%M")


def _parts(seconds: int) -> tuple[int, int, int, int]:
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return days, hour, minute, second


def short_duration(seconds: float) -> str:
    """squeue's duration: ``M:SS``, ``H:MM:SS``, ``D-HH:MM:SS``.

    "INVALID" below 0 and above a year.

    Source: print.c _print_secs.
    """
    if seconds < 0 or seconds > YEAR_S:
        return "INVALID"
    days, hour, minute, second = _parts(int(seconds))
    if days:
        return "%d-%02d:%02d:%02d" % (days, hour, minute, second)
    if hour:
        return "%d:%02d:%02d" % (hour, minute, second)
    return "%d:%02d" % (minute, second)


def cpu_duration(seconds: float) -> str:
    """CPU time in sacct, with thousandths below one hour.

    Source: sacct print.c _elapsed_time.
    """
    micro = round(seconds * 1_000_000)
    whole, rest = divmod(micro, 1_000_000)
    thousandths = rest // 1000
    days, hour, minute, second = _parts(whole)
    if days:
        return "%d-%02d:%02d:%02d" % (days, hour, minute, second)
    if hour:
        return "%02d:%02d:%02d" % (hour, minute, second)
    if thousandths:
        return "%02d:%02d.%03d" % (minute, second, thousandths)
    return "00:%02d:%02d" % (minute, second)


class Scale(NamedTuple):
    """Scaling of sizes. ``unit`` is --units, KILO and so on; ``convert`` False is --noconvert."""

    unit: Optional[int] = None
    convert: bool = True


EXACT = Scale()


def amount(number: float, origin: int = NONE, scale: Scale = EXACT, divisor: int = 1024) -> str:
    """Number with Slurm's unit suffix.

    It is scaled as far as the value stays exact (or a half). ``origin`` is the unit of the number (MEGA for memory).

    Source: slurm_protocol_api.c convert_num_unit2.
    """
    if int(number) == 0:
        return "0"
    if scale.unit is not None:
        while scale.unit < origin:
            number, origin = number * divisor, origin - 1
        while scale.unit > origin:
            number, origin = number / divisor, origin + 1
    elif scale.convert:
        while number >= divisor and int(number) % (divisor // 2) == 0:
            number, origin = number / divisor, origin + 1
    letter = UNITS[origin] if NONE <= origin <= PETA else "?"
    letter = letter.strip()
    return "%d%s" % (number, letter) if number == int(number) else "%.2f%s" % (number, letter)


def mebibytes(size: int) -> str:
    """Memory given in MiB: ``100M``, ``2G``, ``1.50G``, ``0``."""
    return amount(size, MEGA)


def exit_pair(code: int, signal: int) -> str:
    """Exit code as ``CODE:SIGNAL``. With a signal the code is 0, because a wait status has only one of them."""
    return "0:%d" % signal if signal else "%d:0" % code


def or_null(value: Optional[str]) -> str:
    """Print None as "(null)", like printf."""
    return "(null)" if value is None else value


def null_if_empty(value: str) -> str:
    """Print "" as "(null)", in fields where "" means "not given"."""
    return value or "(null)"
