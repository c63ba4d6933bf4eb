"""Site-file lines that resolve the decisions of explain."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..script.conversion_tables import one_line


def toml(text: str, limit: int = 60) -> str:
    """Escape a text for TOML's double quotes, printable characters only."""
    return one_line(text, limit).replace("\\", "\\\\").replace('"', '\\"')


def merged(pieces: Iterable[str]) -> tuple[str, ...]:
    """Merge pieces of a site file. TOML allows each table heading only once."""
    tables: dict[str, dict[str, None]] = {}
    for piece in pieces:
        heading = ""
        for line in piece.splitlines():
            if line.startswith("[["):
                heading = piece  # each piece is a separate table
                tables.setdefault(heading, {})
                continue
            if line.startswith("["):
                heading = line
                tables.setdefault(heading, {})
            elif not heading.startswith("[["):
                tables.setdefault(heading, {})[line] = None
    if "" in tables:
        tables[""] = _united(tables[""])
    ordered = sorted(tables, key=lambda heading: heading != "")  # keys without a heading precede all tables
    return tuple("\n".join(filter(None, (heading, *tables[heading]))) for heading in ordered)


def _united(lines: Iterable[str]) -> dict[str, None]:
    """Merge keys without a heading; join items of one list."""
    lists: dict[str, dict[str, None]] = {}
    for line in lines:
        key, _, items = line.partition(" = [")
        lists.setdefault(key, {}).update(dict.fromkeys(re.findall(r'"(?:[^"\\]|\\.)*"', items)))
    return {f"{key} = [{', '.join(items)}]": None for key, items in lists.items()}
