"""Matching of abbreviated names, as sacctmgr and sreport accept for fields, conditions and verbs.

A word matches a name when it is a long enough prefix of it; the first match in the table wins.
Source: the chains of xstrncasecmp(..., MAX(command_len, N)) in src/sacctmgr and src/sreport.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Optional, TypeVar

from .print_fields import Column, PrintField

Value = TypeVar("Value")
#: A row of a table: cells by header.
Cells = Mapping[str, str]


def means(word: str, name: str, least: int) -> bool:
    """Whether ``word`` is a prefix of ``name`` with at least ``least`` letters."""
    return len(word) >= least and name.lower().startswith(word.lower())


def choose(word: str, names: Iterable[tuple[str, int, Value]]) -> Optional[Value]:
    """The value of the first name that ``word`` matches, or None."""
    for name, least, value in names:
        if means(word, name, least):
            return value
    return None


@dataclass(frozen=True)
class NameWords:
    """Conditions of a request: ``name=value`` pairs, and words without ``=``."""

    pairs: tuple[tuple[str, str], ...]
    bare: tuple[str, ...]


def conditions(words: Iterable[str]) -> NameWords:
    """Split words into conditions, dropping "where" and "set" and the quotes around values."""
    pairs: list[tuple[str, str]] = []
    bare: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        if equals:
            pairs.append((name.rstrip("+-"), value.strip("\"'")))
        elif word.lower() not in ("where", "set"):
            bare.append(word)
    return NameWords(tuple(pairs), tuple(bare))


def columns(
    text: str, rows: Iterable[Mapping[str, str]], width: str = "width"
) -> tuple[list[Column[Cells]], list[str]]:
    """Columns of a format text such as ``name,qos%30``, and its unknown fields.

    ``width`` names the table's column of widths.
    """
    table = [
        (name, int(least), row)
        for row in rows
        for name, _, least in (entry.partition(":") for entry in row["names"].split(";"))
    ]
    found: list[Column[Cells]] = []
    unknown: list[str] = []
    # A repeated field takes the position of its last occurrence (slurm_addto_char_list).
    for item in reversed(dict.fromkeys(reversed(text.lower().split(",")))):
        if not item:
            continue
        name, _, size = item.partition("%")
        row = choose(name, table) if name else None
        if row is None:
            unknown.append(name)
            continue
        header = row["header"]
        digits = size.strip()
        match = re.match("[-+]?[0-9]+", digits)
        number = int(match[0]) if match else 0
        shown = number or int(row.get(width) or row["width"])
        found.append(Column(header, shown, PrintField(row["kind"], _cell(header))))
    return found, unknown


def _cell(header: str):  # type: ignore[no-untyped-def]
    return lambda cells: cells.get(header)
