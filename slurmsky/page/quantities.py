"""Formats of durations, sizes, shares, money, and axis labels."""

from __future__ import annotations

from datetime import datetime, tzinfo

from ..report.text import why
from ..report.text.seff_report import size

#: possible intervals between the marks of an axis, in seconds
_STEPS = (
    1,
    2,
    5,
    10,
    20,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    10800,
    21600,
    43200,
    86400,
    172800,
    604800,
    1209600,
    2592000,
    7776000,
    31536000,
)


def duration(seconds: float) -> str:
    """Duration in two units, as ``4 min 5 s`` or ``2 d 7 h``.

    >>> duration(0.4), duration(245), duration(7 * 3600 + 120), duration(90000)
    ('0.4 s', '4 min 5 s', '7 h 2 min', '1 d 1 h')
    """
    if seconds < 10:
        return f"{seconds:.1f}".rstrip("0").rstrip(".") + " s"
    return why.duration(seconds)


def hours(seconds: float) -> str:
    """Resource hours: ``0.02``, ``3.5``, ``1,204``.

    >>> hours(72), hours(3600 * 12.34), hours(3600 * 12345)
    ('0.02', '12.3', '12,345')
    """
    value = seconds / 3600
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2g}"


def memory(mib: float) -> str:
    """Size in seff's format, with three digits: ``1.95 GB``.

    >>> memory(1000), memory(8192), memory(300.25), memory(0.5)
    ('1000 MB', '8 GB', '300 MB', '512 KB')
    """
    number, letters = size(mib * 1024).split()
    value = float(number)
    return f"{value:.0f} {letters}" if value >= 100 else f"{value:.3g} {letters}"


def share(part: float | None) -> str:
    """A share (0 to 1) in percent; None is a dash."""
    if part is None:
        return "–"
    return f"{100 * part:.1f} %" if 0 < part < 0.0995 else f"{100 * part:.0f} %"


def money(dollars: float | None) -> str:
    """Dollars as ``$1.20``, ``$0.0035``; None is a dash."""
    if dollars is None:
        return "–"
    return f"${dollars:,.2f}" if dollars >= 1 or not dollars else f"${dollars:.4f}"


def amount(value: float) -> str:
    """A count that may have a fraction.

    >>> amount(4), amount(0.25), amount(12.3456)
    ('4', '0.25', '12.3')
    """
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def moment(time: float, zone: tzinfo | None) -> str:
    """Time as ``2026-11-21 14:03:09``; 0 is a dash."""
    return datetime.fromtimestamp(time, zone).strftime("%Y-%m-%d %H:%M:%S") if time else "–"


def ticks(start: float, end: float, zone: tzinfo | None) -> list[tuple[float, str]]:
    """Round times of a period with labels, at most six.

    >>> from datetime import timezone
    >>> ticks(1000000005, 1000000100, timezone.utc)[:2]
    [(1000000020.0, '01:47:00'), (1000000040.0, '01:47:20')]
    """
    span = max(end - start, 1e-6)
    step = next((step for step in _STEPS if span / step <= 6), _STEPS[-1] * 10)
    # Round to hours and days of local time.
    offset = datetime.fromtimestamp(start, zone).astimezone(zone).utcoffset()
    shift = offset.total_seconds() if offset else 0.0
    form = "%H:%M:%S" if step < 60 else "%H:%M" if span < 86400 else "%d %b %H:%M" if step < 86400 else "%d %b"
    if span > 200 * 86400:
        form = "%b %Y"
    found: list[tuple[float, str]] = []
    at = -(-(start + shift) // step) * step - shift
    while at <= end:
        found.append((at, datetime.fromtimestamp(at, zone).strftime(form)))
        at += step
    return found
