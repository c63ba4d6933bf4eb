"""Charts: curves over a period, meters of shares, bars of counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import quantities
from .html import Html, el, join
from .timeline import Period, axis, grid
from .usage_curves import Curve


@dataclass(frozen=True)
class ChartLine:
    """One curve: name, values and class. It is filled below unless it is an edge."""

    name: str
    curve: Curve
    kind: str
    edge: bool = False


def chart(period: Period, lines: Sequence[ChartLine], unit: str, limit: float = 0.0, limit_name: str = "") -> Html:
    """Curves from zero, with a peak label and a limit line."""
    top = max([limit, *(line.curve.peak for line in lines)]) or 1.0
    height = top * 1.08
    shapes = []
    for line in lines:
        values = line.curve.values
        points = _stairs([100 - 100 * value / height for value in values], 1000)
        if not line.edge:
            points += "V100H0Z"
        shapes.append(el("path", d=points, cls=("edge " if line.edge else "area ") + line.kind))
    if limit:
        y = 100 - 100 * limit / height
        shapes.append(el("line", x1=0, x2=1000, y1=f"{y:.1f}", y2=f"{y:.1f}", cls="limit"))
    keys = [el("span", el("i", cls="key " + line.kind), line.name) for line in lines]
    if limit and limit_name:
        keys.append(el("span", el("i", cls="key limit"), f"{limit_name}: {quantities.amount(limit)} {unit}"))
    peak = max((line.curve.peak for line in lines), default=0.0)
    keys.append(el("span", f"peak {quantities.amount(peak)} {unit}", cls="peak"))
    picture = el("svg", shapes, viewBox="0 0 1000 100", preserveAspectRatio="none", cls="plot")
    title = ", ".join(line.name for line in lines)
    return el(
        "figure",
        el("figcaption", keys, cls="keys"),
        el("div", grid(period), picture, cls="plotbox", role="img", aria_label=f"{title} over time, in {unit}"),
        axis(period),
    )


def _stairs(heights: Sequence[float], width: int) -> str:
    """SVG path over steps of these heights. Equal neighbours share one segment."""
    each, drawn, last = width / len(heights), [], ""
    for index, height in enumerate(heights):
        text = f"{height:.1f}"
        if text != last:
            # first horizontal at the old height, then vertical to the new one
            drawn.append(f"H{index * each:.1f}V{text}" if index else f"M0 {text}")
            last = text
    return "".join(drawn) + f"H{width}"


def sparkline(values: Sequence[float], top: float, title: str) -> Html:
    """A small curve next to a number."""
    top = max(top, *values, 1e-9)
    points = _stairs([20 - 19 * value / top for value in values], 100)
    path = el("path", d=points + "V20H0Z", cls="area used")
    return el("svg", path, viewBox="0 0 100 20", preserveAspectRatio="none", cls="spark", role="img", aria_label=title)


def meter(part: float | None) -> Html:
    """A share as a bar with its percentage."""
    if part is None:
        return el("span", "not measured", cls="none")
    level = "low" if part < 0.25 else "mid" if part < 0.6 else "high" if part <= 1.05 else "over"
    return join(
        el("span", el("i", style=f"width:{min(100.0, 100 * part):.1f}%", cls=level), cls="meter"),
        el("span", quantities.share(part), cls="of"),
    )


def counts(rows: Sequence[tuple[str, int]]) -> Html:
    """Counts as bars; the largest has the full width."""
    most = max([count for _, count in rows], default=0) or 1
    return el(
        "div",
        (
            join(
                el("span", name),
                el("span", el("i", style=f"width:{100 * count / most:.1f}%") if count else None, cls="meter"),
                el("span", f"{count:,}", cls="n"),
            )
            for name, count in rows
        ),
        cls="counts",
    )
