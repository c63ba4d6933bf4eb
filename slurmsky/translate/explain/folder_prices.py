"""Prices of a folder's scripts, on demand and on spot nodes.

SkyPilot's optimizer prices a size of nodes, not a script: scripts of equal size share one question, which offers both
kinds of nodes. Its rows give dollars an hour for all nodes; a run of a script takes its time limit, and an array runs
once for each element.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...model.spec import INFINITE

if TYPE_CHECKING:
    from .explanation import Page

_WITHOUT_PRICE = ("labels", "max_hourly_cost", "use_spot", "image_id", "disk_size", "priority", "any_of", "ordered")
_SPOT = "[Spot]"  # ends the name of an instance in the optimizer's table


def question(fields: Mapping[str, Any]) -> str:
    """Task to send to the optimizer, with price-relevant fields only."""
    resources = fields["resources"]
    priced = {key: value for key, value in resources.items() if key not in _WITHOUT_PRICE}
    places = resources.get("any_of") or resources.get("ordered") or [{"infra": priced.pop("infra", None)}]
    priced["any_of"] = [
        {**{key: value for key, value in place.items() if value}, "use_spot": spot}
        for place in places
        for spot in (False, True)
        if not (spot and str(place.get("infra")).startswith("slurm"))  # Slurm's nodes are never spot nodes
    ]
    size = {"num_nodes": fields["num_nodes"]} if fields.get("num_nodes") else {}
    return json.dumps({**size, "resources": priced, "run": "true"}, sort_keys=True)


def cheapest(page: Page, spot: bool = False) -> Mapping[str, str] | None:
    """The optimizer's cheapest row of one kind of nodes."""
    rows = [row for row in page.prices if row["cost"] not in ("", "-") and (_SPOT in row["instance"]) == spot]
    return min(rows, key=lambda row: float(row["cost"]), default=None)


def _dollars(page: Page, row: Mapping[str, str] | None) -> tuple[float, bool]:
    """Dollars of all elements of a script. The flag is true for the whole time limit, false for an hour."""
    limited = page.time_limit_min not in (None, 0, INFINITE)
    hours = int(page.time_limit_min or 0) / 60 if limited else 1.0
    return float(row["cost"]) * hours * page.elements if row else 0.0, limited


def price_cells(page: Page) -> tuple[str, str, str]:
    """Prices on demand and on spot nodes, and the cheapest infra."""

    def price(row: Mapping[str, str] | None) -> str:
        dollars, limited = _dollars(page, row)
        return (f"${dollars:,.2f}" + ("" if limited else "/h")) if row else "-"

    fixed, spot = cheapest(page), cheapest(page, spot=True)
    found = [row for row in (fixed, spot) if row]
    return price(fixed), price(spot), min(found, key=lambda row: float(row["cost"]))["infra"] if found else "-"


def summary(pages: Sequence[Page]) -> list[str]:
    """Sentences about the prices of all scripts; empty if no script has a price or a note."""
    queried = [page for page in pages if page.engine == "sky" and (page.prices or page.prices_note)]
    priced = [page for page in queried if cheapest(page) or cheapest(page, spot=True)]
    lines = []
    for limited, per in ((True, "for their time limits"), (False, "an hour, without a time limit")):
        some = [page for page in priced if _dollars(page, None)[1] == limited]
        if some:
            fixed = sum(_dollars(page, cheapest(page) or cheapest(page, spot=True))[0] for page in some)
            spot = sum(_dollars(page, cheapest(page, spot=True) or cheapest(page))[0] for page in some)
            amounts = f"${fixed:,.2f} on demand, ${spot:,.2f} with spot nodes where there are some, {per}"
            lines.append(f"{_scripts(len(some))}, arrays times their elements: {amounts}")
    if priced:
        infras = Counter(price_cells(page)[2] for page in priced).most_common()
        lines.append("cheapest infra: " + ", ".join(f"{infra} ({_scripts(count)})" for infra, count in infras[:6]))
    notes = Counter(page.prices_note for page in queried if not page.prices)
    return lines + [f"{_scripts(count)}: {note}" for note, count in notes.most_common(6)]


def _scripts(count: int) -> str:
    return f"{count} script{'s' if count != 1 else ''}"


def by_question(pages: Iterable[Page]) -> list[str]:
    """Questions of all pages, the most frequent first, without duplicates."""
    return [text for text, _ in Counter(page.price_question for page in pages if page.price_question).most_common()]
