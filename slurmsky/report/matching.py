"""Names that may be cut short, as sacctmgr and sreport read fields, conditions and verbs.

A word means a name when it begins it and has at least so many letters; the first such name in the table counts.
Source: the chains of xstrncasecmp(..., MAX(command_len, N)) in src/sacctmgr and src/sreport.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Optional, TypeVar

from .print_fields import Column, Field

Value = TypeVar("Value")
#: A line of a table here: cells by header.
Cells = Mapping[str, str]


def means(word: str, name: str, least: int) -> bool:
    """Whether ``word`` is ``name``, cut short to no less than ``least`` letters."""
    return len(word) >= least and name.lower().startswith(word.lower())


def choose(word: str, names: Iterable[tuple[str, int, Value]]) -> Optional[Value]:
    """The value of the first name that ``word`` means, or None."""
    for name, least, value in names:
        if means(word, name, least):
            return value
    return None


class UnknownField(ValueError):
    """A field that is not in the table; its text is the field's name."""


@dataclass(frozen=True)
class Words:
    """Conditions of a request: ``name=value`` pairs, and words without ``=``."""

    pairs: tuple[tuple[str, str], ...]
    bare: tuple[str, ...]


def conditions(words: Iterable[str]) -> Words:
    """Split words; "where" and "set" only lead to what follows. Quotes around a value go."""
    pairs: list[tuple[str, str]] = []
    bare: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        if equals:
            pairs.append((name.rstrip("+-"), value.strip("\"'")))
        elif word.lower() not in ("where", "set"):
            bare.append(word)
    return Words(tuple(pairs), tuple(bare))


def columns(text: str, rows: Iterable[Mapping[str, str]], width: str = "width") -> list[Column[Cells]]:
    """Columns of a format text such as ``name,qos%30``; ``width`` names the table's column of widths.

    Raises UnknownField.
    """
    table = [(name, int(least), row) for row in rows
             for name, _, least in (entry.partition(":") for entry in row["names"].split(";"))]
    found: list[Column[Cells]] = []
    for item in text.split(","):
        if not item:
            continue
        name, _, size = item.partition("%")
        row = choose(name, table) if name else None
        if row is None:
            raise UnknownField(name)
        header = row["header"]
        digits = size.strip()
        number = int(digits) if digits.lstrip("-").isdigit() else 0
        shown = number or int(row.get(width) or row["width"])
        found.append(Column(header, shown, Field(row["kind"], _cell(header))))
    return found


def _cell(header: str):  # type: ignore[no-untyped-def]
    return lambda cells: cells.get(header)
