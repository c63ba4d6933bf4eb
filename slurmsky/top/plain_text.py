"""Makes other users' text safe for a terminal. Removes escape sequences and cursor movements."""

from __future__ import annotations

import re
import unicodedata

#: replacement of a hidden character
UNSHOWN = "\N{REPLACEMENT CHARACTER}"
TAB = 8
#: characters of a line that are processed; a job may write gigabytes without a newline
LONGEST = 4096

_ESCAPES = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]?"  # CSI: colours, cursor
    "|(?:\x1b[]PX^_]|[\x9d\x90\x98\x9e\x9f]).*?(?:\x07|\x1b\\\\|\x9c|$)"  # OSC and other strings: titles, the clipboard
    "|\x1b[ -/]*[0-~]?"
)


def plain(text: str) -> str:
    """Printable characters only.

    Control characters become a replacement character; invisible and bidirectional characters are removed.

    >>> plain("a\\x1b[31mb\\tc\\u202ed")
    'a�[31mb cd'
    """
    if text.isprintable():
        return text if text.isascii() else _without_selectors(text)
    return "".join(map(_shown, text))


def _shown(char: str) -> str:
    if char.isprintable():
        return _without_selectors(char)
    if char.isspace():
        return " "
    return "" if unicodedata.category(char) == "Cf" else UNSHOWN


def _without_selectors(text: str) -> str:
    # Terminals disagree on the width of a character with a variation selector.
    return re.sub("[\ufe00-\ufe0f]", "", text)


def output_line(text: str) -> str:
    """Line of output as a terminal would show it.

    Escapes are removed, returns and backspaces are applied.

    >>> output_line("\\x1b[1;32mok\\x1b[0m  1%\\r 50%\\r100%\\x07")
    '100%�'
    >>> output_line("a\\tb_\\bc")
    'a       bc'
    """
    text = _ESCAPES.sub("", text[:LONGEST]).rstrip("\r").rpartition("\r")[2]
    if "\b" in text:
        kept: list[str] = []
        for char in text:
            if char != "\b":
                kept.append(char)
            elif kept:
                kept.pop()
        text = "".join(kept)
    return plain(text.expandtabs(TAB))
