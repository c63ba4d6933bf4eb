"""Time limits, moments and durations as Slurm 22.05 took and printed them."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from slurmsky.language import timelimit, timespec
from slurmsky.language.timelimit import TimeLimitError
from slurmsky.language.timespec import TimeSpecError
from slurmsky.model.spec import INFINITE, NO_VAL

NOW = datetime(2026, 11, 21, 8, 20, 41, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("5", "00:05:00"),
        ("0:01", "00:01:00"),
        ("5:30", "00:06:00"),
        ("1:60", "00:02:00"),
        ("24:60:61", "1-01:02:00"),
        ("1:30:00", "01:30:00"),
        ("1-", "1-00:00:00"),
        ("1-2", "1-02:00:00"),
        ("1-2:3", "1-02:03:00"),
        ("1-2:3:4", "1-02:04:00"),
        ("1-0:0:0", "1-00:00:00"),
        ("UNLIMITED", "UNLIMITED"),
        ("infinite", "UNLIMITED"),
        ("-1", "UNLIMITED"),
        ("-5", "2982611-04:17:00"),
        ("99999999999", "2981813-22:48:00"),
    ],
)
def test_time_limits(text: str, shown: str) -> None:
    assert timelimit.format_minutes(timelimit.parse(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 5",
        "5 ",
        "5\n",
        "1:2:3:4",
        "1d",
        "10s",
        "::",
        ":30",
        "1:",
        "1-:30",
        "-",
        "-t",
        "1.5",
        "x",
        "1-2-",
        "٣",
    ],
)
def test_no_time_limits(text: str) -> None:
    with pytest.raises(TimeLimitError):
        timelimit.parse(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "00:00:00"),
        (5, "00:00:05"),
        (3599, "00:59:59"),
        (3661, "01:01:01"),
        (86400, "1-00:00:00"),
        (-1, "INVALID"),
        (INFINITE, "UNLIMITED"),
        (NO_VAL, "N/A"),
    ],
)
def test_durations(seconds: int, text: str) -> None:
    assert timelimit.format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("now", "2026-11-21T08:20:41"),
        ("now+1hour", "2026-11-21T09:20:41"),
        ("now+1hours", "2026-11-21T09:20:41"),
        ("now+2days", "2026-11-23T08:20:41"),
        ("now + 5 minutes", "2026-11-21T08:25:41"),
        ("now-1hour", "2026-11-21T07:20:41"),
        ("now+1hour 12:00", "2026-11-21T12:00:00"),
        ("16:00", "2026-11-21T16:00:00"),
        ("noon", "2026-11-21T12:00:00"),
        ("noon tomorrow", "2026-11-22T12:00:00"),
        ("tomorrow noon", "2026-11-22T12:00:00"),
        ("midnight", "2026-11-22T00:00:00"),
        ("fika", "2026-11-21T15:00:00"),
        ("teatime", "2026-11-21T16:00:00"),
        ("today", "2026-11-21T00:00:00"),
        ("tomorrow", "2026-11-22T00:00:00"),
        ("12:30 pm", "2026-11-21T12:30:00"),
        ("12:30am", "2026-11-22T00:30:00"),
        ("4:30pm", "2026-11-21T16:30:00"),
        ("12:30today", "2026-11-21T12:30:00"),
        ("010130", "2030-01-01T00:00:00"),
        ("01/01/30", "2030-01-01T00:00:00"),
        ("01.01.30", "2030-01-01T00:00:00"),
        ("01/02", "2027-01-02T00:00:00"),
        ("0102", "2027-01-02T00:00:00"),
        ("02/31/30", "2030-03-03T00:00:00"),
        ("2020-01-01", "2020-01-01T00:00:00"),
        ("2030-01-01T", "2030-01-01T00:00:00"),
        ("2030-01-01T12:00", "2030-01-01T12:00:00"),
        ("2030-01-01 12:00", "2030-01-01T12:00:00"),
        ("2030-01-01-12:00", "2030-01-01T12:00:00"),
        ("uts1900000000", "2030-03-17T17:46:40"),
        ("elevenses", "2026-11-21T11:00:00"),  # since 23.02; 22.05 had a misprint
    ],
)
def test_moments(text: str, moment: str) -> None:
    assert timespec.format(timespec.parse(text, NOW), tz=timezone.utc) == moment


@pytest.mark.parametrize(
    ("pos", "text"),
    [
        (0, "yesterday"),
        (0, "25:00"),
        (0, "13/01/30"),
        (0, "13pm"),
        (0, "uptime"),
        (0, "2030-1-1"),
        (1, "Tomorrow"),
        (1, "TODAY"),
        (1, "5pm"),
        (1, "1 week"),
        (1, "1"),
        (3, "now+"),
        (3, "now+x"),
        (3, "12:60"),
        (4, "now+1month"),
        (4, "now+5min"),
        (5, "13:00pm"),
        (5, "2030-13-01"),
        (5, "1/2/3"),
        (6, "13:00 pm"),
        (8, "tomorrow+1hour"),
        (8, "2030-01-32"),
        (8, "midnightx"),
        (12, "now+2 hours5"),
        (13, "2030-01-01T12"),
        (13, "2030-01-01T1200"),
        (17, "2030-01-01T12:00:61"),
    ],
)
def test_no_moments(pos: int, text: str) -> None:
    with pytest.raises(TimeSpecError) as caught:
        timespec.parse(text, NOW)
    assert str(caught.value) == f"Invalid time specification (pos={pos}): {text}"


def test_an_empty_text_is_the_epoch() -> None:
    assert timespec.parse("", NOW) == timespec.parse(" - T", NOW) == 0


def test_a_past_time_of_day_is_tomorrow_or_for_sacct_today() -> None:
    early = timespec.parse("07:00", NOW)
    assert timespec.parse("07:00", NOW, past=True) == early - 86400
    assert timespec.parse("12/24", NOW, past=True) < NOW.timestamp() < timespec.parse("12/24", NOW)


def test_without_a_zone_the_machine_s_own_counts() -> None:
    now = NOW.timestamp()
    assert timespec.parse("now+90", now) == int(now) + 90
    assert timespec.format(timespec.parse("2030-01-01T12:00", now)) == "2030-01-01T12:00:00"
