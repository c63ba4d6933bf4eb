"""ANSI colours of texts that programs print for a terminal."""

from __future__ import annotations

import re

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def without_colours(text: str) -> str:
    """Remove the escape sequences of colours.

    >>> without_colours("\\x1b[1;32mok\\x1b[0m")
    'ok'
    """
    return _COLOUR.sub("", text)
