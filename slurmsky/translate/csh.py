"""Rewrites csh's own syntax as the shell grammar reads it, line by line, so that explain finds its commands. Pure."""

from __future__ import annotations

import re

_NAME = r"([A-Za-z_]\w*)"
#: csh -> its equivalent in the shell grammar; conditions are commands' results, which nothing here evaluates
_LINES = (
    (re.compile(rf"^(\s*)foreach\s+{_NAME}\s*\((.*)\)\s*$"), r"\1for \2 in \3; do"),
    (re.compile(r"^(\s*)while\s*\(.*\)\s*$"), r"\1while true; do"),
    (re.compile(r"^(\s*)end\s*$"), r"\1done"),
    (re.compile(r"^(\s*)(?:else\s+)?if\s*\(.*\)\s*then\s*$"), r"\1: if"),
    (re.compile(r"^(\s*)if\s*\((?:[^()]|\([^()]*\))*\)\s*(?=\S)"), r"\1"),
    (re.compile(r"^(\s*)(?:else|endif|endsw|breaksw|default:|case\s.*:|switch\s*\(.*\)|then|onintr\s.*|rehash)\s*$"),
     r"\1:"),
    (re.compile(rf"^(\s*)setenv\s+{_NAME}\s+(\S.*)$"), r"\1export \2=\3"),
    (re.compile(rf"^(\s*)set\s+{_NAME}\s*=\s*"), r"\1\2="),
    (re.compile(rf"^(\s*)@\s*{_NAME}\s*[-+*/]?=.*$"), r"\1\2=0"),
    (re.compile(r"^(\s*)(?:un)?limit\b"), r"\1ulimit"),
)  # fmt: skip


def to_shell(source: str) -> str:
    """A csh script in the shell's syntax, each line in its place.

    >>> to_shell("foreach i (1 2)\\n  setenv A $i\\nend\\n")
    'for i in 1 2; do\\n  export A=$i\\ndone\\n'
    """
    lines = source.split("\n")
    for index, line in enumerate(lines):
        for pattern, shell in _LINES:
            lines[index] = line = pattern.sub(shell, line)
    return "\n".join(lines)
