"""Lanes of bars over one time axis.

Lanes are jobs, steps, or nodes with their jobs. Bars are placed in percent of the period, so the timeline fits any
width and can be printed.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo

from .html import Html, el, join
from .quantities import ticks

#: percent of an axis at its ends, where a centred label would extend beyond the axis on a telephone
_EDGE = 12


@dataclass(frozen=True)
class Bar:
    """A time span of a lane. ``kind``: CSS class; ``title``: tooltip."""

    start: float
    end: float
    kind: str
    title: str
    label: str = ""


@dataclass
class Lane:
    """Lane of a timeline: name, note, and rows of bars."""

    name: str
    note: str = ""
    rows: list[list[Bar]] = field(default_factory=list)
    link: str = ""


@dataclass(frozen=True)
class Period:
    """The time span of an axis."""

    start: float
    end: float
    zone: tzinfo | None = None

    @property
    def seconds(self) -> float:
        """The length in seconds, always above 0."""
        return max(self.end - self.start, 1e-3)

    def percent(self, time: float) -> float:
        """Position of a time in percent, clamped to the period."""
        return min(100.0, max(0.0, 100 * (time - self.start) / self.seconds))


def pack(bars: Iterable[Bar]) -> list[list[Bar]]:
    """Arrange bars in the smallest number of rows without overlaps."""
    rows: list[list[Bar]] = []
    free: list[tuple[float, int]] = []  # end of the last bar of a row, the row
    for bar in sorted(bars, key=lambda bar: (bar.start, bar.end)):
        if free and free[0][0] <= bar.start:
            _, row = heapq.heappop(free)
            rows[row].append(bar)
        else:
            row = len(rows)
            rows.append([bar])
        heapq.heappush(free, (bar.end, row))
    return rows


def axis(period: Period) -> Html:
    """The labels of the time axis."""
    marks = ticks(period.start, period.end, period.zone)
    return el(
        "div",
        (
            el("span", label, cls=_place(period, at) + (" odd" if number % 2 else ""), style=_left(period, at))
            for number, (at, label) in enumerate(marks)
            if 3 <= period.percent(at) <= 97
        ),
        cls="axis",
        aria_hidden="true",
    )


def _place(period: Period, at: float) -> str:
    """CSS classes of a label: centred, or beside its time. A label near an edge is beside its time."""
    percent = period.percent(at)
    return "t first" if percent < _EDGE else "t last" if percent > 100 - _EDGE else "t"


def grid(period: Period) -> Html:
    """The vertical lines of the time axis."""
    return join(el("i", cls="g", style=_left(period, at)) for at, _ in ticks(period.start, period.end, period.zone))


def _left(period: Period, at: float) -> str:
    return f"left:{period.percent(at):.2f}%"


def _bar(period: Period, bar: Bar) -> Html | None:
    left, right = period.percent(bar.start), period.percent(bar.end)
    if bar.end < period.start or bar.start > period.end:
        return None
    label = el("b", bar.label) if bar.label and right - left > 1.2 * len(bar.label) else None
    style = f"left:{left:.2f}%;width:{right - left:.2f}%"
    return el("i", label, cls="bar " + bar.kind, style=style, title=bar.title)


def lanes(period: Period, rows: Sequence[Lane], name: str) -> Html:
    """Complete timeline with its axis. ``name``: label for screen readers."""
    lines = grid(period)
    body = []
    for lane in rows:
        label = el("a", lane.name, href="#" + lane.link) if lane.link else el("span", lane.name)
        tracks = (el("div", (_bar(period, bar) for bar in row), cls="row") for row in lane.rows or [[]])
        note = el("small", lane.note) if lane.note else None
        body.append(_lane(el("bdi", label, title=lane.name), note, lines, tracks))
    return _picture(period, body, name)


def _lane(label: Html, note: Html | None, *track: object) -> Html:
    return el("div", el("div", label, note, cls="name"), el("div", *track, cls="track"), cls="lane")


def _picture(period: Period, body: Sequence[Html], name: str) -> Html:
    """Lanes below the time axis."""
    head = el("div", el("div", cls="name"), axis(period), cls="lane head")
    return el("div", head, body, cls="lanes", role="img", aria_label=name)


def strips(period: Period, rows: Sequence[tuple[str, str, Sequence[float]]], name: str) -> Html:
    """Lanes of utilisation (0 to 1), for too many bars. The parts of the period have equal length."""
    body = []
    for label, note, values in rows:
        drawn, index = [], 0
        levels = [
            round(10 * min(1.0, max(0.0, value))) if value < 0.05 else max(1, round(10 * min(1.0, value)))
            for value in values
        ]
        while index < len(levels):
            to = index
            while to < len(levels) and levels[to] == levels[index]:
                to += 1
            if levels[index]:
                drawn.append(el("rect", x=index, y=0, width=to - index, height=1, opacity=f"{levels[index] / 10:g}"))
            index = to
        picture = el("svg", drawn, viewBox=f"0 0 {len(values)} 1", preserveAspectRatio="none", cls="strip")
        body.append(_lane(el("bdi", label, title=label), el("small", note), grid(period), picture))
    return _picture(period, body, name)
