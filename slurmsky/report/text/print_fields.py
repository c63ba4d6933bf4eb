"""Tables of sacct and sstat.

They have a header, dashes, and cells cut with ``+``, or delimited cells. For speed, a table of thousands of rows is
computed column by column in batches of some hundred rows. A cell is computed once per input: per record class of the
row, per text, or per number of a step's usage.

Source: common/print_fields.c. Numbers and durations are never cut, dates are cut without a mark.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice, repeat
from operator import attrgetter
from typing import Any, Callable, Generic, NamedTuple, Optional, TypeVar, Union

from slurmsky.language import formats

from ..fields.field_tables import table

Row = TypeVar("Row")
TEXT, NUMBER, DATE = "text", "number", "date"


class InvalidField(ValueError):
    """Error for a field that the command lacks.

    The command prints ``sacct: error: Invalid field requested: "X"`` and exits with 1.
    """

    def __init__(self, name: str) -> None:
        super().__init__('Invalid field requested: "%s"' % name)
        self.name = name


@dataclass(frozen=True)
class PrintField(Generic[Row]):
    """Field of a table; a value of None is an empty cell.

    ``kind`` decides how cells are cut. ``shared``: rows of one record class have the same value. ``reads``: attributes
    of the row's ``usage`` that ``form`` computes the value from; ``form`` takes the attribute, or a tuple of several.
    """

    kind: str
    value: Callable[[Row], Optional[str]]
    shared: bool = False
    reads: tuple[str, ...] = ()
    form: Optional[Callable[[Any], Optional[str]]] = None


@dataclass(frozen=True)
class Column(Generic[Row]):
    """A field with its width; a negative width justifies left."""

    name: str
    width: int
    field: PrintField[Row]


@dataclass(frozen=True)
class TableStyle:
    """Style of a table. ``parsable`` is 0 for columns, 1 for -p (a delimiter ends the line), 2 for -P."""

    parsable: int = 0
    delimiter: str = "|"
    header: bool = True


def columns_of(
    text: str, table_name: str, fields: Mapping[str, PrintField[Row]], zero: bool = False
) -> list[Column[Row]]:
    """Columns of a --format text such as ``jobid%20,state``.

    ``fields`` is keyed by lower-case name; the first name with a prefix matches. The last width given for a field
    applies to all its columns. ``zero``: accept a width of 0, or one that is no number, as 0. Raises InvalidField.
    """
    rows = table(table_name)
    chosen: list[str] = []
    widths = {row["name"]: int(row["width"]) for row in rows}
    for item in formats.parse_sacct(text):
        if not item.name:
            continue
        start = item.name.lower()
        if "all".startswith(start):
            found = list(widths)
        else:
            found = [name for name in widths if name.lower().startswith(start)][:1]
            if not found:
                raise InvalidField(item.name)
        if item.width or (item.width is not None and zero):
            widths.update(dict.fromkeys(found, -item.width if item.right is False else item.width))
        chosen += found
    return [Column(name, widths[name], fields[name.lower()]) for name in chosen]


def default_format(table_name: str, which: str) -> str:
    """Default format from a column of the field table.

    ``which`` is "default", "brief", "long" or "pid". The column has the order of the fields.
    """
    rows = sorted((row for row in table(table_name) if row[which]), key=lambda row: int(row[which]))
    return ",".join(row["name"].lower() for row in rows)


#: minimum number of shared columns for which grouping rows by record class pays off
_WORTHWHILE = 8
#: rows that are computed in one batch
_BATCH = 250
#: maximum number of cached cells per column
_MAX_CACHED = 20_000
SharedKey = Callable[[Row], Hashable]
#: converts a value to a cell, and the values of a column to its cells
Form = Callable[[Optional[str]], str]
Forms = tuple[Form, Callable[[Sequence[Optional[str]]], Iterable[str]]]


def table_text(
    columns: Sequence[Column[Row]], rows: Iterable[Row], style: TableStyle, shared_key: Optional[SharedKey[Row]] = None
) -> str:
    """Header and rows, each with its newline.

    Rows with an equal ``shared_key`` have equal values in the shared columns.
    """
    return "".join(table_pieces(columns, rows, style, shared_key))


def table_pieces(
    columns: Sequence[Column[Row]], rows: Iterable[Row], style: TableStyle, shared_key: Optional[SharedKey[Row]] = None
) -> Iterator[str]:
    """The lines of ``table_text``, one by one."""
    if style.parsable:
        end = (style.delimiter if style.parsable == 1 else "") + "\n"
        if style.header:
            yield style.delimiter.join(column.name for column in columns) + end
        for line in _lines(columns, [(_plain, _plain_cells)] * len(columns), style.delimiter, rows, shared_key):
            yield line + end
        return
    if style.header:
        yield "".join(["%*.*s " % (column.width, abs(column.width), column.name) for column in columns]) + "\n"
        yield "".join(["-" * abs(column.width) + " " for column in columns]) + "\n"
    for line in _lines(columns, [(_form(column), _cells(column)) for column in columns], "", rows, shared_key):
        yield _decoded(line) + "\n"


class _Cells(dict[Any, str]):
    """Cache of cells by the values they are computed from."""

    def __init__(self, make: Callable[[Any], str]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: Any) -> str:
        if len(self) >= _MAX_CACHED:
            self.clear()
        cell = self[key] = self._make(key)
        return cell


#: computes the cells of a group of columns from rows, their keys, and usage attributes by name
Place = Callable[[Sequence[Row], Sequence[Hashable], Mapping[str, Sequence[Any]]], Iterable[str]]


def _lines(
    columns: Sequence[Column[Row]],
    forms: Sequence[Forms],
    glue: str,
    rows: Iterable[Row],
    shared_key: Optional[SharedKey[Row]],
) -> Iterator[str]:
    """Join the cells of each row. Adjacent shared columns are joined once per key."""
    if sum(column.field.shared for column in columns) < _WORTHWHILE:
        shared_key = None
    places: list[Place[Row]] = []
    for shared, group in groupby(zip(columns, forms), lambda pair: shared_key is not None and pair[0].field.shared):
        run = list(group)
        places += [_shared(run, glue)] if shared else [_own(column.field, forms) for column, forms in run]
    reads = {name: attrgetter(name) for column in columns for name in column.field.reads}
    rows = iter(rows)
    while batch := list(islice(rows, _BATCH)):
        keys = [shared_key(row) for row in batch] if shared_key is not None else []
        used = [row.usage for row in batch] if reads else []  # type: ignore[attr-defined]
        values = {name: list(map(read, used)) for name, read in reads.items()}
        yield from map(glue.join, zip(*[place(batch, keys, values) for place in places]))


def _shared(run: Sequence[tuple[Column[Row], Forms]], glue: str) -> Place[Row]:
    known: dict[Hashable, str] = {}

    def place(rows: Sequence[Row], keys: Sequence[Hashable], values: object) -> list[str]:
        if len(known) >= _MAX_CACHED:
            known.clear()
        cells = []
        for row, kind in zip(rows, keys):
            text = known.get(kind)
            if text is None:
                text = known[kind] = glue.join([form(column.field.value(row)) for column, (form, _) in run])
            cells.append(text)
        return cells

    return place


def _own(field: PrintField[Row], forms: Forms) -> Place[Row]:
    made_of, value, names = field.form, field.value, field.reads
    form, cells = forms
    if made_of is None:
        return lambda rows, keys, values: cells(list(map(value, rows)))
    made = made_of
    cell = _Cells(lambda key: form(made(key))).__getitem__
    if len(names) == 1:
        return lambda rows, keys, values: map(cell, values[names[0]])
    return lambda rows, keys, values: map(cell, zip(*[values[name] for name in names]))


def values_of(
    fields: Mapping[str, PrintField[Row]], rows: Sequence[Row], shared_key: SharedKey[Row]
) -> dict[str, list[Optional[str]]]:
    """Values of fields, by name, for a batch of rows."""
    shared = {name: field.value for name, field in fields.items() if field.shared}
    if len(shared) < _WORTHWHILE:
        shared = {}
    known: dict[Hashable, tuple[Optional[str], ...]] = {}
    together = []
    for row, kind in zip(rows, map(shared_key, rows) if shared else ()):
        values = known.get(kind)
        if values is None:
            values = known[kind] = tuple([value(row) for value in shared.values()])
        together.append(values)
    columns = dict(zip(shared, map(list, zip(*together)))) if together else {name: [] for name in shared}
    return {name: columns[name] if name in shared else list(map(field.value, rows)) for name, field in fields.items()}


class SharedCell(NamedTuple):
    """A column with the same value in all rows."""

    value: Optional[str]


class Writer(Generic[Row]):
    """Formats rows from values that are already computed."""

    def __init__(self, columns: Sequence[Column[Row]], style: TableStyle) -> None:
        self._glue = style.delimiter if style.parsable else ""
        self._end = (style.delimiter if style.parsable == 1 else "") + "\n"
        self._wide = not style.parsable
        self._cells = [_plain_cells if style.parsable else _cells(column) for column in columns]

    def lines(self, values: Sequence[Union[Sequence[Optional[str]], SharedCell]], count: int) -> list[str]:
        """Format ``count`` lines from the values of each column."""
        glue, end = self._glue, self._end
        places: list[Iterable[str]] = []
        # Adjacent columns with the same value in all rows are formatted once.
        for same, group in groupby(zip(self._cells, values), lambda pair: isinstance(pair[1], SharedCell)):
            if same:
                places.append(repeat(glue.join([next(iter(cells(column))) for cells, column in group]), count))
            else:
                places += [cells(column) for cells, column in group]
        lines = map(glue.join, zip(*places))
        return [_decoded(line) + end for line in lines] if self._wide else [line + end for line in lines]


def _plain_cells(values: Sequence[Optional[str]]) -> Iterable[str]:
    return map(_plain, values) if None in values else values  # type: ignore[return-value]


def _cells(column: Column[Row]) -> Callable[[Sequence[Optional[str]]], Iterable[str]]:
    """Converter of a column's values to cells."""
    cell, conversion = _Cells(_form(column)).__getitem__, _conversion(column)
    size = abs(column.width) if column.field.kind == TEXT else None

    def cells(values: Sequence[Optional[str]]) -> Iterable[str]:
        if None not in values:
            texts: Sequence[str] = values  # type: ignore[assignment]
            if "".join(texts).isascii() and (size is None or max(map(len, texts)) <= size):
                return map(conversion.__mod__, texts)  # no cell is cut, and every character is one byte
        return map(cell, values)

    return cells


def _decoded(line: str) -> str:
    """Decode a line with one character per byte (``_form``)."""
    return line if line.isascii() else line.encode("latin-1").decode("utf-8", "surrogateescape")


def _plain(text: Optional[str]) -> str:
    return text or ""


def _conversion(column: Column[Row]) -> str:
    width = column.width
    return "%%%ds " % width if column.field.kind == NUMBER else "%%%d.%ds " % (width, abs(width))


def _form(column: Column[Row]) -> Callable[[Optional[str]], str]:
    """Converter of one value to a cell."""
    width, kind = column.width, column.field.kind
    size = abs(width)
    # An empty cell of a number is as wide as the column, and at least one blank wide.
    empty = "%*s " % (width, " ") if kind == NUMBER else " " * size + " "
    conversion = _conversion(column)
    cut = kind == TEXT

    def form(text: Optional[str]) -> str:
        if text is None:
            return empty
        if not text.isascii():
            # printf counts bytes, so each byte becomes one latin-1 character
            text = text.encode("utf-8", "surrogateescape").decode("latin-1")
        if cut and len(text) > size:
            text = text[: max(size - 1, 0)] + "+"
        return conversion % text

    return form
