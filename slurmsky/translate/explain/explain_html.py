"""Renders explained scripts as one HTML page."""

from __future__ import annotations

import html
import pkgutil
from collections.abc import Sequence
from functools import cache

from . import folder_prices
from .explanation import EFFECTS, Page
from .finding import CHANGED, DECISION, KEPT, MISSING, NOTHING, REFUSED, Finding
from .site_suggestions import merged

#: classes of the style sheet by effect
_KINDS = {KEPT: "good", CHANGED: "live", NOTHING: "gone", MISSING: "held", DECISION: "bad", REFUSED: "bad"}
_HEADS = {KEPT: "Kept", CHANGED: "Changed", NOTHING: "No effect", MISSING: "Not here", DECISION: "To decide",
          REFUSED: "Refused"}  # fmt: skip
_LINES = ("Line", "What", "Effect", "Why")
_MAX_REASONS = 12  # reasons shown before the fold
#: as for reports: the page loads nothing and runs no program, regardless of a script's text
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


@cache
def _style() -> str:
    """Style sheet of reports, read as data. This module must not import slurmsky.page."""
    data = pkgutil.get_data("slurmsky.page", "style.css")
    if data is None:
        raise FileNotFoundError("slurmsky/page/style.css")
    return data.decode()


def _text(text: object) -> str:
    shown = str(text)
    if not shown.isprintable():
        shown = "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}"
                        for char in shown.encode("utf-8", "replace").decode("utf-8"))  # fmt: skip
    return html.escape(shown)


def _pill(word: str, kind: str) -> str:
    return f'<span class="pill {kind}">{_text(word)}</span>'


def _section(title: str, *body: str, name: str = "") -> str:
    return f"<section{f' id={name}' if name else ''}><h2>{_text(title)}</h2>{''.join(body)}</section>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> str:
    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(
            f'<{tag}{" class=r" if at in right else ""} data-h="{_text(heads[at])}">{cell}</{tag}>'
            for at, cell in enumerate(row)
        )

    head = cells([_text(one) for one in heads], "th")
    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _tile(name: str, value: object, note: str = "", kind: str = "") -> str:
    strong = f'<strong class="{kind}">{_text(value)}</strong>'
    return f'<div class="tile"><span class="k">{_text(name)}</span>{strong}<small>{_text(note)}</small></div>'


def _kind(page: Page) -> str:
    return "bad" if not page.unchanged else "held" if page.missing_names else "good"


def page_html(
    pages: Sequence[Page],
    share: str,
    verdicts: Sequence[str],
    prices: Sequence[Sequence[str]],
    reasons: Sequence[tuple[str, int, int]] = (),
) -> str:
    """Page of one script, or of several with a summary. ``reasons`` is the result of ``to_resolve``."""
    one = pages[0] if len(pages) == 1 else None
    title = one.file if one else f"{len(pages)} scripts"
    pill = _verdict(verdicts[0], pages[0]) if one else ""
    where = f"engine {one.engine}, partition {one.partition or '(none)'}" if one else share
    body = [f"<header><h1>{_text(title)} {pill}</h1><p class=note>slurmsky explain, {_text(where)}</p></header>"]
    if one:
        body.append(_script(one, prices[0]))
    else:
        body += [_overview(pages, reasons), _section("Scripts", *map(_fold, pages, verdicts), name="scripts")]
    head = (
        '<meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(_POLICY)}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>slurmsky explain: {_text(title)}</title><style>{_style()}</style>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body><main>{"".join(body)}</main></body></html>\n'


def _overview(pages: Sequence[Page], reasons: Sequence[tuple[str, int, int]]) -> str:
    """Summary of a folder: shares, open decisions, prices, site-file lines."""
    good = sum(page.unchanged for page in pages)
    lacking = sum(page.unchanged and bool(page.missing_names) for page in pages)
    tiles = [
        _tile("Run unchanged", good, f"of {len(pages)} scripts", "good"),
        _tile("Not all here", lacking, "of these lack a file, program or variable"),
        _tile("To decide", sum(page.count(DECISION) > 0 for page in pages), "scripts"),
        _tile("Refused", sum(bool(page.refusal) or page.count(REFUSED) > 0 for page in pages), "scripts"),
    ]
    parts = [f'<div class="tiles">{"".join(tiles)}</div>']
    if reasons:
        rows = [[f"<bdi>{_text(reason)}</bdi>", str(alone), str(named)] for reason, alone, named in reasons]
        heads, right = ("What to resolve", "Frees alone", "Scripts with it"), frozenset((1, 2))
        rest = (
            _more(f"{len(rows) - _MAX_REASONS} more", _table(heads, rows[_MAX_REASONS:], right))
            if len(rows) > _MAX_REASONS
            else ""
        )
        parts.append(_section("What to resolve first", _table(heads, rows[:_MAX_REASONS], right), rest, name="resolve"))
    if lines := folder_prices.summary(pages):
        parts.append(_section("Prices", *(f"<p>{_text(line)}</p>" for line in lines)))
    if added := "\n".join(merged(found.suggestion for page in pages for found in page.findings)):
        parts.append(_section("Site file", _more("Lines to add", f'<pre class="tail">{_text(added)}</pre>')))
    return "".join(parts)


def _more(title: str, body: str) -> str:
    return f"<details><summary>{_text(title)}</summary>{body}</details>"


def _fold(page: Page, verdict: str) -> str:
    """A script as a collapsed section without its unchanged lines.

    These lines would fill the page of a large folder.
    """
    fixed, spot, infra = folder_prices.price_cells(page)
    price = f"<small>{_text(fixed)} on demand, {_text(spot)} spot, {_text(infra)}</small>" if page.prices else ""
    counts = ", ".join(f"{page.count(effect)} {_HEADS[effect].lower()}" for effect in EFFECTS if page.count(effect))
    rows = [_row(found) for found in page.findings if found.effect != KEPT]
    refused = f'<pre class="tail">{_text(page.refusal)}</pre>' if page.refusal else ""
    remarks = "".join(f"<p>{_text(remark)}</p>" for remark in page.remarks)
    note = f"<p class=note>{_text(counts)}; slurmsky explain {_text(page.file)} lists all lines</p>"
    table = _table(_LINES, rows, frozenset({0})) if rows else ""
    head = f"<bdi>{_text(page.file)}</bdi> {_verdict(verdict, page)} {price}"
    return f"<details><summary>{head}</summary>{refused}{remarks}{note}{table}</details>"


def _verdict(verdict: str, page: Page) -> str:
    """Verdict: its first phrase as a pill, then its conditions."""
    word, _, rest = verdict.partition("; ") if "; " in verdict else verdict.partition(", given ")
    return _pill(word, _kind(page)) + (f" <small>{_text(verdict[len(word) :].strip(',; '))}</small>" if rest else "")


def _script(page: Page, prices: Sequence[str]) -> str:
    counted = [(effect, page.count(effect)) for effect in EFFECTS if page.count(effect)]
    tiles = (_tile(_HEADS[effect], count, "lines", _KINDS[effect]) for effect, count in counted)
    parts = [f'<div class="tiles">{"".join(tiles)}</div>']
    if page.remarks:
        parts.append(_section("Around the job", *(f"<p>{_text(remark)}</p>" for remark in page.remarks)))
    if page.refusal:
        parts.append(_section("sbatch refuses it", f'<pre class="tail">{_text(page.refusal)}</pre>'))
    if page.findings:
        rows = [_row(found) for found in page.findings]
        parts.append(_section("Line by line", _table(_LINES, rows, frozenset({0}))))
    if page.task_yaml:
        parts.append(_section("The SkyPilot task", f'<pre class="tail">{_text(page.task_yaml)}</pre>'))
    if any(prices):
        parts.append(_section("Where it could run", f'<pre class="tail">{_text(chr(10).join(prices).rstrip())}</pre>'))
    if page.suggestions:
        lines = _text("\n".join(page.suggestions))
        parts.append(_section("Lines to add to the site file", f'<pre class="tail">{lines}</pre>'))
    return "".join(parts)


def _row(found: Finding) -> list[str]:
    return [str(found.line), f"<code>{_text(found.text)}</code>", _pill(found.effect, _KINDS[found.effect]),
            _text(found.reason)]  # fmt: skip
