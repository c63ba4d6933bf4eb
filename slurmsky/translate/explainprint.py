"""Explained scripts as text, JSON and HTML."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import Any

from ..model.spec import INFINITE
from .explain import FATES, Page
from .idiom import one_line
from .site_suggestions import merged


def page_text(page: Page) -> str:
    """One script, for a terminal."""
    rows = [(str(found.line), found.text, found.fate, found.reason) for found in page.findings]
    where = f"engine: {page.engine}, partition: {one_line(page.partition, 60) or '(none)'}"
    lines = [f"{one_line(page.file)}: {verdict(page)}", where, ""]
    if page.remarks:
        lines += [*(one_line(remark, 500) for remark in page.remarks), ""]
    if page.refusal:
        lines += ["sbatch refuses it:", *(f"  {one_line(line, 500)}" for line in page.refusal.splitlines()), ""]
    if rows:
        first, second = max(len(row[0]) for row in rows), min(44, max(len(row[1]) for row in rows))
        lines += [f"{'line':>{max(4, first)}}  {'what':<{second}}  {'fate':<9}  why"]
        for line, text, fate, reason in rows:
            what, why = one_line(text, second), one_line(reason, 400)
            lines.append(f"{line:>{max(4, first)}}  {what:<{second}}  {fate:<9}  {why}")
        lines.append("")
    if page.task_yaml:
        lines += ["The SkyPilot task:", *(f"  {line}".rstrip() for line in page.task_yaml.splitlines()), ""]
    lines += _price_lines(page)
    if page.settle:
        lines += ["Lines for the site file that would settle what is open:"]
        lines += [f"  {line}" for text in page.settle for line in text.splitlines()]
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def verdict(page: Page) -> str:
    """One phrase."""
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
    """What an unchanged script still needs: inputs that it declares, things that this machine lacks."""
    inputs = [found.text for found in page.findings if found.reason.startswith("an input of the script")]
    missing = list(dict.fromkeys(found.text for found in page.missing))
    parts = []
    if inputs:
        parts.append(f", given {_few(inputs)}")
    if missing:
        parts.append(f"; not here: {_few(missing)}")
    return "".join(parts)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _price_lines(page: Page) -> list[str]:
    if page.engine != "sky":
        return []
    lines = [f"Where it could run (infra of the site file: {', '.join(page.infra) or 'any that SkyPilot has'}):"]
    if not page.prices:
        return [*lines, f"  {page.prices_note or 'no prices: SkyPilot was not asked'}", ""]
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
    """A folder, for a terminal."""
    width = min(60, max([len(page.file) for page in pages] or [6]))
    lines = [f"{'script':<{width}}  kept  changed  no effect  decide  refused  verdict"]
    for page in pages:
        counts = [page.count(fate) for fate in FATES]
        lines.append(
            f"{one_line(page.file, width):<{width}}  {counts[0]:>4}  {counts[1]:>7}  {counts[2]:>9}  "
            f"{counts[3]:>6}  {counts[4]:>7}  {verdict(page)}"
        )
    lines += ["", share(pages)]
    settle = merged(found.settle for page in pages for found in page.findings)
    if settle:
        lines += ["", "Lines for the site file that would settle what is open:"]
        lines += [f"  {line}" for text in settle for line in text.splitlines()]
    return "\n".join(lines) + "\n"


def share(pages: Sequence[Page]) -> str:
    """The share of scripts that run unchanged."""
    good = sum(page.unchanged for page in pages)
    percent = 100 * good / len(pages) if pages else 0
    return f"{good} of {len(pages)} scripts run unchanged ({percent:.0f} %)"


def page_record(page: Page) -> dict[str, Any]:
    """One script, for JSON."""
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
        "remarks": list(page.remarks),
        "settle": list(page.settle),
    }


def to_json(pages: Sequence[Page], folder: bool) -> str:
    """All pages as JSON; surrogates of undecodable bytes are escaped."""
    records = [page_record(page) for page in pages]
    value: Any = (
        {"scripts": records, "unchanged": sum(page.unchanged for page in pages), "total": len(pages)}
        if folder
        else records[0]
    )
    return json.dumps(value, indent=2) + "\n"


_STYLE = (
    "body{font:15px system-ui,sans-serif;margin:2em auto;max-width:70em;padding:0 1em}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25em .6em;border-bottom:1px solid #ddd;"
    "vertical-align:top}code,pre{font:13px ui-monospace,monospace}pre{background:#f6f6f6;padding:1em;overflow:auto}"
    ".kept{color:#17692d}.changed{color:#7a5200}.refused{color:#a4161a;font-weight:600}.decision{color:#a4161a}"
    ".no-effect{color:#666}@media(prefers-color-scheme:dark){body{background:#161616;color:#ddd}pre{background:#222}"
    "td,th{border-color:#333}.kept{color:#7bd88f}.changed{color:#e6b450}.refused,.decision{color:#ff8a8a}.no-effect{color:#999}}"
)


def to_html(pages: Sequence[Page]) -> str:
    """All pages as one HTML file that needs nothing else."""

    def cell(text: str) -> str:
        return html.escape(text.encode("utf-8", "replace").decode("utf-8"))

    out = ["<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"]
    out.append(f"<title>slurmsky explain</title><style>{_STYLE}</style><h1>slurmsky explain</h1>")
    if len(pages) > 1:
        out.append(
            f"<p>{cell(share(pages))}</p><table><tr><th>script<th>kept<th>changed<th>no effect<th>to decide"
            "<th>refused<th>verdict"
        )
        for number, page in enumerate(pages):
            cells = "".join(f"<td>{page.count(fate)}" for fate in FATES)
            out.append(f"<tr><td><a href='#s{number}'>{cell(page.file)}</a>{cells}<td>{cell(verdict(page))}")
        out.append("</table>")
    for number, page in enumerate(pages):
        out.append(f"<h2 id='s{number}'>{cell(page.file)}: {cell(verdict(page))}</h2>")
        out += [f"<p>{cell(remark)}</p>" for remark in page.remarks]
        if page.refusal:
            out.append(f"<pre>{cell(page.refusal)}</pre>")
        out.append("<table><tr><th>line<th>what<th>fate<th>why")
        for found in page.findings:
            kind = found.fate.replace(" ", "-")
            out.append(
                f"<tr><td>{found.line}<td><code>{cell(found.text)}</code><td class='{kind}'>{found.fate}"
                f"<td>{cell(found.reason)}"
            )
        out.append("</table>")
        if page.task_yaml:
            out.append(f"<details><summary>the SkyPilot task</summary><pre>{cell(page.task_yaml)}</pre></details>")
        for line in _price_lines(page):
            if line:
                out.append(f"<p>{cell(line)}</p>")
        if page.settle:
            settle = "\n".join(page.settle)
            out.append(f"<p>Lines for the site file:</p><pre>{cell(settle)}</pre>")
    return "\n".join(out) + "</html>\n"
