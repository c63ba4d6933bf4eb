"""Recognizes absolute paths and paths in the home folder. It also expands their patterns and lists."""

from __future__ import annotations

import re
from collections.abc import Iterator

SHAPE = re.compile(r"^(?:/[\w.-]|~(?:[\w-]*)(?:/|$)|\$HOME(?:/|$))")
_GLOB = re.compile(r"(?<=[\w.-])/[\w.$-]*[*?][^/]*(?:/[\w.*?$-]+)*$")
_PATTERN = re.compile(r"[\s<>{}|;\\()\"'`,*?]|^//|^/[^\w.$~-]|[^:]//$")
_BRACES = re.compile(r"(?<!\$)\{([^{}\s]*(?:,|\.\.)[^{}\s]*)\}")
_MOST_ALTERNATIVES = 8
#: between the paths of a list; a comma in a file's name precedes no path
_SEPARATOR = re.compile(r":|,(?=[/~$])")


def is_path(text: str) -> bool:
    """Return whether a text is a path other than the root folder. Patterns of sed and awk are not paths."""
    return bool(SHAPE.match(text)) and not _PATTERN.search(text) and len(text) > 1


def home(text: str) -> str:
    """A path with ``~`` in place of ``$HOME``."""
    return "~" + text[len("$HOME") :] if re.match(r"\$HOME(?:/|$)", text) else text


def folder_of_pattern(path: str) -> str:
    """Folder of a pattern's files; other paths unchanged.

    >>> folder_of_pattern("/data/*.bam"), folder_of_pattern("/data/a.bam")
    ('/data', '/data/a.bam')
    """
    return _GLOB.sub("", path)


def alternatives(text: str) -> Iterator[str]:
    """Parts of a list of paths.

    A numeric range, and each brace but the first, yields its first part.

    >>> list(alternatives("/data/{a,b}/x{1..9}:/d"))
    ['/data/a/x1', '/d', '/data/b/x1', '/d']
    >>> list(alternatives("/data/a.fa,/data/b.fa"))
    ['/data/a.fa', '/data/b.fa']
    """
    found = _BRACES.search(text)
    if found is None:
        yield from _SEPARATOR.split(text)
        return
    for inner in found[1].split(",")[:_MOST_ALTERNATIVES]:
        rest = _BRACES.sub(lambda more: re.split(r",|\.\.", more[1])[0], text[found.end() :])
        yield from f"{text[: found.start()]}{inner.partition('..')[0]}{rest}".split(":")
