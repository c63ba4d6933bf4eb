"""Prints explained scripts as text, JSON and HTML."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ...model.spec import INFINITE
from ..script.conversion_tables import one_line
from . import folder_prices
from .explain_html import page_html
from .explanation import EFFECTS, Page
from .finding import DECISION, REFUSED, Finding
from .site_suggestions import merged


def page_text(page: Page) -> str:
    """One script as text for a terminal."""
    rows = [(str(found.line), found.text, found.effect, found.reason) for found in page.findings]
    where = f"engine: {page.engine}, partition: {one_line(page.partition, 60) or '(none)'}"
    lines = [f"{one_line(page.file)}: {verdict(page)}", where, ""]
    if page.remarks:
        lines += [*(one_line(remark, 500) for remark in page.remarks), ""]
    if page.refusal:
        lines += ["sbatch refuses it:", *(f"  {one_line(line, 500)}" for line in page.refusal.splitlines()), ""]
    if rows:
        first, second = max(len(row[0]) for row in rows), min(44, max(len(row[1]) for row in rows))
        lines += [f"{'line':>{max(4, first)}}  {'what':<{second}}  {'effect':<9}  why"]
        for line, text, effect, reason in rows:
            what, why = one_line(text, second), one_line(reason, 400)
            lines.append(f"{line:>{max(4, first)}}  {what:<{second}}  {effect:<9}  {why}")
        lines.append("")
    if page.task_yaml:
        lines += ["The SkyPilot task:", *(f"  {line}".rstrip() for line in page.task_yaml.splitlines()), ""]
    lines += _price_lines(page)
    if page.suggestions:
        lines += ["Lines to add to the site file for the open decisions:"]
        lines += [f"  {line}" for text in page.suggestions for line in text.splitlines()]
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def verdict(page: Page) -> str:
    """A script's verdict in one phrase."""
    if page.refusal:
        return "refused"
    if page.unchanged:
        return "runs unchanged" + _conditions(page)
    open_points = page.count("decision")
    parts = [f"{open_points} to decide"] if open_points else []
    if page.count("refused"):
        parts.append(f"{page.count('refused')} refused")
    return ", ".join(parts)


def _conditions(page: Page) -> str:
    """Needs of an unchanged script: inputs, and names missing here."""
    inputs = [found.text for found in page.findings if found.reason.startswith("an input of the script")]
    missing = list(dict.fromkeys(map(_missing_name, page.missing_names)))
    parts = []
    if inputs:
        parts.append(f", given {_few(inputs)}")
    if missing:
        where = "the submit folder" if page.engine == "sky" else "this machine"
        parts.append(f"; {where} lacks {_few(missing)}")
    return "".join(parts)


def _missing_name(found: Finding) -> str:
    """Name what a finding misses, without a program's arguments."""
    if found.kind == "command":
        return found.text.split(maxsplit=1)[0]
    if found.kind == "environment":
        return f"environment {found.text}"
    return _LOG.sub(r"the folder of \1", found.text)


#: an option for a log, as a finding shows it
_LOG = re.compile(r"^(--(?:output|error))=.*")


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _price_lines(page: Page) -> list[str]:
    if page.engine != "sky":
        return []
    lines = [f"Where it could run (infra of the site file: {', '.join(page.infra) or 'any that SkyPilot has'}):"]
    if not page.prices:
        return [*lines, f"  {page.prices_note or 'no prices: SkyPilot was not queried'}", ""]
    limit = page.time_limit_min
    for row in page.prices:
        cost = row["cost"]
        whole = ""
        if limit not in (None, 0, INFINITE) and cost not in ("-", ""):
            whole = f", ${float(cost) * int(limit or 0) / 60:.2f} for the time limit"
        mark = "*" if row["chosen"] else " "
        lines.append(
            f"  {mark} {row['infra']}, {row['instance']}, GPUs {row['gpus']}: ${cost} an hour for all nodes{whole}"
        )
    if page.prices_note:
        lines.append(f"  {page.prices_note}")
    return [*lines, ""]


def table_text(pages: Sequence[Page]) -> str:
    """Table of all scripts in a folder, for a terminal."""
    width = min(60, max([len(page.file) for page in pages] or [6]))
    lines = [share(pages), *filter(None, (lacking(pages),)), *_summary(pages)]
    prices = folder_prices.summary(pages)
    lines += ["", "Prices:", *(f"  {one_line(line, 200)}" for line in prices)] if prices else []
    priced = any(page.prices for page in pages)
    heads = [f"{'on demand':>12}", f"{'spot':>12}", f"{'cheapest infra':<22}"] if priced else []
    lines += ["", "  ".join([f"{'script':<{width}}", *_HEADS.values(), *heads, "verdict"])]
    for page in pages:
        counts = (f"{page.count(effect):>{len(head)}}" for effect, head in _HEADS.items())
        fixed, spot, infra = folder_prices.price_cells(page)
        cells = [f"{fixed:>12}", f"{spot:>12}", f"{one_line(infra, 22):<22}"] if priced else []
        lines.append("  ".join([f"{one_line(page.file, width):<{width}}", *counts, *cells, verdict(page)]))
    suggestion = merged(found.suggestion for page in pages for found in page.findings)
    if suggestion:
        lines += ["", "Lines to add to the site file for the open decisions:"]
        lines += [f"  {line}" for text in suggestion for line in text.splitlines()]
    return "\n".join(lines) + "\n"


#: columns of that table
_HEADS = {effect: {DECISION: "decide"}.get(effect, effect) for effect in EFFECTS}
_MAX_REASONS = 12


def _summary(pages: Sequence[Page]) -> list[str]:
    """The findings to resolve first, as lines."""
    ranked = to_resolve(pages)
    if not ranked:
        return []
    lines = ["", "What keeps scripts from running unchanged (scripts with this reason alone, all scripts with it):"]
    lines += [f"  {alone:>5} {having:>5}  {one_line(reason, 100)}" for reason, alone, having in ranked[:_MAX_REASONS]]
    if len(ranked) > _MAX_REASONS:
        lines.append(f"  and {len(ranked) - _MAX_REASONS} more")
    return lines


def to_resolve(pages: Sequence[Page]) -> list[tuple[str, int, int]]:
    """Reasons with script counts, the most decisive first.

    The counts are (scripts with only this reason, all scripts).
    """
    alone: Counter[str] = Counter()
    named: Counter[str] = Counter()
    for page in pages:
        reasons = {f"{found.kind}: {found.reason}" for found in page.findings if found.effect in (DECISION, REFUSED)}
        if page.refusal:
            reasons = {f"refused: {one_line(page.refusal, 80)}"}
        named.update(reasons)
        if len(reasons) == 1:
            alone.update(reasons)
    ranked = sorted(named, key=lambda reason: (-alone[reason], -named[reason], reason))
    return [(reason, alone[reason], named[reason]) for reason in ranked]


def share(pages: Sequence[Page]) -> str:
    """The share of scripts that run unchanged."""
    good = sum(page.unchanged for page in pages)
    percent = 100 * good / len(pages) if pages else 0
    return f"{good} of {len(pages)} scripts run unchanged ({percent:.0f} %)"


def lacking(pages: Sequence[Page]) -> str:
    """The number of unchanged scripts with missing names here, or ""."""
    count = sum(page.unchanged and bool(page.missing_names) for page in pages)
    good = sum(page.unchanged for page in pages)
    if not count:
        return ""
    name = "names" if count == 1 else "name"
    return f"{count} of {good} scripts {name} files, programs or variables that are not here"


def page_record(page: Page) -> dict[str, Any]:
    """One script as a JSON record."""
    return {
        "file": page.file,
        "unchanged": page.unchanged,
        "verdict": verdict(page),
        "engine": page.engine,
        "partition": page.partition,
        "refusal": page.refusal,
        "findings": [found.__dict__ for found in page.findings],
        "task_yaml": page.task_yaml,
        "infra": list(page.infra),
        "prices": [dict(row) for row in page.prices],
        "prices_note": page.prices_note,
        "elements": page.elements,
        "time_limit_min": page.time_limit_min,
        "remarks": list(page.remarks),
        "suggestions": list(page.suggestions),
    }


def to_json(pages: Sequence[Page], folder: bool) -> str:
    """All pages as JSON; surrogates of undecodable bytes are escaped."""
    records = [page_record(page) for page in pages]
    value: Any = (
        {
            "scripts": records,
            "unchanged": sum(page.unchanged for page in pages),
            "lacking": sum(page.unchanged and bool(page.missing_names) for page in pages),
            "total": len(pages),
            "prices": folder_prices.summary(pages),
        }
        if folder
        else records[0]
    )
    return json.dumps(value, indent=2) + "\n"


def to_html(pages: Sequence[Page]) -> str:
    """All pages as one self-contained HTML file."""
    verdicts, prices = [verdict(page) for page in pages], [_price_lines(page) for page in pages]
    return page_html(pages, share(pages), verdicts, prices, to_resolve(pages))
