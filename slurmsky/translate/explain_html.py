"""Renders explained scripts as one HTML page in the style of slurmsky report."""

from __future__ import annotations

import html
import pkgutil
from collections.abc import Sequence
from functools import cache

from .explain import FATES, Page
from .finding import CHANGED, DECISION, KEPT, MISSING, NOTHING, REFUSED, Finding

#: classes of the style sheet by fate
_KINDS = {KEPT: "good", CHANGED: "live", NOTHING: "gone", MISSING: "held", DECISION: "bad", REFUSED: "bad"}
_HEADS = {KEPT: "Kept", CHANGED: "Changed", NOTHING: "No effect", MISSING: "Not here", DECISION: "To decide",
          REFUSED: "Refused"}  # fmt: skip
#: as for reports: the page loads nothing and runs no program, whatever a script's text contains
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


@cache
def _style() -> str:
    """The style sheet of reports, read as data: this module must not import slurmsky.page."""
    data = pkgutil.get_data("slurmsky.page", "style.css")
    if data is None:
        raise FileNotFoundError("slurmsky/page/style.css")
    return data.decode()


def _text(text: object) -> str:
    return html.escape("".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}"
                               for char in str(text).encode("utf-8", "replace").decode("utf-8")))  # fmt: skip


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
    return "good" if page.unchanged else "bad"


def page_html(pages: Sequence[Page], share: str, verdicts: Sequence[str], prices: Sequence[Sequence[str]]) -> str:
    """The page: an overview where there are several scripts, then a section for each."""
    one = pages[0] if len(pages) == 1 else None
    title = one.file if one else f"{len(pages)} scripts"
    pill = _verdict(verdicts[0], pages[0]) if one else ""
    where = f"engine {one.engine}, partition {one.partition or '(none)'}" if one else share
    body = [f"<header><h1>{_text(title)} {pill}</h1><p class=note>slurmsky explain, {_text(where)}</p></header>"]
    if one is None:
        body.append(_overview(pages, verdicts))
    for number, page in enumerate(pages):
        body.append(_script(page, verdicts[number], prices[number], number, one is None))
    head = (
        '<meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(_POLICY)}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>slurmsky explain: {_text(title)}</title><style>{_style()}</style>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body><main>{"".join(body)}</main></body></html>\n'


def _overview(pages: Sequence[Page], verdicts: Sequence[str]) -> str:
    good = sum(page.unchanged for page in pages)
    tiles = [
        _tile("Run unchanged", good, f"of {len(pages)} scripts", "good"),
        _tile("To decide", sum(page.count(DECISION) > 0 for page in pages), "scripts"),
        _tile("Refused", sum(bool(page.refusal) or page.count(REFUSED) > 0 for page in pages), "scripts"),
    ]
    rows = [
        [f'<a href="#s{number}">{_text(page.file)}</a>', *(str(page.count(fate) or "–") for fate in FATES),
         _verdict(verdicts[number], page)]
        for number, page in enumerate(pages)
    ]  # fmt: skip
    heads = ["Script", *(_HEADS[fate] for fate in FATES), "Verdict"]
    numbers = frozenset(range(1, len(FATES) + 1))
    return f'<div class="tiles">{"".join(tiles)}</div>' + _section("Scripts", _table(heads, rows, numbers))


def _verdict(verdict: str, page: Page) -> str:
    """The start of the verdict as a pill, followed by its conditions."""
    word, _, rest = verdict.partition("; ") if "; " in verdict else verdict.partition(", given ")
    return _pill(word, _kind(page)) + (f" <small>{_text(verdict[len(word) :].strip(',; '))}</small>" if rest else "")


def _script(page: Page, verdict: str, prices: Sequence[str], number: int, several: bool) -> str:
    parts = []
    if several:
        parts.append(f'<h1 id="s{number}">{_text(page.file)} {_verdict(verdict, page)}</h1>')
    else:
        counted = [(fate, page.count(fate)) for fate in FATES if page.count(fate)]
        tiles = (_tile(_HEADS[fate], count, "lines", _KINDS[fate]) for fate, count in counted)
        parts.append(f'<div class="tiles">{"".join(tiles)}</div>')
    if page.remarks:
        parts.append(_section("Around the job", *(f"<p>{_text(remark)}</p>" for remark in page.remarks)))
    if page.refusal:
        parts.append(_section("sbatch refuses it", f'<pre class="tail">{_text(page.refusal)}</pre>'))
    if page.findings:
        rows = [_row(found) for found in page.findings]
        parts.append(_section("Line by line", _table(["Line", "What", "Fate", "Why"], rows, frozenset({0}))))
    if page.task_yaml:
        parts.append(_section("The SkyPilot task", f'<pre class="tail">{_text(page.task_yaml)}</pre>'))
    if any(prices):
        parts.append(_section("Where it could run", f'<pre class="tail">{_text(chr(10).join(prices).rstrip())}</pre>'))
    if page.suggestions:
        lines = _text("\n".join(page.suggestions))
        parts.append(_section("Lines to add to the site file", f'<pre class="tail">{lines}</pre>'))
    return "".join(parts)


def _row(found: Finding) -> list[str]:
    return [str(found.line), f"<code>{_text(found.text)}</code>", _pill(found.fate, _KINDS[found.fate]),
            _text(found.reason)]  # fmt: skip
