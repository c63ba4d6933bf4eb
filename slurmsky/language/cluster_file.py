"""The file format of ``sacctmgr dump`` and ``sacctmgr load``.

A line is ``KIND - 'NAME':KEY=VALUE:KEY=VALUE``; a backslash continues it, and # begins a comment.
Source: src/sacctmgr/file_functions.c (_get_next_line, load_sacctmgr_cfg_file, _parse_options).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional

#: text up to the first # that no backslash escapes
_BEFORE_COMMENT = re.compile(r"(?:[^\\#]|\\.|\\$)*", re.DOTALL)
_CONTINUED = re.compile(r"(?<!\\)((?:\\\\)*)\\\s*\Z")
_ESCAPE = re.compile(r"\\(.?)", re.DOTALL)
#: words between colons outside quotes
_WORDS = re.compile(r"""(?:[^:\n'"]|"[^"]*(?:"|\Z)|'[^']*(?:'|\Z))+""")
#: length of the longest kind that Slurm reads
_MAX_DEPTH = 24


class BadEntry(ValueError):
    """A line without a name or with two; the text is sacctmgr's message."""


@dataclass(frozen=True)
class FileEntry:
    """A logical line.

    ``number``: its last physical line. ``rest``: the text after the hyphen; None: no text.
    """

    number: int
    kind: str
    rest: Optional[str]
    text: str


def lines(text: str) -> Iterator[FileEntry]:
    """Logical lines that have a kind."""
    joined = ""
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        found = _BEFORE_COMMENT.match(line)
        joined += found[0] if found else ""
        short = _CONTINUED.sub(r"\1", joined)
        if short != joined:
            joined = short
            continue
        whole, joined = _ESCAPE.sub(r"\1", joined), ""
        kind, hyphen, rest = whole.partition("-")
        kind = kind[:-1] if kind.endswith(" ") else kind
        if hyphen and 0 < len(kind) <= _MAX_DEPTH:
            _, blank, after = rest.partition(" ")
            yield FileEntry(number, kind, after if blank else None, whole)


def name_and_options(rest: str) -> tuple[str, list[str]]:
    """Name in lower case, and the options that precede the first fault. Raises BadEntry."""
    name, options = "", []
    for word in _WORDS.findall(rest.rstrip()):
        if "=" in word:
            options.append(word)
        elif name:
            raise BadEntry(f" Bad format on {word}: End your option with an '=' sign")
        else:
            name = word.strip("\"'").lower()
    if not name.strip():
        raise BadEntry(" No name given")
    return name, options
