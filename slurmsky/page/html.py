"""HTML from values: whatever is not Html already is text, and text is escaped.

    el("p", "jobs of ", name, cls="note")

Names, comments and paths are written by users, and a page outlives the terminal that showed them. So there is no way
to put a plain string into a page but as text; characters that no page may hold, or that would turn the text around
them, are shown by their number.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

#: control characters, lone surrogates (undecodable bytes of a command line), marks that change the direction of text,
#: and what is no character at all
_ODD = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)
#: elements without content, and how they are closed: inside of SVG an open one would swallow what follows
_VOID = {"meta": ">", "rect": "/>", "path": "/>", "line": "/>"}


class Html(str):
    """Text that is HTML."""

    __slots__ = ()


def text(value: object) -> Html:
    """A value as text of a page."""
    plain = str(value)
    if not plain.isalnum():
        plain = html.escape(_ODD.sub(_number, plain), quote=True)
    return Html(plain)


def _number(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape: the byte that was there
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def join(*children: object) -> Html:
    """Children one after the other; None is left out, lists are taken apart."""
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
    """An element. ``cls`` is ``class``, ``_`` in an attribute's name is ``-``; None leaves an attribute out."""
    words = [name]
    for key, value in attributes.items():
        if value is not None:
            words.append(f'{"class" if key == "cls" else key.replace("_", "-")}="{text(value)}"')
    opening = "<" + " ".join(words)
    return Html(opening + _VOID[name] if name in _VOID else f"{opening}>{join(*children)}</{name}>")
