"""The tables of sacct and sstat: header, dashes, cells with ``+`` where text is cut, or delimiters.

Source: common/print_fields.c. Numbers and durations are never cut, dates are cut without a mark.
"""
from __future__ import annotations

import sys
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
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
    """A field: its kind says how it is cut; a value of None is an empty cell.

    ``shared``: rows that are alike (``kinds``) have the same value.
    """

    kind: str
    value: Callable[[Row], Optional[str]]
    shared: bool = False


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


#: from so many shared columns on it pays to look up what rows that are alike have in common
_WORTHWHILE = 8
Alike = Callable[[Row], Optional[Hashable]]


def table_text(
    columns: Sequence[Column[Row]], rows: Iterable[Row], look: Look, alike: Optional[Alike[Row]] = None
) -> str:
    """Header and rows, each with its newline.

    ``alike`` tells which rows have equal values in the shared columns: those for which it gives equal things;
    None for a row that is like no other.
    """
    return "".join(table_pieces(columns, rows, look, alike))


def table_pieces(
    columns: Sequence[Column[Row]], rows: Iterable[Row], look: Look, alike: Optional[Alike[Row]] = None
) -> Iterator[str]:
    """The same line by line."""
    if look.parsable:
        end = (look.delimiter if look.parsable == 1 else "") + "\n"
        if look.header:
            yield look.delimiter.join(column.name for column in columns) + end
        for line in _lines(columns, lambda run: _delimited(run, look.delimiter), look.delimiter, rows, alike):
            yield line + end
        return
    if look.header:
        yield "".join(["%*.*s " % (column.width, abs(column.width), column.name) for column in columns]) + "\n"
        yield "".join(["-" * abs(column.width) + " " for column in columns]) + "\n"
    for line in _lines(columns, _padded, "", rows, alike):
        yield (line if line.isascii() else line.encode("latin-1").decode("utf-8", "surrogateescape")) + "\n"


Writer = Callable[[Row], str]


def _lines(columns: Sequence[Column[Row]], compiled: Callable[[Sequence[Column[Row]]], Writer[Row]], glue: str,
           rows: Iterable[Row], alike: Optional[Alike[Row]]) -> Iterator[str]:
    """The cells of each row, joined; shared ones that stand side by side are written once for rows that are alike."""
    whole = compiled(columns)
    if alike is None or sum(column.field.shared for column in columns) < _WORTHWHILE:
        yield from map(whole, rows)
        return
    runs = [(shared, compiled(list(run))) for shared, run in groupby(columns, lambda column: column.field.shared)]
    own = [(at, write) for at, (shared, write) in enumerate(runs) if not shared]
    known: dict[Hashable, list[str]] = {}
    for row in rows:
        kind = alike(row)
        if kind is None:
            yield whole(row)
            continue
        parts = known.get(kind)
        if parts is None:
            parts = known[kind] = [write(row) if shared else "" for shared, write in runs]
        for at, write in own:
            parts[at] = write(row)
        yield glue.join(parts)


def _delimited(columns: Sequence[Column[Row]], delimiter: str) -> Writer[Row]:
    values = [column.field.value for column in columns]
    return lambda row: delimiter.join([value(row) or "" for value in values])


def _padded(columns: Sequence[Column[Row]]) -> Writer[Row]:
    """Cells side by side; bytes stand as latin-1 characters where one is not ASCII."""
    forms = [_form(column) for column in columns]
    values = [column.field.value for column in columns]
    template = "".join(["%%%ds " % column.width for column in columns])
    width = sum([abs(column.width) + 1 for column in columns])
    roomy = all(column.width for column in columns)
    cuts = [_cut(column) for column in columns]

    fits = roomy

    def write(row: Row) -> str:
        nonlocal fits
        texts = [value(row) for value in values]
        if fits:
            line = template % tuple([text or "" for text in texts])
            fits = len(line) == width and line.isascii()
            if fits:  # nothing is longer than its column
                return line
        if roomy and not any(text is not None and not text.isascii() for text in texts):
            return template % tuple([
                "" if text is None else text if len(text) <= most else text[:kept] + mark
                for text, (most, kept, mark) in zip(texts, cuts)
            ])  # fmt: skip
        return "".join([form(text) for form, text in zip(forms, texts)])

    return write


def _cut(column: Column[Row]) -> tuple[int, int, str]:
    """How long a text may be, how much is left of a longer one, and what marks it."""
    size = abs(column.width)
    if column.field.kind == NUMBER:
        return sys.maxsize, 0, ""
    return (size, size, "") if column.field.kind == DATE else (size, size - 1, "+")


def _form(column: Column[Row]) -> Callable[[Optional[str]], str]:
    """How a value becomes a cell."""
    width, kind = column.width, column.field.kind
    size = abs(width)
    # A number's empty cell is as wide as the column and at least one blank wide.
    empty = "%*s " % (width, " ") if kind == NUMBER else " " * size + " "
    conversion = "%%%ds " % width if kind == NUMBER else "%%%d.%ds " % (width, size)
    cut = kind == TEXT

    def form(text: Optional[str]) -> str:
        if text is None:
            return empty
        if not text.isascii():
            # printf counts bytes: one latin-1 character stands for each
            text = text.encode("utf-8", "surrogateescape").decode("latin-1")
        if cut and len(text) > size:
            text = text[:max(size - 1, 0)] + "+"
        return conversion % text

    return form
