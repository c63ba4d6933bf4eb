"""Times of recurring reservations.

Source: slurmctld/reservation.c _resv_time_overlap, _advance_time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from ...model.reservation import DAY_S, FLAGS, Reservation

#: seconds from one time to the next, by flag
PERIODS = {flag.name: flag.period_s for flag in FLAGS if flag.period_s}


def recurring(one: Reservation) -> list[str]:
    """The flags by which a reservation recurs, at most one."""
    return [name for name in one.flags if name in PERIODS]


def period_s(one: Reservation) -> int:
    """Seconds between two occurrences; 0: no recurrence."""
    return next((PERIODS[name] for name in one.flags if name in PERIODS), 0)


def following(one: Reservation, now: float) -> Reservation | None:
    """Return a reservation at its next time; None without recurrence."""
    period = period_s(one)
    if not period:
        return None
    while one.end <= now or not _on_its_day(one):
        one = replace(one, start=one.start + period, end=one.end + period)
    return one


def overlap(one: Reservation, other: Reservation, now: float = 0) -> bool:
    """True if two reservations overlap, now or at later occurrences.

    Recurring reservations disregard a maintenance that begins more than a week later.
    """
    first, last = sorted((one, other), key=lambda each: bool(period_s(each)))
    if not period_s(last):
        return first.overlaps(last.start, last.end)
    if period_s(first):
        # Each period is a multiple of the shorter ones, so the pattern repeats after the longest.
        since = max(first.start, last.start)
        until = since + 7 * DAY_S + max(first.end - first.start, last.end - last.start)
    else:
        since, until = first.start, first.end
        if "MAINT" in first.flags and last.end <= since and since - max(now, last.start) > 7 * DAY_S:
            return False
    times = list(_occurrences(last, since, until))
    return any(start < until_ and since_ < end
               for since_, until_ in _occurrences(first, since, until) for start, end in times)  # fmt: skip


def _occurrences(one: Reservation, since: float, until: float) -> Iterator[tuple[float, float]]:
    """Yield a reservation's times that overlap a period. The first time is as requested, on any day."""
    period, first = period_s(one), one.start
    missed = max(0, int((since - one.end) // period)) if period else 0
    one = replace(one, start=one.start + missed * period, end=one.end + missed * period)
    while one.start < until:
        if one.end > since and (one.start == first or _on_its_day(one)):
            yield one.start, one.end
        if not period:
            return
        one = replace(one, start=one.start + period, end=one.end + period)


def _on_its_day(one: Reservation) -> bool:
    weekend = time.localtime(one.start).tm_wday >= 5
    return ("WEEKDAY" not in one.flags or not weekend) and ("WEEKEND" not in one.flags or weekend)
