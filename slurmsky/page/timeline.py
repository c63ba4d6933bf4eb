"""Lanes with bars over one time axis: jobs and steps by name, nodes with what ran on them.

Bars are placed in percent of the period, so the picture fits any width and can be printed.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo

from .html import Html, el, join
from .quantities import ticks


@dataclass(frozen=True)
class Bar:
    """Something that lasted. ``kind`` is its class, ``title`` what a pointer shows."""

    start: float
    end: float
    kind: str
    title: str
    label: str = ""


@dataclass
class Lane:
    """A line of a timeline: its name, a note at its end, and rows of bars one below the other."""

    name: str
    note: str = ""
    rows: list[list[Bar]] = field(default_factory=list)
    link: str = ""


@dataclass(frozen=True)
class Period:
    """What a time axis shows."""

    start: float
    end: float
    zone: tzinfo | None = None

    @property
    def seconds(self) -> float:
        """Its length, never nothing."""
        return max(self.end - self.start, 1e-3)

    def percent(self, time: float) -> float:
        """Where a moment is; what lies outside is at the edge."""
        return min(100.0, max(0.0, 100 * (time - self.start) / self.seconds))


def pack(bars: Iterable[Bar]) -> list[list[Bar]]:
    """Bars in as few rows as there are at once."""
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
    """The marks of the period."""
    marks = ticks(period.start, period.end, period.zone)
    return el(
        "div",
        (
            el("span", label, cls="t" + (" odd" if number % 2 else ""), style=_left(period, at))
            for number, (at, label) in enumerate(marks)
            # A label at the very edge would stand outside.
            if 3 <= period.percent(at) <= 97
        ),
        cls="axis",
        aria_hidden="true",
    )


def grid(period: Period) -> Html:
    """Lines under the marks."""
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
    """The whole picture, marks above it; ``name`` says what it shows to those who cannot see it."""
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
    """Lanes below the period's marks."""
    head = el("div", el("div", cls="name"), axis(period), cls="lane head")
    return el("div", head, body, cls="lanes", role="img", aria_label=name)


def strips(period: Period, rows: Sequence[tuple[str, str, Sequence[float]]], name: str) -> Html:
    """Lanes that show how full something was (0 to 1) in equal parts of the period: for more than bars can show."""
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
