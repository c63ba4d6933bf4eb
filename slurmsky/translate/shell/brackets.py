"""Finds the end of quotes, expansions and brackets."""

from __future__ import annotations

import re

# for an open quote or bracket: the next characters to search for, and its closing character
_UNTIL = {
    '"': re.compile(r'["\\$`]'),
    ")": re.compile(r"""[()'"\\$`]"""),
    "}": re.compile(r"""[}'"\\$`]"""),
    "`": re.compile(r"[`\\]"),
}


def balanced(source: str, at: int, closer: str) -> int:
    """Offset after the matching ``closer``. The end of the source if it is missing."""
    stack = [closer]
    end = len(source)
    while stack:
        top = stack[-1]
        found = _UNTIL[top].search(source, at)
        if found is None:
            return end
        char, at = found[0], found.end()
        if char == top:
            stack.pop()
        elif char == "\\":
            at += 1
        elif char == "'":
            close = source.find("'", at)
            if close < 0:
                return end
            at = close + 1
        elif char == "$":
            following = source[at : at + 1]
            if following in ("(", "{"):
                stack.append(")" if following == "(" else "}")
                at += 1
        elif char == "(":
            stack.append(")")
        else:
            stack.append(char)
    return min(at, end)
