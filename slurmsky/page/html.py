"""Builds HTML from values, and escapes all text.

    el("p", "jobs of ", name, cls="note")

Names, comments and paths are written by users, and a page is stored and shared. So a plain string can enter a page
only as escaped text; characters that are invalid in HTML, or that change the direction of text, are shown by number.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

#: control characters, lone surrogates (undecodable bytes of a command line), marks that change the direction of text,
#: and code points that are not characters
_ODD = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)
#: elements without content, and their closing: in SVG an unclosed element would contain the following ones
_VOID = {"meta": ">", "rect": "/>", "path": "/>", "line": "/>"}


class Html(str):
    """A string that is already HTML."""

    __slots__ = ()


def text(value: object) -> Html:
    """Escape a value as text of a page."""
    plain = str(value)
    if not plain.isalnum():
        plain = html.escape(_ODD.sub(_number, plain), quote=True)
    return Html(plain)


def _number(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape: show the original byte
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def join(*children: object) -> Html:
    """Concatenate children; None is skipped, lists are flattened."""
    parts: list[str] = []
    for child in children:
        if isinstance(child, Html):
            parts.append(child)
        elif isinstance(child, (str, int, float)):
            parts.append(text(child))
        elif isinstance(child, Iterable):
            parts.append(join(*child))
        elif child is not None:
            raise TypeError(f"no child of a page: {child!r}")
    return Html("".join(parts))


def el(name: str, /, *children: object, **attributes: object) -> Html:
    """An HTML element. ``cls`` is ``class``, ``_`` in an attribute's name is ``-``; None omits an attribute."""
    words = [name]
    for key, value in attributes.items():
        if value is not None:
            words.append(f'{"class" if key == "cls" else key.replace("_", "-")}="{text(value)}"')
    opening = "<" + " ".join(words)
    return Html(opening + _VOID[name] if name in _VOID else f"{opening}>{join(*children)}</{name}>")
