"""Frame of a page: head, title, tiles, tables. The style sheet is style.css in this folder."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Sequence
from functools import cache

from .. import __version__
from .html import Html, el, join
from .job_summary import Life

#: The browser must fetch no resource and run no script, regardless of the page's content.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


@cache
def _style() -> Html:
    data = pkgutil.get_data("slurmsky.page", "style.css")
    if data is None:
        raise FileNotFoundError("slurmsky/page/style.css")
    return Html(data.decode())


def document(title: str, made: str, *body: object) -> str:
    """A complete page. ``made``: text on the time that the page describes."""
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        el("meta", name="viewport", content="width=device-width,initial-scale=1"),
        el("meta", name="referrer", content="no-referrer"),
        el("title", title),
        el("style", _style()),
    )
    foot = el("footer", f"slurmsky {__version__}, {made}")
    return "<!doctype html>\n" + el("html", head, el("body", el("main", *body), foot), lang="en") + "\n"


def section(title: str, *body: object, note: object = None, id: str | None = None) -> Html:
    """A section of the page under its heading."""
    return el("section", el("h2", title), el("p", note, cls="note") if note else None, *body, id=id)


def tile(name: str, value: object, note: object = None, kind: str | None = None) -> Html:
    """A key figure with its name."""
    return el("div", el("span", name, cls="k"), el("strong", value, cls=kind), el("small", note), cls="tile")


def tiles(*found: Html | None) -> Html:
    """Tiles side by side."""
    return el("div", found, cls="tiles")


def pill(life: Life) -> Html:
    """A job's state as a coloured word."""
    return el("span", life.state, cls="pill " + life.kind)


def pairs(rows: Sequence[tuple[str, object]]) -> Html:
    """Names with their values; empty values are omitted."""
    return el("dl", (join(el("dt", name), el("dd", el("bdi", value))) for name, value in rows if value), cls="pairs")


def table(heads: Sequence[str], rows: Sequence[Sequence[object]], numbers: Sequence[int] = ()) -> Html:
    """A table; ``numbers`` are the right-aligned columns.

    On a narrow screen each row becomes a card, with the heads as labels of its cells.
    """
    right = frozenset(numbers)
    body = (
        el(
            "tr",
            (
                el("td", cell, cls="r" if index in right else None, data_h=heads[index])
                for index, cell in enumerate(row)
            ),
        )
        for row in rows
    )
    head = el(
        "tr", (el("th", name, scope="col", cls="r" if index in right else None) for index, name in enumerate(heads))
    )
    return el("div", el("table", el("thead", head), el("tbody", body)), cls="scroll")


def legend(kinds: Sequence[tuple[str, str]]) -> Html:
    """The legend of the bars' colours."""
    return el("p", (el("span", el("i", cls="key " + kind), name) for kind, name in kinds), cls="keys")


BARS = (
    ("hold", "could not start yet"),
    ("wait", "waiting"),
    ("live", "running"),
    ("good", "completed"),
    ("bad", "failed"),
    ("gone", "cancelled or preempted"),
)


def bars(kinds: Iterable[str]) -> Sequence[tuple[str, str]]:
    """Bars of a legend; suspended only if it occurs."""
    return (*BARS, ("paused", "suspended")) if "held" in kinds else BARS
