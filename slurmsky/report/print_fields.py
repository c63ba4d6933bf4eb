"""The tables of sacct and sstat: header, dashes, cells with ``+`` where text is cut, or delimiters.

Source: common/print_fields.c. Numbers and durations are never cut, dates are cut without a mark.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Callable, Generic, Optional, TypeVar

from slurmsky.language import formats

from .tables import table

Row = TypeVar("Row")
TEXT, NUMBER, DATE = "text", "number", "date"


class InvalidField(ValueError):
    """A field that the command does not have: ``sacct: error: Invalid field requested: "X"``, exit 1."""

    def __init__(self, name: str) -> None:
        super().__init__('Invalid field requested: "%s"' % name)
        self.name = name


@dataclass(frozen=True)
class Field(Generic[Row]):
    """A field: its kind says how it is cut; a value of None is an empty cell."""

    kind: str
    value: Callable[[Row], Optional[str]]


@dataclass(frozen=True)
class Column(Generic[Row]):
    """A field at its place: a negative width justifies left."""

    name: str
    width: int
    field: Field[Row]


@dataclass(frozen=True)
class Look:
    """How a table is written: ``parsable`` 0 for columns, 1 for -p (a delimiter ends the line), 2 for -P."""

    parsable: int = 0
    delimiter: str = "|"
    header: bool = True


def columns_of(text: str, table_name: str, fields: Mapping[str, Field[Row]]) -> list[Column[Row]]:
    """Columns of a --format text such as ``jobid%20,state``; the first name that begins so counts.

    ``fields`` is by name in lower case. Raises InvalidField.
    """
    rows = table(table_name)
    columns: list[Column[Row]] = []
    for item in formats.parse_sacct(text):
        if not item.name:
            continue
        start = item.name.lower()
        if "all".startswith(start):
            found: Sequence[dict[str, str]] = rows
        else:
            found = [row for row in rows if row["name"].lower().startswith(start)][:1]
            if not found:
                raise InvalidField(item.name)
        for row in found:
            width = int(row["width"])
            if item.width is not None:
                width = -item.width if item.right is False else item.width
            columns.append(Column(row["name"], width, fields[row["name"].lower()]))
    return columns


def default_format(table_name: str, which: str) -> str:
    """The format that a column of the table numbers: "default", "brief", "long", "pid"."""
    rows = sorted((row for row in table(table_name) if row[which]), key=lambda row: int(row[which]))
    return ",".join(row["name"].lower() for row in rows)


def table_text(columns: Sequence[Column[Row]], rows: Iterable[Row], look: Look) -> str:
    """Header and rows, each with its newline."""
    if look.parsable:
        return "".join(_delimited(columns, rows, look))
    lines = [_line(line) for line in _columned(columns, rows, look)]
    lines.append("")
    return "\n".join(lines)


def _delimited(columns: Sequence[Column[Row]], rows: Iterable[Row], look: Look) -> Iterator[str]:
    end = (look.delimiter if look.parsable == 1 else "") + "\n"
    if look.header:
        yield look.delimiter.join(column.name for column in columns) + end
    values = [column.field.value for column in columns]
    for row in rows:
        yield look.delimiter.join([value(row) or "" for value in values]) + end


def _columned(columns: Sequence[Column[Row]], rows: Iterable[Row], look: Look) -> Iterator[list[str]]:
    if look.header:
        yield ["%*.*s " % (column.width, abs(column.width), column.name) for column in columns]
        yield ["-" * abs(column.width) + " " for column in columns]
    cells = [_cell(column) for column in columns]
    for row in rows:
        yield [cell(row) for cell in cells]


def _line(cells: list[str]) -> str:
    line = "".join(cells)
    return line if line.isascii() else line.encode("latin-1").decode("utf-8", "surrogateescape")


def _cell(column: Column[Row]) -> Callable[[Row], str]:
    width, value, kind = column.width, column.field.value, column.field.kind
    size = abs(width)
    # A number's empty cell is as wide as the column and at least one blank wide.
    empty = "%*s " % (width, " ") if kind == NUMBER else " " * size + " "

    def cell(row: Row) -> str:
        text = value(row)
        if text is None:
            return empty
        if not text.isascii():
            # printf counts bytes: one latin-1 character stands for each
            text = text.encode("utf-8", "surrogateescape").decode("latin-1")
        if kind == TEXT and len(text) > size:
            text = text[:max(size - 1, 0)] + "+"
        return "%*s " % (width, text) if kind == NUMBER else "%*.*s " % (width, size, text)

    return cell
